"""Four simulated devices, no silent broadcasting between ranks, and each program compiled once."""

import gc
import os
import pathlib
import shutil
import signal

import jax
import pytest

from tests import smoke

os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {smoke.xla_flags(4)}'
jax.config.update('jax_numpy_rank_promotion', 'raise')
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup as well, which has it ignored


COMPILED = smoke.ROOT / '.pytest_cache' / 'd' / 'compiled'  # 30 MB; --cache-clear empties it


def pytest_configure(config):
  whole_run = not hasattr(config, 'workerinput')
  if whole_run and sum(file.stat().st_size for file in COMPILED.glob('*')) > 1e9:
    shutil.rmtree(COMPILED)


def pytest_addoption(parser):
  parser.addoption('--kills', type=int, default=2, help='of the run in chaos_test.py')


# Files that take minutes, the longest first: so that the workers end together.
LONG = ('command', 'train', 'evaluate', 'benchmarks', 'distributed', 'library', 'fsvae', 'chaos')


def pytest_collection_modifyitems(items):
  names = [f'{name}_test' for name in LONG]
  place = lambda name: names.index(name) if name in names else len(names)
  items.sort(key=lambda item: place(pathlib.Path(item.fspath).stem))


@pytest.fixture(scope='module', autouse=True)
def small_process():
  """What a file has traced and compiled goes with it: gigabytes, and much for Python to look at."""
  yield
  jax.clear_caches()
  gc.collect()


@pytest.fixture(scope='session', autouse=True)
def compilation_cache():
  """All workers, the processes that they start, and later runs share what is compiled."""
  jax.config.update('jax_compilation_cache_dir', str(COMPILED))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = str(COMPILED)


@pytest.fixture(scope='module')
def quick_compilation():
  """For tests of whole runs at smoke size, whose time is compilation: half the work for XLA."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """Where a file's runs keep what they share of the data."""
  return tmp_path_factory.mktemp('cache')


@pytest.fixture
def config(cache):
  """The smallest run's."""
  return smoke.config(cache)


@pytest.fixture
def ann(cache):
  return smoke.ann_config(cache)

"""Four simulated devices, no silent broadcasting between ranks, and each program compiled once."""

import gc
import os
import pathlib
import tempfile

os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
)

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_addoption(parser):
  parser.addoption('--kills', type=int, default=0, help='of the run in chaos_test.py')


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
  """Runs of the same configuration in one session share their compiled programs."""
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update('jax_compilation_cache_dir', folder)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    yield


@pytest.fixture(scope='module')
def quick_compilation():
  """For tests of whole runs at smoke size, whose time is compilation: half the work for XLA."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)

"""The package as users have it: built, installed beside other packages, run from other folders."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fsvae_jax

ROOT = pathlib.Path(__file__).parent.parent
OWN = """
from fsvae_jax.configs import digits

def get_config():
  config = digits.get_config('ann')  # the one that compiles sooner
  config.model.update(image_size=8, features=(4, 8), latent_dim=6)
  config.train.update(batch_size=8, steps=2, test_every=0)
  config.test.update(batch_size=8, images=8, samples=4)
  config.eval.metrics = ()
  return config
"""


def run(*command, cwd, **variables):
  """What a command prints; it must succeed, and finds nothing through PYTHONPATH."""
  variables = {name: v for name, v in os.environ.items() if name != 'PYTHONPATH'} | variables
  result = subprocess.run(
    list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True
  )
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


@functools.cache
def sources():
  """What launch/Dockerfile copies: all that an installation needs."""
  copied = re.findall('^COPY (.*) .+$', (ROOT / 'launch/Dockerfile').read_text(), re.M)
  return ' '.join(copied).split()


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
  """A folder with the sources, and no more."""
  folder = tmp_path_factory.mktemp('clone')
  leave = shutil.ignore_patterns('__pycache__')
  for name in sources():
    if (ROOT / name).is_dir():
      shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=leave)
    else:
      shutil.copy(ROOT / name, folder)
  return folder


@pytest.fixture(scope='module')
def unzipped(clone, tmp_path_factory):
  """The clone as it comes of a zip that pip has unpacked: with a file in the place of a link."""
  folder = tmp_path_factory.mktemp('unzipped') / 'fsvae_jax-main'
  made = shutil.ignore_patterns('*.egg-info', 'build')
  shutil.copytree(clone, folder, symlinks=True, ignore=made)
  for link in filter(pathlib.Path.is_symlink, sorted(folder.rglob('*'))):
    target = os.readlink(link)
    link.unlink()
    link.write_text(target)
  return folder


@pytest.fixture(scope='module')
def built(clone, tmp_path_factory):
  """The wheel, built from the source distribution."""
  dist = tmp_path_factory.mktemp('dist')
  backend = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
  run(sys.executable, '-c', backend, dist, cwd=clone)
  return wheel_of(*dist.iterdir(), dist)


def wheel_of(sources, folder):
  """The wheel that pip makes of sources, in a folder."""
  pip = (sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-index', '--no-build-isolation')
  run(*pip, '--wheel-dir', folder, sources, cwd=folder)
  (wheel,) = folder.glob('*.whl')
  return wheel


def environment(folder, *installed):
  """bin/ of a new virtual environment; the dependencies are this environment's."""
  run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=ROOT)
  pure = 'import sysconfig; print(sysconfig.get_path("purelib"), end="")'
  site_packages = pathlib.Path(run(folder / 'bin' / 'python', '-c', pure, cwd=folder))
  (site_packages / 'dependencies.pth').write_text(sysconfig.get_path('purelib'))
  pip = (sys.executable, '-m', 'pip', f'--python={folder}/bin/python', 'install', '--no-deps')
  run(*pip, '--no-index', '--no-build-isolation', *installed, cwd=folder)
  return folder / 'bin'


@pytest.fixture(scope='module')
def wheel(built, tmp_path_factory):
  return environment(tmp_path_factory.mktemp('wheel'), built)


@pytest.fixture(scope='module', params=['clone', 'unzipped'])
def editable(request, tmp_path_factory):
  sources = request.getfixturevalue(request.param)
  return environment(tmp_path_factory.mktemp('editable'), '--editable', sources), sources


@pytest.fixture
def elsewhere(tmp_path):
  """A folder with packages of a user's own, which bear the names of ours."""
  for name in ('configs', 'benchmarks', 'tests'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise ImportError("this is not the one")')
  (tmp_path / 'my.py').write_text(OWN)
  return tmp_path


def test_the_wheel_holds_the_package_with_its_configurations_and_nothing_else(built):
  with zipfile.ZipFile(built) as archive:
    names = set(archive.namelist())
    (metadata,) = (name for name in names if name.endswith('METADATA'))
    about = archive.read(metadata).decode()
  clone = {
    str(path.relative_to(ROOT))
    for pattern in ('*.py', '*.css', '*.html', 'py.typed')
    for folder in (ROOT / 'fsvae_jax', ROOT / 'fsvae_jax' / 'configs')
    for path in folder.rglob(pattern)
  } | {str(path.relative_to(ROOT)) for path in ROOT.glob('fsvae_jax/weights/*/*')}
  assert {name for name in names if '.dist-info/' not in name} == clone
  assert 'fsvae_jax/configs/mnist.py' in names
  assert 'fsvae_jax/weights/digits/model.safetensors' in names
  assert f'\nVersion: {fsvae_jax.__version__}\n' in about
  assert '\nLicense-Expression: MIT\n' in about and any('LICENSE' in name for name in names)


def test_a_zip_of_the_sources_installs_the_same(unzipped, built, tmp_path):
  assert (unzipped / 'fsvae_jax' / 'configs').is_file()
  with zipfile.ZipFile(built) as ours, zipfile.ZipFile(wheel_of(unzipped, tmp_path)) as theirs:
    assert theirs.namelist() == ours.namelist()


@pytest.mark.slow
def test_a_run_starts_from_a_file_of_ones_own_in_any_folder(wheel, elsewhere):
  quick = {'HOME': str(elsewhere), 'JAX_PLATFORMS': 'cpu', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  run(wheel / 'fsvae_jax', '--config=my.py', cwd=elsewhere, **quick)
  assert (elsewhere / 'runs' / 'my' / 'report.html').is_file()


def test_what_is_installed_is_one_package_which_finds_its_configurations(wheel, elsewhere):
  holds_one_package(wheel, wheel.parent, elsewhere)


def test_an_editable_installation_is_one_package_too(editable, elsewhere):
  holds_one_package(*editable, elsewhere)


def holds_one_package(bin, origin, elsewhere):
  code = """
import importlib.metadata, fsvae_jax
from fsvae_jax import configuration
from fsvae_jax.models import fsvae
assert importlib.metadata.version('fsvae_jax') == fsvae_jax.__version__
assert configuration.load('mnist:ann').model.name == 'ann_vae'
assert configuration.load('my.py').train.steps == 2
print(importlib.metadata.distribution('fsvae_jax').read_text('top_level.txt'), fsvae_jax.__file__)
"""
  top, file = run(bin / 'python', '-c', code, cwd=elsewhere).split()
  assert top == 'fsvae_jax' and file.startswith(f'{origin}/')


@pytest.mark.parametrize('line', [None, 'echo "pyenv: python3.12: command not found"; exit 127'])
def test_make_says_that_an_interpreter_cannot_be_run_and_what_to_do(line, tmp_path):
  if line:  # as pyenv's, of a version that is not chosen
    (tmp_path / 'python3.12').write_text(f'#!/bin/sh\n{line}\n')
    (tmp_path / 'python3.12').chmod(0o755)
  command = ['make', 'test', f'PYTHON={tmp_path}/python3.12', f'VENV={tmp_path}/venv']
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert result.returncode != 0 and not (tmp_path / 'venv').exists()
  assert f'{tmp_path}/python3.12 cannot be run' in result.stderr
  assert 'make PYTHON=/path/to/python3' in result.stderr


def test_constraints_are_versions_alone_of_all_dependencies_within_their_bounds():
  lines = (ROOT / 'constraints.txt').read_text().splitlines()
  pins = [line for line in lines if not line.startswith('#')]
  assert all(re.fullmatch(r'[a-z0-9-]+==[0-9a-z.]+', pin) for pin in pins)
  versions = {pin.split('==')[0]: pin.split('==')[1] for pin in pins}
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  for text in project['dependencies']:
    requirement = Requirement(text)
    lower = [s.version for s in requirement.specifier if s.operator == '>=']
    assert len(lower) == 1, f'{text} has no lower bound'
    assert versions[canonicalize_name(requirement.name)] in requirement.specifier

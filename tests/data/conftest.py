"""A configuration of data, and somebody who may not do everything."""

import contextlib
import os
import pathlib
import shutil
import tempfile

import pytest
from ml_collections import ConfigDict

NOBODY = 65534


@pytest.fixture
def config(tmp_path):
  return ConfigDict(
    {
      'name': 'digits',
      'path': str(tmp_path / 'set'),
      'tfds_dir': str(tmp_path / 'tfds'),
      'cache_dir': str(tmp_path / 'cache'),
      'decoded_gb': 1.0,
      'crop': 0,
    }
  )


@pytest.fixture
def common():
  """A folder that everybody may enter, which is not so below `tmp_path`."""
  folder = pathlib.Path(tempfile.mkdtemp())
  folder.chmod(0o755)
  yield folder
  for inner in folder.rglob('*'):
    if inner.is_dir():
      inner.chmod(0o755)
  shutil.rmtree(folder)


@contextlib.contextmanager
def bound_by_permissions():
  """As a user whom permissions bind: root, as whom tests may run, may do all."""
  if os.getuid():
    yield
    return
  os.setresuid(NOBODY, NOBODY, 0)
  try:
    yield
  finally:
    os.setresuid(0, 0, 0)

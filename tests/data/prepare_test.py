"""Data sets of TFDS that are not there yet: downloaded, or prepared by the documented command."""

import functools
import http.server
import os
import pathlib
import runpy
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification.mnist import MNIST

from fsvae_jax import data
from fsvae_jax.data import sources
from tests.data import making

ROOT = pathlib.Path(__file__).parents[2]


def prepare(folder, tfds_dir):
  """Exit code and output of the command."""
  command = [sys.executable, ROOT / 'launch/prepare_data.py', '--name=mnist']
  done = subprocess.run(
    [*command, f'--idx_dir={folder}', f'--tfds_dir={tfds_dir}'],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


def refusal(folder, tfds_dir):
  """The line with which the command ends, run in this process."""
  options = ['--name=mnist', f'--idx_dir={folder}', f'--tfds_dir={tfds_dir}']
  with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
    patch.setattr(sys, 'argv', ['prepare_data.py', *options])
    runpy.run_path(str(ROOT / 'launch/prepare_data.py'), run_name='__main__')
  assert isinstance(ended.value.code, str) and '\n' not in ended.value.code  # exit code 1
  return ended.value.code


@pytest.mark.parametrize('names', ['{}-{}-idx{}-ubyte.gz', '{}-{}.idx{}-ubyte'])
def test_idx_files_become_a_data_set_of_tfds(config, tmp_path, names):
  images = {'train': (12, 'train'), 'test': (5, 't10k' if 'gz' in names else 'test')}
  images = {
    s: (np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8), stem)
    for s, (n, stem) in images.items()
  }
  for array, stem in images.values():
    making.write_idx(tmp_path / 'idx' / names.format(stem, 'images', 3), array)
    labels = np.arange(len(array), dtype=np.uint8) % 10
    making.write_idx(tmp_path / 'idx' / names.format(stem, 'labels', 1), labels)
  code, out, error = prepare(tmp_path / 'idx', tmp_path / 'tfds')
  assert code == 0, error
  assert 'mnist train: 12 examples' in out and 'mnist test: 5 examples' in out

  config.update(name='mnist', path='')
  for split, (array, _) in images.items():
    loaded = np.asarray(data.load(config, 28, 1, split))[..., 0]
    assert sorted(map(bytes, loaded)) == sorted(map(bytes, array))  # TFDS shuffles
  (records,) = (tmp_path / 'tfds').rglob('mnist-train.array_record*')
  records.write_bytes(records.read_bytes()[:-100])
  config.crop = 1  # not from the cache
  with pytest.raises(ValueError, match='mnist/3.*cannot be read.*: remove it'):
    data.load(config, 28, 1, 'train')


def test_a_download_needs_no_tensorflow(config, tmp_path, monkeypatch):
  images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
  for stem in ('train', 't10k'):
    making.write_idx(tmp_path / f'site/{stem}-images-idx3-ubyte.gz', images)
    making.write_idx(tmp_path / f'site/{stem}-labels-idx1-ubyte.gz', np.arange(5, dtype=np.uint8))
  served = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / 'site')
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  monkeypatch.setenv('NO_PROXY', 'localhost')
  with http.server.ThreadingHTTPServer(('localhost', 0), served) as site:
    threading.Thread(target=site.serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, 'URL', f'http://localhost:{site.server_port}/')
    config.update(name='mnist', path='')
    for split in ('train', 'test'):
      loaded = data.load(config, 28, 1, split)
      assert {bytes(x): label for x, label in zip(loaded, loaded.labels, strict=True)} == {
        bytes(x): label for label, x in enumerate(images)
      }
    site.shutdown()


def test_where_tensorflow_is_needed_it_is_named_before_anything_is_downloaded(config, monkeypatch):
  monkeypatch.setattr(sources.importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(
    tfds.download.DownloadManager, 'download_and_extract', lambda *_: pytest.fail('it downloads')
  )
  config.update(name='cifar10', path='')
  with pytest.raises(FileNotFoundError, match=r"cifar10 .*pip install 'fsvae_jax\[data\]'"):
    data.load(config, 32, 3, 'train')


def test_what_is_missing_or_does_not_fit_is_told_in_a_line(tmp_path):
  for prefix in ('fashion', 'mnist'):  # whose would it take?
    making.write_idx(tmp_path / f'two/{prefix}-train-images-idx3-ubyte', np.zeros((3, 28, 28), 'B'))
  assert 'has several for one split (fashion-train-' in refusal(tmp_path / 'two', tmp_path)
  error = refusal(tmp_path / 'nowhere', tmp_path)
  assert '--idx_dir' in error and 'is no folder' in error
  making.write_idx(tmp_path / 'idx/train-images-idx3-ubyte', np.zeros((3, 28, 28), np.uint8))
  assert 'has no train-labels-idx1-ubyte[.gz]' in refusal(tmp_path / 'idx', tmp_path)
  making.write_idx(tmp_path / 'idx/train-labels-idx1-ubyte', np.zeros(4, np.uint8))
  assert 'images (3, 28, 28) and labels (4,)' in refusal(tmp_path / 'idx', tmp_path)

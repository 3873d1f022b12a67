"""Data sources, resizing, and the order of batches."""

import gzip

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from fsvae_jax import data

RNG = np.random.default_rng(0)


@pytest.fixture
def config(tmp_path):
  return ConfigDict(
    {
      'name': 'digits',
      'path': '',
      'tfds_dir': str(tmp_path / 'tfds'),
      'cache_dir': str(tmp_path / 'cache'),
      'decoded_gb': 1.0,
      'crop': 0,
    }
  )


def write_idx(path, images):
  header = b'\0\0\x08' + bytes([images.ndim]) + b''.join(n.to_bytes(4, 'big') for n in images.shape)
  opener = gzip.open if path.suffix == '.gz' else open
  with opener(path, 'wb') as f:
    f.write(header + images.tobytes())


def pillow(image, size):
  return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def test_digits_need_nothing(config):
  train, test = (np.asarray(data.load(config, 32, 1, split)) for split in ('train', 'test'))
  assert train.shape == (1618, 32, 32, 1) and test.shape == (179, 32, 32, 1)
  assert train.dtype == np.uint8 and train.max() == 255 and train.min() == 0


@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_idx_folder(config, tmp_path, suffix):
  arrays = {}
  for split, stem in (('train', 'train'), ('test', 't10k')):
    arrays[split] = RNG.integers(0, 256, (5, 28, 28), np.uint8)
    write_idx(tmp_path / f'{stem}-images-idx3-ubyte{suffix}', arrays[split])
  config.path = str(tmp_path)
  for split, images in arrays.items():
    loaded = data.load(config, 32, 1, split)
    np.testing.assert_array_equal(loaded[3][..., 0], pillow(images[3], 32))


def test_array_files(config, tmp_path):
  train, test = (RNG.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (30, 10))
  np.savez(tmp_path / 'both.npz', x_train=train, x_test=test)
  np.save(tmp_path / 'one.npy', train)
  config.path = str(tmp_path / 'both.npz')
  np.testing.assert_array_equal(data.load(config, 32, 3, 'train'), train)
  np.testing.assert_array_equal(data.load(config, 32, 3, 'test'), test)
  config.path = str(tmp_path / 'one.npy')
  held_out = data.load(config, 32, 3, 'test')
  np.testing.assert_array_equal(held_out, train[9::10])
  assert len(data.load(config, 32, 3, 'train')) == 27


def test_image_folder_crops_and_resizes(config, tmp_path):
  folder = tmp_path / 'images'
  folder.mkdir()
  images = RNG.integers(0, 256, (10, 40, 30, 3), np.uint8)
  for i, image in enumerate(images):
    Image.fromarray(image).save(folder / f'{i:03d}.png')
  config.update(path=str(folder), crop=20)
  train = data.load(config, 16, 3, 'train')
  assert len(train) == 9 and len(data.load(config, 16, 3, 'test')) == 1
  np.testing.assert_array_equal(train[4], pillow(images[4, 10:30, 5:25], 16))


def test_the_cache_follows_its_source(config, tmp_path):
  config.path = str(tmp_path / 'images.npy')
  for value in (1, 2):
    np.save(config.path, np.full((10, 8, 8), value, np.uint8))
    assert data.load(config, 8, 1, 'train')[0][0, 0, 0] == value


def test_bad_input_names_the_value_and_the_way_out(config, tmp_path):
  def error(match, kind=ValueError, **fields):
    config.update(path='', crop=0)
    config.update(fields)
    with pytest.raises(kind, match=match):
      data.load(config, 32, 1, 'train')

  error('unknown data.name .*mnst.*known: digits, mnist', name='mnst')
  config.name = 'digits'
  error('neither a folder with IDX', FileNotFoundError, path=str(tmp_path / 'nowhere'))
  np.save(tmp_path / 'float.npy', np.zeros((10, 8, 8)))
  error('float.npy.*float64.*expected uint8', path=str(tmp_path / 'float.npy'))
  np.save(tmp_path / 'flat.npy', np.zeros((10, 64), np.uint8))
  error(r'flat.npy.*\(10, 64\).*expected uint8', path=str(tmp_path / 'flat.npy'))
  np.savez(tmp_path / 'odd.npz', labels=np.zeros(3))
  error('odd.npz has arrays labels', path=str(tmp_path / 'odd.npz'))
  folder = tmp_path / 'images'
  folder.mkdir()
  Image.fromarray(np.zeros((9, 7), np.uint8)).save(folder / 'tall.png')
  error('tall.png is 7x9 pixels, not square', path=str(folder))
  error('tall.png is 7x9 pixels, smaller than data.crop 8', path=str(folder), crop=8)
  (folder / 'tall.png').write_bytes(b'no picture')
  error('tall.png cannot be read', path=str(folder))
  cut = tmp_path / 'train-images-idx3-ubyte'
  write_idx(cut, np.zeros((3, 4, 4), np.uint8))
  cut.write_bytes(cut.read_bytes()[:-5])
  error('train-images-idx3-ubyte holds 43 bytes', path=str(tmp_path))
  assert not list((tmp_path / 'cache').glob('*npy*'))  # no half-made cache stays


def test_an_epoch_is_a_permutation_and_each_epoch_another():
  first, second = (
    np.concatenate([data.batch_rows(23, 5, 0, epoch * 4 + i) for i in range(4)]) for epoch in (0, 1)
  )
  assert len(set(first)) == len(set(second)) == 20
  assert list(first) != list(second)
  assert list(first) != list(np.concatenate([data.batch_rows(23, 5, 1, i) for i in range(4)]))


def test_batches_resume_anywhere_and_processes_share_them():
  images = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1)
  whole = list(data.batches(images, 4, 0, 0, 12))
  assert len(whole) == 12
  for got, want in zip(data.batches(images, 4, 0, 7, 12), whole[7:], strict=True):
    np.testing.assert_array_equal(got, want)
  shares = [list(data.batches(images, 4, 0, 0, 12, process, 2)) for process in (0, 1)]
  for batch, *parts in zip(whole, *shares, strict=True):
    assert sorted(np.concatenate(parts).ravel()) == sorted(batch.ravel())


def test_a_batch_larger_than_the_data_raises():
  with pytest.raises(ValueError, match='batch_size is 30, but there are only 23'):
    data.batches(np.zeros((23, 1, 1, 1), np.uint8), 30, 0, 0, 1)


def test_normalize_and_quantize_are_inverse():
  every = np.arange(256, dtype=np.uint8)
  image = jax.jit(data.normalize)(every)
  np.testing.assert_allclose([image.min(), image.max()], [-1, 1], rtol=1e-6)
  np.testing.assert_array_equal(data.quantize(image), every)

"""Data sources, resizing, and the order of batches."""

import gzip
import io
import tracemalloc

import jax
import numpy as np
import pytest
from array_record.python import array_record_module
from ml_collections import ConfigDict
from PIL import Image

from fsvae_jax import data
from fsvae_jax.data import sources

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
    np.testing.assert_array_equal(got['image'], want['image'])
  shares = [list(data.batches(images, 4, 0, 0, 12, process, 2)) for process in (0, 1)]
  for batch, *parts in zip(whole, *shares, strict=True):
    together = np.concatenate([part['image'] for part in parts])
    np.testing.assert_array_equal(together, batch['image'])  # draws go by the row


def test_a_batch_larger_than_the_data_raises():
  with pytest.raises(ValueError, match='batch_size is 30, but there are only 23'):
    data.batches(np.zeros((23, 1, 1, 1), np.uint8), 30, 0, 0, 1)


def test_normalize_and_quantize_are_inverse():
  every = np.arange(256, dtype=np.uint8)
  image = jax.jit(data.normalize)(every)
  np.testing.assert_allclose([image.min(), image.max()], [-1, 1], rtol=1e-6)
  np.testing.assert_array_equal(data.quantize(image), every)


def write_records(path, images):
  """An ArrayRecord file of PNG files."""
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for image in images:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, format='png')
    writer.write(encoded.getvalue())
  writer.close()


def test_what_is_too_large_to_decode_is_streamed_and_gives_the_same_batches(config, tmp_path):
  images = RNG.integers(0, 256, (40, 12, 12, 3), np.uint8)
  for i, split in enumerate(('train', 'test')):
    write_records(tmp_path / f'{split}.array_record-0000{i}-of-00001', images[i * 20 : i * 20 + 20])
  config.path = str(tmp_path)
  decoded = data.load(config, 8, 3, 'train')
  config.decoded_gb = 0.0
  streamed = data.load(config, 8, 3, 'train')
  assert streamed.streamed and not decoded.streamed and streamed.name == decoded.name
  np.testing.assert_array_equal(streamed[3], pillow(images[3], 8))
  np.testing.assert_array_equal(streamed[[5, 2]], decoded[:][[5, 2]])
  both = (list(data.batches(x, 6, 0, 4, 9)) for x in (streamed, decoded))
  for got, want in zip(*both, strict=True):
    np.testing.assert_array_equal(got['image'], want['image'])


def test_streaming_reads_only_what_a_process_needs(config, tmp_path, monkeypatch):
  write_records(tmp_path / 'all.array_record', RNG.integers(0, 256, (50, 8, 8, 3), np.uint8))
  config.update(path=str(tmp_path), decoded_gb=0.0)
  read, find = [], sources.find

  def counting(*args):
    source = find(*args)
    return source._replace(read=lambda i: read.append(i) or source.read(i))

  monkeypatch.setattr(sources, 'find', counting)
  images = data.load(config, 8, 3, 'train')
  assert len(images) == 45 and not read
  (batch,) = data.batches(images, 6, 0, 1000, 1001, process=1, processes=3)
  assert len(batch['image']) == 2 and read == list(data.batch_rows(45, 6, 0, 1000)[2:4])


def test_an_unreadable_record_is_named(config, tmp_path):
  writer = array_record_module.ArrayRecordWriter(str(tmp_path / 'train.array_record'), '')
  for _ in range(10):
    writer.write(b'no picture')
  writer.close()
  config.update(path=str(tmp_path), decoded_gb=0.0)
  images = data.load(config, 8, 3, 'train')
  with pytest.raises(ValueError, match='train record 0 cannot be read as an image'):
    images[0]


def test_order_takes_no_time_or_memory_however_many_images_there_are():
  tracemalloc.start()
  rows = data.batch_rows(4_000_000_000, 250, 0, 10**9)
  assert tracemalloc.get_traced_memory()[1] < 1e6
  tracemalloc.stop()
  assert len(set(rows)) == 250 and rows.min() >= 0 and rows.max() < 4_000_000_000
  assert np.ptp(rows) > 3_000_000_000


def test_rows_are_those_that_numpy_takes():
  whole = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1)
  read = lambda rows: np.stack([whole[int(i)] for i in rows]) if len(rows) else whole[:0]
  images = data.Images('count', whole.shape, read, streamed=True)
  for part in (images, *data.hold_out(images, 5)):
    same, odd = part[:], np.arange(len(part)) % 2 == 1
    for rows in (-1, slice(-3, None), [-1, 0], [], odd, np.arange(len(part))[::-1]):
      np.testing.assert_array_equal(part[rows], same[rows])
    np.testing.assert_array_equal(list(part), same)
    np.testing.assert_array_equal(part[np.int8([-1, 2])], same[[-1, 2]])
    for rows in (len(part), -len(part) - 1, [0, len(part)]):
      with pytest.raises(IndexError, match=f'out of bounds .* size {len(part)}'):
        part[rows]
    with pytest.raises(IndexError, match=f'boolean index .* axis is {len(part)} '):
      part[np.ones(len(part) + 1, bool)]
    for rows in (True, np.ones((2, 2), int)):
      with pytest.raises(IndexError, match='one axis, and not 2'):
        part[rows]


@pytest.mark.parametrize('every', [2, 7, 23])
def test_held_out_images_are_not_trained_on(every):
  whole = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1)
  images = data.Images('count', whole.shape, lambda rows: whole[rows], streamed=False)
  train, validation = data.hold_out(images, every)
  assert len(train) == len(train[:]) and len(validation) == len(validation[:]) == 23 // every
  assert sorted([*train[:].ravel(), *validation[:].ravel()]) == list(range(23))
  assert data.hold_out(images, 0) == (images, None)
  with pytest.raises(ValueError, match='data.validation is 24; it must be 0, or 2 to 23'):
    data.hold_out(images, 24)

"""IDX files and NumPy's under their usual names, beside others, and damaged."""

import gzip
import os
import zipfile

import numpy as np
import pytest

from fsvae_jax import data
from tests.data import making

IMAGES = making.grey(*range(10))


@pytest.mark.parametrize('between', ['-', '.', '_'])
@pytest.mark.parametrize('suffix', ['', '.gz'])
@pytest.mark.parametrize('stem', ['train', 'Train', 'emnist-letters-train', ''])
def test_idx_files_have_several_usual_names(config, tmp_path, between, suffix, stem):
  name = f'{stem}-images'.lstrip('-') + f'{between}idx3-ubyte{suffix}'
  making.write_idx(tmp_path / 'set' / name, IMAGES)
  assert making.levels(data.load(config, 4, 1, 'train')) == list(range(9))


def test_gzip_is_known_by_its_content(config, tmp_path):
  making.write_idx(tmp_path / 'set/train-images-idx3-ubyte.gz', IMAGES)
  (tmp_path / 'set/train-images-idx3-ubyte.gz').rename(tmp_path / 'set/train-images-idx3-ubyte')
  (tmp_path / 'set/t10k-images-idx3-ubyte.gz').write_bytes(making.idx(IMAGES))
  assert [len(data.load(config, 4, 1, split)) for split in ('train', 'test')] == [10, 10]


def test_copies_of_one_idx_file_are_read_once_and_folders_not_at_all(config, tmp_path):
  for name in ('train-images-idx3-ubyte', 'train-images-idx3-ubyte.gz', 'train-images.idx3-ubyte'):
    making.write_idx(tmp_path / 'set' / name, IMAGES)
  (tmp_path / 'set/t10k-images-idx3-ubyte').mkdir()
  assert len(data.load(config, 4, 1, 'train')) == 9


def test_several_sets_of_idx_files_in_a_folder_are_refused(config, tmp_path):
  for name in ('letters', 'digits'):
    making.write_idx(tmp_path / 'set' / f'{name}-train-images-idx3-ubyte', IMAGES)
  with pytest.raises(ValueError, match='several for one split.*digits-train.*letters-train.*keep'):
    data.load(config, 4, 1, 'train')


PLAIN = making.idx(IMAGES)
NOISE = np.random.default_rng(0).integers(0, 256, (9, 9, 9), np.uint8)
ZIPPED = gzip.compress(making.idx(NOISE), mtime=0)  # tests' names hold these bytes: no clock


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'\0\0',
    PLAIN[:4],
    PLAIN[:9],
    PLAIN[:-1],
    PLAIN + b'\0',
    b'<!DOCTYPE html>',
    b'\0\0\x0d' + PLAIN[3:],  # floats
    b'\0\0\x08\x03' + b'\xff' * 12,  # a size beyond numbers
    b'\0\0\x08\xff' + PLAIN[4:],
    making.idx(IMAGES[0]),
    making.idx(IMAGES[:, :0]),
    making.idx(IMAGES[..., None, None]),
    ZIPPED[:2],
    ZIPPED[:20],
    ZIPPED[:-3],
    ZIPPED[:100] + b'\0\0\0' + ZIPPED[103:],
    gzip.compress(b'', mtime=0),
  ],
)
@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_a_damaged_idx_file_is_named(config, tmp_path, content, suffix):
  path = tmp_path / 'set' / f'train-images-idx3-ubyte{suffix}'
  path.parent.mkdir()
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f'{path.name} (is|holds|cannot be read)'):
    data.load(config, 4, 1, 'train')


def test_an_idx_file_of_other_numbers_says_which(config, tmp_path):
  content = making.idx(making.grey(*range(10))).replace(b'\x08', b'\x0d', 1)
  (tmp_path / 'set').mkdir()
  (tmp_path / 'set/train-images-idx3-ubyte').write_bytes(content)
  with pytest.raises(
    ValueError, match='is an IDX file of float32: save it anew, as unsigned bytes'
  ):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize('brightest', [1, 16, 17])
def test_images_that_are_nearly_black_are_remarked_upon(config, brightest, capsys):
  config.path += '.npy'
  np.save(config.path, making.grey(*[0] * 9, brightest))
  data.load(config, 4, 1, 'train')
  said = f'brightest pixel is {brightest} of 255' in capsys.readouterr().out
  assert said == (brightest <= 16)


def test_a_relative_path_is_of_the_folder_that_it_is_given_in(config, tmp_path, monkeypatch):
  config.path = 'set.npy'
  for name, level in {'a': 20, 'b': 30}.items():
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    np.save(config.path, making.grey(*[level] * 10))
    os.utime(config.path, (1e9, 1e9))
    assert set(making.levels(data.load(config, 4, 1, 'train'))) == {level}


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('suffix', ['.npz', '.NPZ'])
def test_arrays_nobody_asks_for_are_not_read(config, tmp_path, save, suffix):
  others = {
    'labels': np.arange(10),
    'x_names': np.array(['a', None], object),
    'meta': np.array({'a': 1}, object),
  }
  save(tmp_path / 'set.npz', images=IMAGES, **others)
  (tmp_path / 'set.npz').rename(tmp_path / f'set{suffix}')
  with zipfile.ZipFile(tmp_path / f'set{suffix}', 'a') as archive:
    archive.writestr('README.txt', 'of no arrays')
    archive.writestr('broken.npy', 'not an array')
  config.path = str(tmp_path / f'set{suffix}')
  assert making.levels(data.load(config, 4, 1, 'train')) == list(range(9))


def saved(tmp_path, save=np.savez, **arrays):
  save(tmp_path / 'x.npz', **arrays)
  return (tmp_path / 'x.npz').read_bytes()


NOISE = np.random.default_rng(0).integers(0, 256, (10, 40, 40), np.uint8)
DAMAGE = {
  'nothing': lambda b: b'',
  'a page': lambda b: b'<!DOCTYPE html>',
  'a begin': lambda b: b[:9],
  'no end': lambda b: b[:-50],
  'no middle': lambda b: b[: len(b) // 2] + bytes(90) + b[len(b) // 2 + 90 :],
  'other method': lambda b: b.replace(b'\x08\0\0\0', b'\x63\0\0\0'),
}


@pytest.mark.parametrize('damage', DAMAGE)
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_named(config, tmp_path, damage, save):
  content = saved(tmp_path, save, images=NOISE)
  broken = DAMAGE[damage](content)
  if broken == content:
    pytest.skip('the same')
  config.path += '.npz'
  (tmp_path / 'set.npz').write_bytes(broken)
  with pytest.raises(ValueError, match='set.npz.* cannot be read as .*: (get|save) it anew'):
    data.load(config, 40, 1, 'train')


@pytest.mark.parametrize('keep', [0, 5, 20, 127, 128, 2000, -1])
def test_an_npy_file_that_is_cut_short_is_named(config, tmp_path, keep):
  np.save(tmp_path / 'x.npy', NOISE)
  config.path += '.npy'
  (tmp_path / 'set.npy').write_bytes((tmp_path / 'x.npy').read_bytes()[:keep])
  with pytest.raises(ValueError, match='set.npy cannot be read as arrays.*: get it anew'):
    data.load(config, 40, 1, 'train')


@pytest.mark.parametrize(
  'images',
  [
    np.array([{}] * 10, object),
    np.zeros((10, 4, 4), np.int64),
    np.zeros((10, 4, 4), bool),
    np.zeros((10, 4, 4, 2), np.uint8),
    np.zeros((10, 4, 4, 1, 1), np.uint8),
    np.zeros((10, 0, 4), np.uint8),
    np.zeros((10, 4), np.uint8),
    np.uint8(3),
    np.zeros(10, [('a', np.uint8)]),
    np.array(['a'] * 10),
  ],
)
@pytest.mark.parametrize('suffix', ['npz', 'npy'])
def test_arrays_of_another_kind_say_what_is_expected(config, images, suffix):
  config.path += f'.{suffix}'
  if suffix == 'npz':
    np.savez(config.path, images=images)
  else:
    np.save(config.path, images)
  with pytest.raises(ValueError, match=f'set.{suffix}') as error:
    data.load(config, 4, 1, 'train')
  assert 'pickle' not in str(error.value)
  assert any(way in str(error.value) for way in ('expected uint8', 'as uint8', 'no pixels', 'anew'))


@pytest.mark.parametrize('arrays', [{}, {'labels': IMAGES}, {'y_train': IMAGES, 'y_test': IMAGES}])
def test_a_file_without_arrays_of_images_says_what_is_there(config, arrays):
  config.path += '.npz'
  np.savez(config.path, **arrays)
  with pytest.raises(ValueError, match='set.npz has .*expected train and test'):
    data.load(config, 4, 1, 'train')

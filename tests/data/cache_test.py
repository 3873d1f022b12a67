"""What is kept of decoded images is whole, or made anew; and what tells images from others."""

import io
import os
import pathlib
import shutil
import sys
import types

import numpy as np
import pytest

from fsvae_jax import data
from tests.data import making
from tests.data.conftest import bound_by_permissions


def array(content):
  out = io.BytesIO()
  np.save(out, content)
  return out.getvalue()


DAMAGE = {
  'cut short': lambda b: b[:-1],
  'cut in the header': lambda b: b[:50],
  'empty': lambda b: b'',
  'of zeros': lambda b: bytes(len(b)),
  'junk': lambda b: b'junk' * 500,
  'of other images': lambda b: array(np.zeros((3, 4, 4, 1), np.uint8)),
  'of another type': lambda b: array(np.zeros((9, 4, 4, 1), np.float32)),
  'of objects': lambda b: array(np.array([{}] * 9, object)),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_cache_that_is_not_whole_is_made_anew(config, tmp_path, damage):
  making.write_pictures(tmp_path / 'set', *range(10))
  data.load(config, 4, 1, 'train')
  (path,) = (tmp_path / 'cache').glob('*.npy')
  whole = path.read_bytes()
  path.write_bytes(DAMAGE[damage](whole))
  assert making.levels(data.load(config, 4, 1, 'train')) == list(range(9))
  assert path.read_bytes() == whole


def test_the_cache_is_a_numpy_file(config, tmp_path):
  making.write_pictures(tmp_path / 'set', *range(10))
  images = data.load(config, 4, 1, 'train')
  np.testing.assert_array_equal(np.load(tmp_path / 'cache' / images.name), images)


@pytest.fixture
def shared(config, common):
  """A set of images and a cache that its owner alone may write."""
  making.write_pictures(common / 'set', *range(10))
  config.update(path=str(common / 'set'), cache_dir=str(common / 'cache'))
  return config


def test_a_filled_cache_that_may_not_be_written_serves(shared, common, caplog):
  data.load(shared, 4, 1, 'train')
  files = sorted((common / 'cache').iterdir())
  (common / 'cache').chmod(0o555)
  with bound_by_permissions():
    assert making.levels(data.load(shared, 4, 1, 'train')) == list(range(9))
  assert sorted((common / 'cache').iterdir()) == files and not caplog.text


@pytest.mark.parametrize('made', [True, False])
def test_an_empty_cache_that_may_not_be_written_is_named(shared, common, made):
  if made:
    (common / 'cache').mkdir(0o555)
  with bound_by_permissions(), pytest.raises(ValueError, match='data.cache_dir .*/cache cannot be'):
    data.load(shared, 4, 1, 'train')


def test_streaming_needs_no_cache(shared):
  shared.decoded_gb = 0.0
  with bound_by_permissions():
    assert making.levels(data.load(shared, 4, 1, 'train')) == list(range(9))


def test_a_file_in_the_place_of_the_cache_is_named(config, tmp_path):
  making.write_pictures(tmp_path / 'set', *range(10))
  (tmp_path / 'cache').touch()
  with pytest.raises(ValueError, match='data.cache_dir .*/cache cannot be written'):
    data.load(config, 4, 1, 'train')


def test_a_full_disk_is_told_and_leaves_nothing(config, tmp_path, monkeypatch):
  making.write_pictures(tmp_path / 'set', *range(10))

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np.lib.format, 'write_array_header_1_0', full)
  with pytest.raises(ValueError, match='data.cache_dir .*No space left.*name another'):
    data.load(config, 4, 1, 'train')
  assert not [path for path in (tmp_path / 'cache').iterdir() if path.suffix != '.lock']


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(config, tmp_path, monkeypatch):
  making.write_pictures(tmp_path / 'set', *range(10))
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: types.SimpleNamespace(free=100))
  monkeypatch.setattr(np.lib.format, 'write_array_header_1_0', None)
  with pytest.raises(ValueError, match='1.44e-07 GB are needed, 1e-07 GB are free.*name another'):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize('field', ['path', 'cache_dir', 'tfds_dir'])
@pytest.mark.parametrize('address', ['gs://bucket/x', 's3://b/x', 'https://a.b/c.npz'])
def test_addresses_are_refused_in_words(config, tmp_path, field, address):
  making.write_pictures(tmp_path / 'set', *range(10))
  config.update({field: address})
  if field == 'tfds_dir':
    config.update(path='', name='mnist')
  with pytest.raises(ValueError, match=f'data.{field} is {address}.*mount the storage'):
    data.load(config, 4, 1, 'train')


def test_places_may_be_in_the_home_folder(config, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  making.write_pictures(tmp_path / 'set', *range(10))
  config.update(path='~/set', cache_dir='~/new/cache')
  assert len(data.load(config, 4, 1, 'train')) == 9
  assert list((tmp_path / 'new/cache').glob('*.npy'))


def test_places_that_are_given_need_no_home_folder(config, tmp_path, monkeypatch):
  def nobody(path):
    assert not str(path).startswith('~'), 'asked for'
    return path

  monkeypatch.setattr(pathlib.Path, 'expanduser', nobody)
  monkeypatch.delenv('HOME')
  making.write_pictures(tmp_path / 'set', *range(10))
  assert len(data.load(config, 4, 1, 'train')) == 9


@pytest.mark.parametrize('name', ['../x', 'a/b', '', 'mnst'])
def test_an_unknown_data_set_is_refused_before_anything_is_made(config, tmp_path, name):
  config.name = name
  with pytest.raises(ValueError, match='unknown data.name .*known: digits'):
    data.load(config, 4, 1, 'train')
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == 'darwin', reason='its names are UTF-8 alone')
def test_the_same_images_have_one_identity_wherever_they_lie(config, tmp_path):
  paths = [tmp_path / 'a', tmp_path / os.fsdecode(b'\xff'), tmp_path / 'c.npz', tmp_path / 'd']
  for path in paths[:2]:
    making.write_pictures(path, *range(50))
  np.savez(paths[2], images=making.grey(*range(50)))
  making.write_records(paths[3] / 'all.array_record', *range(50))
  identities, names = [], set()
  for path, decoded_gb in [(path, 1.0) for path in paths] + [(paths[0], 0.0)]:
    config.update(path=str(path), decoded_gb=decoded_gb)
    images = data.load(config, 4, 1, 'train')
    identities.append(data.identity(images))
    names.add(images.name)
  assert len(names) == 4 and all(identity == identities[0] for identity in identities)
  assert identities[0].keys() == {'count', 'shape', 'digest'}
  assert identities[0]['count'] == 45 and identities[0]['shape'] == [4, 4, 1]
  assert len(identities[0]['digest']) == 16


@pytest.mark.parametrize('count', [1, 2, 63, 64])
def test_one_changed_image_changes_the_identity(count):
  images = np.zeros((count, 4, 4, 1), np.uint8)
  identities = {str(data.identity(images))}
  for i in range(count):
    changed = images.copy()
    changed[i, 3, 3] = 1
    identities.add(str(data.identity(changed)))
  assert len(identities) == count + 1


@pytest.mark.parametrize('count', [65, 100, 60_000])
def test_identity_reads_at_most_64_evenly_spaced_images(count):
  images, read = np.zeros((count, 1, 1, 1), np.uint8), []
  source = data.Images('x', images.shape, lambda i: read.extend(i) or images[i], streamed=False)
  data.identity(source)
  assert len(set(read)) == len(read) == 64
  assert np.ptp(np.diff(read)) <= 1 and read[0] == 0 and read[-1] >= count * 62 / 64

"""Image files as cameras, programs and systems leave them."""

import errno
import io
import os
import pathlib
import struct
import sys
import zlib

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image

from fsvae_jax import data
from fsvae_jax.data import folders
from tests.data import making
from tests.data.conftest import bound_by_permissions


def load_one(config, tmp_path, name, content):
  """The image [4, 4, 3] of one file, which is trained on."""
  file = tmp_path / 'set/train' / name
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_bytes(content)
  making.write_pictures(tmp_path / 'set/test', 0)
  return data.load(config, 4, 3, 'train')[0]


def saved(picture, kind='png', **options):
  out = io.BytesIO()
  picture.save(out, format=kind, **options)
  return out.getvalue()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['jpeg', 'png', 'webp', 'tiff'])
def test_turned_pictures_stand_upright(config, tmp_path, orientation, kind):
  shown = Image.new('L', (4, 4), 0)
  shown.paste(255, (0, 0, 2, 1))  # upper left, wider than high: no turn or mirror keeps it
  undo = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE'}
  undo |= {6: 'ROTATE_90', 7: 'TRANSVERSE', 8: 'ROTATE_270'}
  stored = shown
  if orientation > 1:
    stored = shown.transpose(Image.Transpose[undo[orientation]])
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {'quality': 100} if kind == 'jpeg' else {'lossless': True} if kind == 'webp' else {}
  stored = stored.convert('RGB') if kind == 'webp' else stored
  content = saved(stored, kind, exif=exif, **options)
  image = load_one(config, tmp_path, f'x.{kind}', content)
  np.testing.assert_allclose(image[..., 0], np.asarray(shown), atol=9)


def half_transparent(mode):
  """Black, and transparent in the lower half; what is invisible is not white."""
  alpha = Image.fromarray(np.repeat([[255], [255], [0], [0]], 4, 1).astype(np.uint8))
  picture = Image.new('RGB', (4, 4), 'black').convert(mode.removesuffix('A'))
  if mode == 'P':
    picture = Image.fromarray(np.repeat([[0], [0], [1], [1]], 4, 1).astype(np.uint8)).convert('P')
    picture.putpalette([0, 0, 0, 200, 0, 0])
  elif mode.endswith('A'):
    picture.putalpha(alpha)
  return picture


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'L', 'RGB'])
@pytest.mark.parametrize('kind', ['png', 'webp', 'gif', 'tiff'])
def test_what_is_transparent_is_white(config, tmp_path, mode, kind):
  picture, options = half_transparent(mode), {}
  if mode == 'P':
    options = {'transparency': 1}
  elif not mode.endswith('A'):  # one colour that is transparent
    picture.paste({'L': 9, 'RGB': (9, 9, 9)}[mode], (0, 2, 4, 4))
    options = {'transparency': {'L': 9, 'RGB': (9, 9, 9)}[mode]}
  if (mode, kind) == ('LA', 'gif') or options and kind != 'png' and (mode, kind) != ('P', 'gif'):
    pytest.skip('no such files')
  options |= {'lossless': True} if kind == 'webp' else {}
  image = load_one(config, tmp_path, f'x.{kind}', saved(picture, kind, **options))
  assert image[0].max() == 0 and image[3].min() == 255


@pytest.mark.parametrize('suffix', folders.SUFFIXES)
@pytest.mark.parametrize('case', [str.lower, str.upper])
def test_files_of_every_usual_ending_are_read(config, tmp_path, suffix, case):
  kinds = {'.jpg': 'jpeg', '.jfif': 'jpeg', '.tif': 'tiff'}
  content = making.encoded(100, kinds.get(suffix, suffix[1:]))
  assert abs(int(load_one(config, tmp_path, case('x' + suffix), content).mean()) - 100) < 3


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'CMYK', 'YCbCr'])
def test_pictures_of_8_bits_are_read_in_any_colours(config, tmp_path, mode):
  kind = 'png' if mode in ('1', 'P') else 'jpeg'
  content = saved(Image.new('RGB', (4, 4), 'white').convert(mode), kind)
  assert load_one(config, tmp_path, f'x.{kind}', content).min() > 250


def test_a_file_that_is_of_another_kind_than_pictures_starts_no_other_program(config, tmp_path):
  picture = saved(Image.new('L', (4, 4)), 'eps')
  with pytest.raises(ValueError, match='x.png cannot be read as an image .UnidentifiedImageError'):
    load_one(config, tmp_path, 'x.png', picture)


def test_the_first_frame_of_several_is_read(config, tmp_path):
  first, second = (Image.new('L', (4, 4), level) for level in (0, 255))
  content = saved(first, 'gif', save_all=True, append_images=[second])
  assert load_one(config, tmp_path, 'x.gif', content).max() == 0


def png(*chunks, size=(4, 4), bits=8, colour=0):
  """A PNG file of chunks after its header."""
  header = b'IHDR', struct.pack('>IIBBBBB', *size, bits, colour, 0, 0, 0)
  write = lambda kind, body: struct.pack('>I', len(body)) + kind + body
  ended = [write(*c) + struct.pack('>I', zlib.crc32(b''.join(c))) for c in (header, *chunks)]
  return b'\x89PNG\r\n\x1a\n' + b''.join(ended)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
DAMAGED = {
  'empty.png': b'',
  'page.jpg': b'<!DOCTYPE html><html>404</html>',
  'pointer.png': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
  'zero.png': bytes(100),
  'cut.png': saved(NOISE)[:-400],
  'cut.jpg': saved(NOISE, 'jpeg')[:-400],
  'cut.gif': saved(NOISE, 'gif')[:-1000],
  'cut.bmp': saved(NOISE, 'bmp')[:-400],
  'cut.webp': saved(NOISE, 'webp')[:-400],
  'cut.tif': saved(NOISE, 'tiff')[:-400],
  'begun.png': saved(NOISE)[:20],
  'begun.bmp': saved(NOISE, 'bmp')[:20],
  'begun.gif': saved(NOISE, 'gif')[:8],
  'begun.tiff': saved(NOISE, 'tiff')[:12],
  'begun.jpeg': saved(NOISE, 'jpeg')[:30],
  'zlib.png': png((b'IDAT', b'no zlib'), (b'IEND', b'')),
  'chunk.png': png((b'\xff\xff\xff\xff', b''), (b'IEND', b'')),
  'without_data.png': png((b'IEND', b'')),
  'text.png': png((b'zTXt', b'a\0\0nonsense'), (b'IEND', b'')),
  'checksum.png': saved(NOISE)[:40] + b'\xff' + saved(NOISE)[41:],
  'bomb.png': png((b'IDAT', zlib.compress(bytes(99))), size=(30000, 30000)),
  'large.png': png((b'IDAT', zlib.compress(bytes(99))), size=(10000, 10000)),
  'no_pixels.png': png((b'IDAT', zlib.compress(b'')), size=(0, 4)),
  'sixteen.png': saved(Image.new('I;16', (4, 4))),
  'sixteen_rgb.png': png((b'IDAT', zlib.compress((b'\0' + bytes(24)) * 4)), bits=16, colour=2),
  'sixteen_la.png': png((b'IDAT', zlib.compress((b'\0' + bytes(16)) * 4)), bits=16, colour=4),
  'floats.tiff': saved(Image.new('F', (4, 4)), 'tiff'),
}


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('name', DAMAGED)
def test_a_file_that_cannot_be_read_is_named_with_the_ways_out(config, tmp_path, name):
  with pytest.raises(ValueError, match=f'{name} cannot be read as an image.*: remove it, convert'):
    load_one(config, tmp_path, name, DAMAGED[name])
  assert not list((tmp_path / 'cache').glob('*npy*'))  # no half-made cache stays


def test_all_files_that_cannot_be_read_are_named_at_once(config, tmp_path):
  root = making.write_pictures(tmp_path / 'set/train', *range(10))
  making.write_pictures(tmp_path / 'set/test', 0)
  for name in ('a.png', 'b.jpg', 'c.png'):
    (root / name).write_bytes(b'<html>')
  with pytest.raises(
    ValueError, match=r'a\.png cannot be .*: remove it.* used: \S*b.jpg, \S*c.png$'
  ):
    data.load(config, 4, 1, 'train')
  for i in range(50):
    (root / f'{i:02}.gif').write_bytes(b'')
  with pytest.raises(ValueError, match='/18.gif, .*/19.gif, perhaps more$'):  # not a page of names
    data.load(config, 4, 1, 'train')


@pytest.mark.filterwarnings('error')
def test_a_warning_that_is_an_error_names_the_file_too(config, tmp_path):
  with pytest.raises(ValueError, match='large.png cannot be read.*DecompressionBombWarning'):
    load_one(config, tmp_path, 'large.png', DAMAGED['large.png'])


def test_an_error_among_records_names_the_record(config, tmp_path):
  path = tmp_path / 'set/all.array_record'
  path.parent.mkdir()
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for content in [making.encoded(0)] * 4 + [b'no picture'] + [making.encoded(0)] * 5:
    writer.write(content)
  writer.close()
  with pytest.raises(ValueError, match='set: train record 4 cannot be read as an image.*: remove'):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize('content', [b'', b'junk' * 20, bytes(200_000), b'<html>' * 20_000])
def test_files_that_hold_no_records_are_named(config, tmp_path, content):
  making.write_records(tmp_path / 'set/train.array_record', *range(3))
  (tmp_path / 'set/test.array_record').write_bytes(content)
  with pytest.raises(ValueError, match='set/test.array_record cannot be read as an ArrayRecord'):
    data.load(config, 4, 1, 'test')


def test_hidden_and_other_files_are_left_out_and_counted(config, tmp_path, capsys):
  root = making.write_pictures(tmp_path / 'set/cats', *range(10)).parent
  for name in ('._x.png', '.DS_Store', 'Thumbs.db', 'labels.CSV', 'README', 'cats/._000.png'):
    (root / name).write_bytes(b'no picture')
  for name in ('.ipynb_checkpoints', '__MACOSX', '.git/objects'):
    making.write_pictures(root / name, 20)
  assert making.levels(data.load(config, 4, 1, 'train')) == list(range(9))
  data.load(config, 4, 1, 'test')
  out = capsys.readouterr().out
  assert out.count('\n') == 1
  for count in ('6 hidden', '1 .db', '1 .csv', '1 without an ending'):
    assert count in out


def test_hidden_files_of_records_and_arrays_are_left_out(config, tmp_path):
  root = tmp_path / 'set'
  making.write_records(root / 'train.array_record', *range(10))
  (root / '._train.array_record').write_bytes(b'no records')
  assert len(data.load(config, 4, 1, 'train')) == 9
  making.write_idx(root / 'train-images-idx3-ubyte', making.grey(*range(20)))
  (root / '._train-images-idx3-ubyte').write_bytes(b'no images')
  assert len(data.load(config, 4, 1, 'train')) == 18


def test_data_path_may_lie_in_a_hidden_folder_or_be_a_link(config, tmp_path):
  making.write_pictures(tmp_path / '.hidden/set', *range(10))
  config.path = str(tmp_path / 'link')
  (tmp_path / 'link').symlink_to(tmp_path / '.hidden/set')
  assert len(data.load(config, 4, 1, 'train')) == 9


def test_linked_folders_of_classes_are_followed(config, tmp_path):
  making.write_pictures(tmp_path / 'elsewhere/cats', *range(3))
  making.write_pictures(tmp_path / 'set/test', 9)
  (tmp_path / 'set/train').mkdir()
  (tmp_path / 'set/train/cats').symlink_to(tmp_path / 'elsewhere/cats')
  assert making.levels(data.load(config, 4, 1, 'train')) == [0, 1, 2]


@pytest.mark.parametrize('target', ['.', '..', '../..', '/', '../dogs'])
def test_links_that_lead_back_end(config, tmp_path, target):
  making.write_pictures(tmp_path / 'set/cats', *range(5))
  making.write_pictures(tmp_path / 'set/dogs', *range(5, 10))
  (tmp_path / 'set/cats/back').symlink_to(target)
  (tmp_path / 'set/dogs/back').symlink_to(tmp_path / 'set/cats')
  assert making.levels(data.load(config, 4, 1, 'train')) == list(range(9))


def test_a_folder_named_as_an_image_is_a_folder(config, tmp_path):
  making.write_pictures(tmp_path / 'set/x.png', *range(10))
  assert len(data.load(config, 4, 1, 'train')) == 9


@pytest.mark.skipif(sys.platform == 'darwin', reason='its names are UTF-8 alone')
def test_names_that_are_not_utf_8_are_read(config, tmp_path):
  odd = os.fsdecode(b'\xe9 \xff')
  root = making.write_pictures(tmp_path / 'set', *range(10))
  (root / '009.png').rename(root / f'{odd}.png')
  assert making.levels(data.load(config, 4, 1, 'test')) == [9]
  making.write_records(tmp_path / 'train.array_record', *range(10))
  (tmp_path / odd).mkdir()
  (tmp_path / 'train.array_record').rename(tmp_path / odd / 'train.array_record')
  config.path = str(tmp_path / odd)
  assert making.levels(data.load(config, 4, 1, 'test')) == [9]


@pytest.mark.parametrize('name', ['x.png', 'cats'])
def test_a_link_that_leads_nowhere_is_named(config, tmp_path, name):
  root = making.write_pictures(tmp_path / 'set', *range(10))
  for target in ('nowhere', name):  # and one that leads to itself
    (root / name).symlink_to(target)
    with pytest.raises(ValueError, match=f'set/{name} leads nowhere.*: remove this link'):
      data.load(config, 4, 1, 'train')
    (root / name).unlink()


def test_all_links_that_lead_nowhere_are_named_at_once(config, tmp_path):
  root = making.write_pictures(tmp_path / 'set', *range(10))
  for name in ('x.png', 'y.png'):
    (root / name).symlink_to('nowhere')
  with pytest.raises(ValueError, match='x.png leads nowhere.*; nor can these be used: .*set/y.png'):
    data.load(config, 4, 1, 'train')


def test_a_file_that_the_storage_does_not_give_is_no_link_to_be_removed(
  config, tmp_path, monkeypatch
):
  making.write_pictures(tmp_path / 'set/cats', *range(10))
  known = pathlib.Path.stat

  def stat(path, **options):
    if path.name == '003.png':
      raise OSError(errno.EIO, 'Input/output error', str(path))
    return known(path, **options)

  monkeypatch.setattr(pathlib.Path, 'stat', stat)
  with pytest.raises(ValueError, match='cannot be read .*Input/output.*003.png') as error:
    data.load(config, 4, 1, 'train')
  assert 'remove' not in str(error.value)


def test_a_pipe_is_refused_instead_of_waited_for(config, tmp_path):
  root = making.write_pictures(tmp_path / 'set', *range(10))
  os.mkfifo(root / 'x.png')
  with pytest.raises(ValueError, match='set/x.png is no file'):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize('name', ['set', 'set/cats', 'set/cats/000.png'])
def test_what_may_not_be_read_is_named(config, common, name):
  making.write_pictures(common / 'set/cats', *range(10))
  config.update(path=str(common / 'set'), cache_dir=str(common / 'cache'))
  (common / 'cache').mkdir()
  (common / 'cache').chmod(0o777)
  (common / name).chmod(0)
  with bound_by_permissions(), pytest.raises(ValueError, match=f'{name}.*(remove it|who may read)'):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize('name', ['photo.png', 'labels.csv', 'set.zip', 'train-images-idx3-ubyte'])
def test_a_file_that_holds_no_arrays_is_no_data_path(config, tmp_path, name):
  (tmp_path / name).write_bytes(making.encoded(0))
  config.path = str(tmp_path / name)
  with pytest.raises(FileNotFoundError, match=f'data.path .*{name} is neither a folder.*nor an ex'):
    data.load(config, 4, 1, 'train')

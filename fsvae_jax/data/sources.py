"""Where images come from: TFDS, folders of images, of IDX or of ArrayRecord files, array files."""

import dataclasses
import gzip
import io
import pathlib
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from grain.sources import ArrayRecordDataSource
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')
HOLD_OUT = 10  # of a source without a test split, every tenth image is the test split


class Source(NamedTuple):
  """A split before resizing.

  Attributes:
    fingerprint: of its origin; changes when a file is replaced.
    count: number of images.
    read: i -> uint8 image [H, W] or [H, W, C]; any i in any order, from several threads at once.
    origin: i -> what messages call the image.
  """

  fingerprint: str
  count: int
  read: Callable[[int], np.ndarray]
  origin: Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class EveryNth:
  """Rows n-1, 2n-1, ... of `count` if `held`, else all others; `self[i]` is the i-th of them."""

  count: int
  n: int
  held: bool

  def __len__(self):
    held = self.count // self.n
    return held if self.held else self.count - held

  def __getitem__(self, i):
    return (i + 1) * self.n - 1 if self.held else i + i // (self.n - 1)


def find(config, split):
  """The Source of a split.

  Args:
    config: the run's `config.data`.
    split: 'train' or 'test'.

  Raises:
    ValueError, FileNotFoundError: for an unknown data set, or data that is not there, naming it and
      the ways out.
  """
  if config.name not in DATASETS:
    raise ValueError(f'unknown data.name {config.name!r}; known: {", ".join(DATASETS)}')
  if config.path:
    return _from_path(pathlib.Path(config.path).expanduser(), split)
  return DATASETS[config.name](config, split)


def _from_path(path, split):
  """A source from a folder of IDX files, a folder of images, or an array file."""
  if path.is_file() and path.suffix in ('.npz', '.npy'):
    return _array_file(path, split)
  if path.is_dir():
    if any(path.glob('*-images-idx3-ubyte*')):
      return _idx_folder(path, split)
    if any(path.glob('*.array_record*')):
      return _record_folder(path, split)
    if any(f.suffix.lower() in IMAGE_SUFFIXES for f in path.rglob('*')):
      return _image_folder(path, split)
  raise FileNotFoundError(
    f'data.path {path} is neither a folder with IDX files (*-images-idx3-ubyte[.gz]), nor one with '
    f'ArrayRecord files (*.array_record*), nor one with images ({", ".join(IMAGE_SUFFIXES)}), nor '
    'an existing .npz or .npy file'
  )


def _stamp(*files):
  """Names, sizes and times of files: changes when one of them is replaced."""
  return '|'.join(f'{f}:{f.stat().st_size}:{f.stat().st_mtime_ns}' for f in files)


def _numbered(fingerprint, origin, images):
  """A Source of an indexed sequence of images."""
  return Source(fingerprint, len(images), images.__getitem__, lambda i: f'{origin}: image {i}')


def _only(source, split):
  """Every tenth image of `source` for the test split, the others for training."""
  rows = EveryNth(source.count, HOLD_OUT, split == 'test')
  read, origin = (lambda i, f=f: f(rows[i]) for f in (source.read, source.origin))
  return Source(source.fingerprint, len(rows), read, origin)


def _idx_folder(folder, split):
  stem = {'train': 'train', 'test': 't10k'}[split]
  files = sorted(folder.glob(f'{stem}-images-idx3-ubyte*'))
  if not files:
    raise FileNotFoundError(f'{folder} has no {stem}-images-idx3-ubyte[.gz]')
  images = read_idx(files[0])
  return _numbered(_stamp(files[0]), files[0], images)


def read_idx(path):
  """The uint8 array of an IDX file, gzipped or not; raises ValueError if it is not one."""
  data = path.read_bytes()
  try:
    data = gzip.decompress(data) if path.suffix == '.gz' else data
  except (OSError, EOFError) as error:
    raise ValueError(f'{path} is not a whole gzip file: {error}') from error
  if data[:3] != b'\0\0\x08':
    raise ValueError(f'{path} is not an IDX file of unsigned bytes')
  shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], 'big') for i in range(data[3]))
  start = 4 + 4 * len(shape)
  if len(data) - start != np.prod(shape):
    raise ValueError(f'{path} holds {len(data) - start} bytes, its header says {shape}')
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _array_file(path, split):
  try:
    arrays = np.load(path, mmap_mode='r')
    arrays = {'images': arrays} if path.suffix == '.npy' else dict(arrays)
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'{path} cannot be read as arrays: {error}') from error
  names = [{'train': f'{prefix}train', 'test': f'{prefix}test'} for prefix in ('', 'x_')]
  named = next((pair[split] for pair in names if set(pair.values()) <= set(arrays)), None)
  alone = next((name for name in ('images', 'arr_0') if name in arrays), None)
  if named is None and alone is None:
    raise ValueError(
      f'{path} has arrays {", ".join(arrays)}; expected train and test, or x_train and x_test, or '
      'images'
    )
  images = arrays[named or alone]
  if (
    images.dtype != np.uint8
    or images.ndim not in (3, 4)
    or images.shape[3:] not in ((), (1,), (3,))
  ):
    raise ValueError(
      f'{path}: array {named or alone} is {images.dtype}{images.shape}; expected uint8 of '
      'shape [N, H, W], [N, H, W, 1] or [N, H, W, 3]'
    )
  if named:
    return _numbered(_stamp(path), path, images)
  return _only(_numbered(_stamp(path), path, images), split)


def _image_folder(folder, split):
  root = folder / split
  whole = not root.is_dir()
  root = folder if whole else root
  files = sorted(f for f in root.rglob('*') if f.suffix.lower() in IMAGE_SUFFIXES)
  if not files:
    raise FileNotFoundError(
      f'{root} has no images for the {split} split ({", ".join(IMAGE_SUFFIXES)})'
    )
  read, origin = lambda i: _decode(files[i], files[i]), lambda i: str(files[i])
  source = Source(_stamp(*files), len(files), read, origin)
  return _only(source, split) if whole else source


def _record_folder(folder, split):
  """ArrayRecord files; each record is the bytes of an image file."""
  files = sorted(folder.glob('*.array_record*'))
  named = {name: [f for f in files if name in f.name] for name in ('train', 'test')}
  whole = not any(named.values())
  files = files if whole else named[split]
  if not files:
    raise FileNotFoundError(f'{folder} has no *{split}*.array_record* files')
  records = ArrayRecordDataSource([str(f) for f in files])
  origin = lambda i: f'{folder}: {split} record {i}'
  read = lambda i: _decode(io.BytesIO(records[i]), origin(i))
  source = Source(_stamp(*files), len(records), read, origin)
  return _only(source, split) if whole else source


def _decode(file, name):
  try:
    with Image.open(file) as picture:
      if picture.mode.startswith(('I', 'F')):
        raise ValueError(f'mode {picture.mode}, more than 8 bits a channel: convert it to 8 bits')
      return np.asarray(picture.convert('L' if picture.mode in ('1', 'L') else 'RGB'))
  except (UnidentifiedImageError, OSError, ValueError) as error:
    raise ValueError(f'{name} cannot be read as an image: {error}') from error


def _digits(config, split):
  """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels (Alpaydin, Kaynak; UCI)."""
  from sklearn import datasets

  images = (datasets.load_digits().images * (255 / 16)).astype(np.uint8)
  return _only(_numbered('sklearn-digits', 'digits', images), split)


def _tfds(name, splits):
  def source(config, split):
    import tensorflow_datasets as tfds

    data_dir = config.tfds_dir or None
    try:
      builder = tfds.builder(name, data_dir=data_dir, file_format='array_record')
      if not builder.is_prepared():
        print(f'{name} is not in {builder.data_path}: TFDS downloads it, or gives up after minutes')
      builder.download_and_prepare()
      records = builder.as_data_source(split=splits[split])
    except Exception as error:  # TFDS and its downloads raise all kinds
      raise FileNotFoundError(
        f'{name} is neither prepared nor could TFDS download it ({type(error).__name__}: '
        f'{error}). Ways to get it: once, a machine with a network; launch/prepare_data.py, from '
        'IDX files; --config.data.path with a folder of IDX files or images, or a .npz file'
      ) from error
    fingerprint = f'{builder.info.full_name}|{builder.data_path}'
    read, origin = lambda i: records[i]['image'], lambda i: f'{name}: image {i}'
    return Source(fingerprint, len(records), read, origin)

  return source


# A data set is a function of (config.data, split) that gives a Source.
DATASETS = {
  'digits': _digits,
  'mnist': _tfds('mnist', {'train': 'train', 'test': 'test'}),
  'fashion_mnist': _tfds('fashion_mnist', {'train': 'train', 'test': 'test'}),
  'cifar10': _tfds('cifar10', {'train': 'train', 'test': 'test'}),
  'celeb_a': _tfds('celeb_a', {'train': 'train', 'test': 'validation'}),
}

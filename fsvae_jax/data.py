"""Images: read once into a uint8 array [N, H, W, C], then a batch is a gather of rows.

Which rows step s reads is a function of (seed, s, process) alone, so that a run resumes anywhere,
exactly.
"""

import functools
import gzip
import hashlib
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable
from typing import NamedTuple

import grain
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')
HOLD_OUT = 10  # of a source without a test split, every tenth image is the test split


class Source(NamedTuple):
  """A split before resizing: a fingerprint of its origin, and what yields its uint8 images."""

  fingerprint: str
  count: int
  images: Callable[[], Iterable[tuple[str, np.ndarray]]]  # (name for messages, [H, W] or [H, W, C])


def load(config, image_size, channels, split):
  """The images of a split, as a memory-mapped uint8 array [N, image_size, image_size, channels].

  Args:
    config: the run's `config.data`.
    image_size, channels: of the model.
    split: 'train' or 'test'.

  Raises:
    ValueError, FileNotFoundError: for an unknown data set, data that is not there, or images that
      cannot be read, naming the file or value and the ways out.
  """
  if config.name not in DATASETS:
    raise ValueError(f'unknown data.name {config.name!r}; known: {", ".join(DATASETS)}')
  if config.path:
    source = _from_path(pathlib.Path(config.path).expanduser(), split)
  else:
    source = DATASETS[config.name](config, split)
  recipe = f'{source.fingerprint}|{split}|{image_size}|{channels}|{config.crop}'
  digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
  cached = pathlib.Path(config.cache_dir).expanduser() / f'{config.name}-{split}-{digest}.npy'
  if not cached.exists():
    _write(cached, source, image_size, channels, config.crop)
  return np.load(cached, mmap_mode='r')


def batches(images, batch_size, seed, start, stop, process=0, processes=1):
  """This process's rows of the global batches of steps `start` to `stop`, prefetched by Grain.

  Every epoch is a new permutation; what is left of it after the last whole batch is dropped.

  Raises:
    ValueError: if there are fewer images than one batch needs.
  """
  rows = functools.partial(batch_rows, len(images), batch_size, seed)
  rows(start)
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  steps = grain.MapDataset.range(start, stop).map(lambda step: images[np.sort(rows(step)[mine])])
  return steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))


def batch_rows(count, batch_size, seed, step):
  """Rows [batch_size] of the global batch of one step."""
  per_epoch = steps_per_epoch(count, batch_size)
  epoch, within = divmod(int(step), per_epoch)
  return _permutation(count, seed, epoch)[within * batch_size : (within + 1) * batch_size]


def steps_per_epoch(count, batch_size):
  """Whole batches in `count` images; raises ValueError if there is none."""
  if count < batch_size:
    raise ValueError(
      f'train.batch_size is {batch_size}, but there are only {count} training images'
    )
  return count // batch_size


def normalize(images):
  """uint8 0..255 to float32 -1..1."""
  return images.astype(jnp.float32) / 127.5 - 1


def quantize(images):
  """float -1..1 to uint8 0..255."""
  return jnp.round(jnp.clip((images + 1) * 127.5, 0, 255)).astype(jnp.uint8)


@functools.lru_cache(maxsize=2)
def _permutation(count, seed, epoch):
  return np.random.default_rng((seed, epoch)).permutation(count)


def _write(path, source, image_size, channels, crop):
  """Decodes a source into the cache; the file appears when it is complete."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(f'.{os.getpid()}.partial')
  shape = (source.count, image_size, image_size, channels)
  try:
    out = np.lib.format.open_memmap(partial, mode='w+', dtype=np.uint8, shape=shape)
    for i, (name, image) in enumerate(source.images()):
      out[i] = resize(image, image_size, channels, crop, name)
    out.flush()
    partial.rename(path)
  finally:
    partial.unlink(missing_ok=True)


def resize(image, image_size, channels, crop=0, name='image'):
  """uint8 [H, W] or [H, W, C] to [image_size, image_size, channels], by Pillow's bilinear.

  Raises:
    ValueError: with `name`, for an image that is not square, unless it is cropped, or smaller than
      the crop.
  """
  picture = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
  picture = picture.convert('L' if channels == 1 else 'RGB')
  if min(picture.size) < crop or (not crop and picture.width != picture.height):
    wrong = f'smaller than data.crop {crop}' if crop else 'not square'
    raise ValueError(
      f'{name} is {picture.width}x{picture.height} pixels, {wrong}: set data.crop to fit'
    )
  if crop:
    left, top = round((picture.width - crop) / 2), round((picture.height - crop) / 2)
    picture = picture.crop((left, top, left + crop, top + crop))
  if picture.size != (image_size, image_size):
    picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(picture).reshape(image_size, image_size, channels)


def _from_path(path, split):
  """A source from a folder of IDX files, a folder of images, or an array file."""
  if path.is_file() and path.suffix in ('.npz', '.npy'):
    return _array_file(path, split)
  if path.is_dir():
    if any(path.glob('*-images-idx3-ubyte*')):
      return _idx_folder(path, split)
    if any(f.suffix.lower() in IMAGE_SUFFIXES for f in path.rglob('*')):
      return _image_folder(path, split)
  raise FileNotFoundError(
    f'data.path {path} is neither a folder with IDX files (*-images-idx3-ubyte[.gz]), nor a '
    f'folder with images ({", ".join(IMAGE_SUFFIXES)}), nor an existing .npz or .npy file'
  )


def _stamp(*files):
  """Names, sizes and times of files: changes when one of them is replaced."""
  return '|'.join(f'{f}:{f.stat().st_size}:{f.stat().st_mtime_ns}' for f in files)


def _numbered(origin, images):
  return ((f'{origin}: image {i}', image) for i, image in enumerate(images))


def _hold_out(items, split):
  """Every tenth of `items` for the test split, the others for training."""
  test = np.arange(len(items)) % HOLD_OUT == HOLD_OUT - 1
  return np.arange(len(items))[test if split == 'test' else ~test]


def _idx_folder(folder, split):
  stem = {'train': 'train', 'test': 't10k'}[split]
  files = sorted(folder.glob(f'{stem}-images-idx3-ubyte*'))
  if not files:
    raise FileNotFoundError(f'{folder} has no {stem}-images-idx3-ubyte[.gz]')
  images = read_idx(files[0])
  return Source(_stamp(files[0]), len(images), lambda: _numbered(files[0], images))


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
  rows = np.arange(len(images)) if named else _hold_out(images, split)
  return Source(_stamp(path), len(rows), lambda: _numbered(path, (images[i] for i in rows)))


def _image_folder(folder, split):
  root = folder / split
  whole = not root.is_dir()
  root = folder if whole else root
  files = sorted(f for f in root.rglob('*') if f.suffix.lower() in IMAGE_SUFFIXES)
  files = [files[i] for i in _hold_out(files, split)] if whole else files
  if not files:
    raise FileNotFoundError(
      f'{root} has no images for the {split} split ({", ".join(IMAGE_SUFFIXES)})'
    )
  return Source(_stamp(*files), len(files), lambda: ((str(f), _read_image(f)) for f in files))


def _read_image(path):
  try:
    with Image.open(path) as picture:
      if picture.mode.startswith(('I', 'F')):
        raise ValueError(f'mode {picture.mode}, more than 8 bits a channel: convert it to 8 bits')
      return np.asarray(picture.convert('L' if picture.mode in ('1', 'L') else 'RGB'))
  except (UnidentifiedImageError, OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read as an image: {error}') from error


def _digits(config, split):
  """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels (Alpaydin, Kaynak; UCI)."""
  from sklearn import datasets

  images = (datasets.load_digits().images * (255 / 16)).astype(np.uint8)
  images = images[_hold_out(images, split)]
  return Source('sklearn-digits', len(images), lambda: _numbered('digits', images))


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
    return Source(fingerprint, len(records), lambda: _numbered(name, (r['image'] for r in records)))

  return source


# A data set is a function of (config.data, split) that gives a Source.
DATASETS = {
  'digits': _digits,
  'mnist': _tfds('mnist', {'train': 'train', 'test': 'test'}),
  'fashion_mnist': _tfds('fashion_mnist', {'train': 'train', 'test': 'test'}),
  'cifar10': _tfds('cifar10', {'train': 'train', 'test': 'test'}),
  'celeb_a': _tfds('celeb_a', {'train': 'train', 'test': 'validation'}),
}

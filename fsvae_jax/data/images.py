"""Images of the model's size: decoded once into a file, or, if that were too large, when read."""

import contextlib
import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from fsvae_jax.compute import checks
from fsvae_jax.data import faults, sources, splits
from fsvae_jax.run import files


class Images:
  """uint8 images [N, H, W, C]; rows are read when they are asked for, `images[rows]`.

  Attributes:
    name: of the content, for caches that depend on it.
    streamed: whether reading decodes, and is worth many threads.
    labels: int32 [N], numbers of the images' classes; None if they have no labels.
    classes: names of the classes, by number; () if there are none.
  """

  dtype = np.dtype(np.uint8)

  def __init__(
    self,
    name: str,
    shape: Sequence[int],
    read: Callable[[np.ndarray], np.ndarray],
    streamed: bool,
    labels: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
  ):
    self.name, self.shape, self._read, self.streamed = name, tuple(shape), read, streamed
    self.labels, self.classes = labels, classes

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, rows) -> np.ndarray:
    """An array [len(rows), H, W, C] for a slice or an array of rows; [H, W, C] for one row.

    Rows are NumPy's: negative ones count from the end, of booleans those that are true are taken.

    Raises:
      IndexError: for a row that is not there.
    """
    rows = np.arange(len(self))[rows]
    if rows.ndim > 1:
      raise IndexError(f'rows of images have one axis, and not {rows.ndim}')
    return self._read(rows) if rows.ndim else self._read(rows[None])[0]

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return self[:] if dtype is None else self[:].astype(dtype)

  def part(self, name: str, rows: Any) -> 'Images':
    """The images whose rows are `rows`, an increasing array."""
    shape = len(rows), *self.shape[1:]
    read = lambda i: self._read(rows[i])
    labels = None if self.labels is None else self.labels[rows]
    return Images(f'{self.name}-{name}', shape, read, self.streamed, labels, self.classes)


def load(config: ConfigDict, image_size: int, channels: int, split: str) -> Images:
  """The `Images` of a split, [N, image_size, image_size, channels].

  A split of at most `data.decoded_gb` is decoded into a memory-mapped file in `data.cache_dir`,
  which may be read-only once it is there; of a larger one, images are read from their records, and
  decoded and resized, batch by batch. Labels are read at once. Those that take long are kept beside
  the images; others would only grow old there, as the images' name in the cache does not tell
  whether a file of labels has changed.

  Args:
    config: the run's `config.data`.
    image_size, channels: of the model.
    split: 'train' or 'test'.

  Raises:
    ValueError, FileNotFoundError: for an unknown data set or split, data that is not there, images
      or labels that cannot be read, or a cache that cannot be written, naming the file or value and
      the ways out.
  """
  checks.one_of('data.name', config.name, sources.DATASETS)
  checks.one_of('split', split, ('train', 'test'))
  cache = files.expand(config.cache_dir, 'data.cache_dir')
  # Without the lock, processes of one run would all download and decode.
  with files.locked(cache / f'{config.name}.lock'):
    source = sources.find(config, split)
    shape = source.count, image_size, image_size, channels
    recipe = f'{source.fingerprint}|{split}|{image_size}|{channels}|{config.crop}'
    digest = hashlib.sha256(recipe.encode('utf-8', 'surrogateescape')).hexdigest()[:16]
    path = cache / f'{config.name}-{split}-{digest}.npy'

    streamed = np.prod(shape) > config.decoded_gb * 1e9
    remedy = 'remove it, convert it, or get it anew'
    if streamed:  # it may come after hours, and without it these are other images
      remedy = 'get it anew, and the same command goes on; before a training, removing it will do'

    def decoded(i):
      with faults.told(source.origin(i), 'an image', remedy):
        image = source.read(i)
      return resize(image, image_size, channels, config.crop, source.origin(i))

    if streamed:
      of_rows = lambda rows: np.array([decoded(int(i)) for i in rows], np.uint8)
      read = lambda rows: of_rows(rows).reshape(-1, *shape[1:])
      return Images(path.name, shape, read, True, _labels(source, path), source.classes)
    stored = _stored(path, shape)
    if stored is None:
      _write(path, shape, decoded)
      stored = _stored(path, shape)
    read = lambda rows: stored[rows]
    return Images(path.name, shape, read, False, _labels(source, path), source.classes)


def identity(images: Images, labelled: bool = False) -> dict:
  """What tells whether two sources hold the same images, wherever they lie.

  Returns:
    {'count': N, 'shape': [H, W, C], 'digest': of at most 64 evenly spaced images' bytes}; if
    `labelled`, 'labels': a digest of all labels, and 'classes': their names.
  """
  looked_at = min(len(images), 64)
  rows = np.arange(looked_at) * len(images) // looked_at
  content = np.ascontiguousarray(images[rows]).tobytes()
  digest = hashlib.sha256(content).hexdigest()[:16]
  found = {'count': len(images), 'shape': [int(n) for n in images.shape[1:]], 'digest': digest}
  if labelled and images.labels is not None:
    labels = hashlib.sha256(images.labels.tobytes()).hexdigest()[:16]
    found |= {'labels': labels, 'classes': list(images.classes)}
  return found


def hold_out(images: Images, every: int) -> tuple[Images, Images | None]:
  """(training, validation): every `every`th image is for validation; none if `every` is 0.

  Raises:
    ValueError: for an `every` that leaves one of them empty.
  """
  if not every:
    return images, None
  if not 2 <= every <= len(images):
    raise ValueError(f'data.validation is {every}; it must be 0, or 2 to {len(images)} (images)')
  kept, held = (splits.every_nth(len(images), every, held) for held in (False, True))
  return images.part(f'but-{every}', kept), images.part(f'every-{every}', held)


def check_labels(images: Images, classes: int, split: str) -> None:
  """Checks that images have labels of `classes` classes; of 0 classes, any will do.

  Raises:
    ValueError: naming the split, and a label that is not from 0 to `classes` - 1.
  """
  if not classes:
    return
  if images.labels is None:
    raise ValueError(
      f'model.classes is {classes}, but the {split} images have no labels: leave it at 0, or give '
      'images that have some'
    )
  wrong = images.labels[(images.labels < 0) | (images.labels >= classes)]
  if len(wrong):
    way = f'set model.classes to one more than the highest label, {images.labels.max()}'
    if images.labels.min() < 0:
      way = 'number the classes from 0, or leave images of no class out'
    raise ValueError(
      f'a label of the {split} images is {wrong[0]}, but with model.classes {classes} they are 0 '
      f'to {classes - 1}: {way}'
    )


def normalize(images: Any) -> Any:
  """uint8 0..255 to float32 -1..1, of a JAX or a NumPy array."""
  return images.astype(jnp.float32) / 127.5 - 1


def quantize(images: jax.Array | np.ndarray) -> jax.Array:
  """float -1..1 to uint8 0..255."""
  return jnp.round(jnp.clip((images + 1) * 127.5, 0, 255)).astype(jnp.uint8)


def _labels(source, images_path):
  """The labels of a source, int32 [N], or None; a cache that cannot be written is no harm here."""
  if source.label is None:
    return None
  path = images_path.with_name(f'{images_path.stem}-labels.npy')
  stored = _stored(path, (source.count,), np.int32) if source.slow_labels else None
  if stored is not None:
    return np.array(stored)

  def label(i):
    with faults.told(source.origin(i), 'a label', 'get it anew'):
      return source.label(i)

  labels = np.fromiter(map(label, range(source.count)), np.int32, source.count)
  if source.slow_labels:
    with contextlib.suppress(OSError), files.replacing(path) as part, part.open('wb') as out:
      np.save(out, labels)
  return labels


def _stored(path, shape, dtype=np.uint8):
  """The memory-mapped array of the cache; None if it is not there, or not whole, or another."""
  try:
    stored = np.lib.format.open_memmap(path, mode='r')
  except (FileNotFoundError, NotADirectoryError, ValueError):  # mapping compares size and header
    return None
  except OSError as error:
    raise ValueError(
      f'{path}, which data are kept in, cannot be read ({error}): see who may read it, or name '
      'another --config.data.cache_dir'
    ) from error
  return stored if stored.shape == shape and stored.dtype == dtype else None


def _write(path, shape, decoded):
  """Decodes a source into the cache; the file appears when it is complete."""
  header = {'descr': '|u1', 'fortran_order': False, 'shape': tuple(map(int, shape))}
  try:
    needed, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if 0 < free < needed:  # some storages do not say it
      raise OSError(f'{needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free')
    with files.replacing(path) as partial, partial.open('wb') as out:
      np.lib.format.write_array_header_1_0(out, header)
      for image in faults.each(decoded, range(shape[0])):
        out.write(image.tobytes())  # not by mapping: a disk that is full would end the process
      out.flush()
  except OSError as error:
    raise ValueError(
      f'data.cache_dir {path.parent} cannot be written ({error}): name another with '
      '--config.data.cache_dir, or set --config.data.decoded_gb=0, which needs none'
    ) from error


def resize(
  image: np.ndarray, image_size: int, channels: int, crop: int = 0, name: str = 'image'
) -> np.ndarray:
  """uint8 [H, W] or [H, W, C] to [image_size, image_size, channels], by Pillow's bilinear.

  Raises:
    ValueError: with `name`, for an image that is not square, unless it is cropped, or smaller than
      the crop.
  """
  picture = Image.fromarray(image.squeeze(-1) if image.shape[2:] == (1,) else image)
  picture = picture.convert('L' if channels == 1 else 'RGB')
  if min(picture.size) < crop or (not crop and picture.width != picture.height):
    wrong = f'smaller than data.crop {crop}' if crop else 'not square'
    raise faults.Unusable(
      name, f'{name} is {picture.width}x{picture.height} pixels, {wrong}: set data.crop to fit'
    )
  if crop:
    left, top = round((picture.width - crop) / 2), round((picture.height - crop) / 2)
    picture = picture.crop((left, top, left + crop, top + crop))
  if picture.size != (image_size, image_size):
    picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
  return np.asarray(picture).reshape(image_size, image_size, channels)

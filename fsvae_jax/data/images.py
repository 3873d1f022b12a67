"""Images of the model's size: decoded once into a file, or, if that were too large, when read."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform

import jax.numpy as jnp
import numpy as np
from PIL import Image

from fsvae_jax.data import sources


class Images:
  """uint8 images [N, H, W, C]; rows are read when they are asked for, `images[rows]`.

  Attributes:
    name: of the content, for caches that depend on it.
    streamed: whether reading decodes, and is worth many threads.
  """

  dtype = np.dtype(np.uint8)

  def __init__(self, name, shape, read, streamed):
    self.name, self.shape, self._read, self.streamed = name, tuple(shape), read, streamed

  def __len__(self):
    return self.shape[0]

  def __getitem__(self, rows):
    """An array [len(rows), H, W, C] for a slice or an array of rows; [H, W, C] for one row."""
    if isinstance(rows, slice):
      rows = np.arange(*rows.indices(len(self)))
    rows = np.asarray(rows)
    return self._read(rows) if rows.ndim else self._read(rows[None])[0]

  def __array__(self, dtype=None, copy=None):
    return self[:] if dtype is None else self[:].astype(dtype)

  def part(self, name, rows):
    """The images whose rows are `rows`, an increasing sequence that takes index arrays."""
    shape = len(rows), *self.shape[1:]
    return Images(f'{self.name}-{name}', shape, lambda i: self._read(rows[i]), self.streamed)


def load(config, image_size, channels, split):
  """The `Images` of a split, [N, image_size, image_size, channels].

  A split of at most `data.decoded_gb` is decoded into a memory-mapped file in `data.cache_dir`; of
  a larger one, images are read from their records, and decoded and resized, batch by batch.

  Args:
    config: the run's `config.data`.
    image_size, channels: of the model.
    split: 'train' or 'test'.

  Raises:
    ValueError, FileNotFoundError: for an unknown data set, data that is not there, or images that
      cannot be read, naming the file or value and the ways out.
  """
  cache = pathlib.Path(config.cache_dir).expanduser()
  with _alone(cache, config.name):  # processes of one run would all download and decode
    source = sources.find(config, split)
    shape = source.count, image_size, image_size, channels
    recipe = f'{source.fingerprint}|{split}|{image_size}|{channels}|{config.crop}'
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    path = cache / f'{config.name}-{split}-{digest}.npy'

    def decoded(i):
      return resize(source.read(i), image_size, channels, config.crop, source.origin(i))

    if np.prod(shape) > config.decoded_gb * 1e9:
      read = lambda rows: np.stack([decoded(int(i)) for i in rows]) if len(rows) else _none(shape)
      return Images(path.name, shape, read, streamed=True)
    if not path.exists():
      _write(path, shape, decoded)
    stored = np.load(path, mmap_mode='r')
    return Images(path.name, shape, lambda rows: stored[rows], streamed=False)


def hold_out(images, every):
  """(training, validation): every `every`th image is for validation; none if `every` is 0.

  Raises:
    ValueError: for an `every` that leaves one of them empty.
  """
  if not every:
    return images, None
  if not 2 <= every <= len(images):
    raise ValueError(f'data.validation is {every}; it must be 0, or 2 to {len(images)} (images)')
  kept, held = (sources.EveryNth(len(images), every, held) for held in (False, True))
  return images.part(f'but-{every}', kept), images.part(f'every-{every}', held)


def identity(images):
  rows = np.unique(np.linspace(0, len(images) - 1, 64).astype(int))
  digest = hashlib.sha256(np.ascontiguousarray(images[rows]).tobytes()).hexdigest()[:16]
  return {'count': len(images), 'shape': list(images.shape[1:]), 'digest': digest}


def normalize(images):
  """uint8 0..255 to float32 -1..1."""
  return images.astype(jnp.float32) / 127.5 - 1


def quantize(images):
  """float -1..1 to uint8 0..255."""
  return jnp.round(jnp.clip((images + 1) * 127.5, 0, 255)).astype(jnp.uint8)


@contextlib.contextmanager
def _alone(folder, name):
  """Holds `folder` against other processes that prepare the data set `name` there."""
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / f'{name}.lock').open('w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _none(shape):
  return np.zeros((0, *shape[1:]), np.uint8)


def _write(path, shape, decoded):
  """Decodes a source into the cache; the file appears when it is complete."""
  partial = path.with_suffix(f'.{platform.node()}-{os.getpid()}.partial')
  try:
    out = np.lib.format.open_memmap(partial, mode='w+', dtype=np.uint8, shape=shape)
    for i in range(len(out)):
      out[i] = decoded(i)
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

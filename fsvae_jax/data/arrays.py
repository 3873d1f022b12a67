"""Images and labels as arrays: IDX files, as MNIST's, and NumPy's .npz and .npy."""

import gzip
import math
import pathlib
import re
from collections import Counter
from typing import Any

import numpy as np

from fsvae_jax.data import faults, folders, splits
from fsvae_jax.run import console

DARK = 16  # masks of 0 and 1, or 17 grey levels, that have not been scaled to 255
GZIP = b'\x1f\x8b'
IDX_TYPES = {9: 'int8', 11: 'int16', 12: 'int32', 13: 'float32', 14: 'float64'}  # all but uint8
WHOLE = 'get it anew, it is cut short or damaged'
EXPECTED = 'uint8 of shape [N, H, W], [N, H, W, 1] or [N, H, W, 3]'
INTEGERS = 'integers, or name it otherwise to go without labels'
NAMES = ('', 'x', 'images', 'image', 'data', 'arr 0')  # of arrays of images, beside the split's
LABELS = ('y', 'labels', 'label', 'targets', 'target')  # so are arrays of labels named


def numbered(fingerprint: str, origin: object, images: np.ndarray) -> splits.Source:
  """A Source of an array of images [N, H, W] or [N, H, W, C].

  Raises:
    ValueError: with `origin`, for an array of another type or shape.
  """
  kind = f'{images.dtype}{images.shape}'
  if images.dtype != np.uint8 or images.ndim < 3 or images.shape[3:] not in ((), (1,), (3,)):
    raise ValueError(f'{origin} is {kind}; expected {EXPECTED}')
  if 0 in images.shape[1:]:
    raise ValueError(f'{origin} is {kind}: its images have no pixels')
  looked_at = images[:: max(1, len(images) // 64)]
  if len(images) and looked_at.max() <= DARK:
    console.say(f'{origin}: its brightest pixel is {looked_at.max()} of 255, nearly black')
  return splits.Source(
    fingerprint, len(images), images.__getitem__, lambda i: f'{origin}: image {i}'
  )


def idx_files(folder: pathlib.Path, kind: str) -> list[folders.File]:
  """The IDX files of 'images' or 'labels' in a folder, under any of their usual names.

  `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, gzipped or not; of several copies of one
  file, the first.
  """
  pattern = re.compile(rf'(.*\b|.*_){kind}[-._]idx\d([-._]ubyte)?(\.gz)?', re.IGNORECASE)
  files = [file for file in folders.plain_files(folder) if pattern.fullmatch(file.path.name)]
  plain = lambda file: re.sub(r'[\W_]+', '-', file.path.name.lower().removesuffix('.gz'))
  return splits.first_of(files, plain)


def idx_folder(folder: pathlib.Path, split: str) -> splits.Source | None:
  """The images of a folder's IDX files, with labels where such a file is; None if there are none.

  Raises:
    ValueError: for files that cannot be read, several of one split, labels of another number than
      the images, and as `splits.choose`.
  """
  labels = {_stem(file): file for file in idx_files(folder, 'labels')}

  def source(files):
    file = _single(files, folder)
    source = numbered(folders.stamp(files), file, read_idx(file.path))
    beside = labels.get(_stem(file))
    return _labelled(source, file, beside, read_idx(beside.path)) if beside else source

  files = idx_files(folder, 'images')
  if not files:
    return None
  own = [file for stem, file in labels.items() if stem in map(_stem, files)]
  left_out = folders.others(folder, [*files, *own])
  return splits.choose(folders.file_parts(files), split, source, folder, 'files', left_out)


def _stem(file):
  """What the names of a file of images and the file of its labels have in common."""
  name = re.sub(r'(images|labels)[-._]idx.*', '', file.path.name.lower())
  return re.sub(r'[\W_]+', '-', name)


def read_idx(path: pathlib.Path) -> np.ndarray:
  """The uint8 array of an IDX file, gzipped or not.

  Raises:
    ValueError: naming the file, if it is not one or not whole.
  """
  with faults.told(path, 'an IDX file', WHOLE):
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(GZIP) else data
  kind = IDX_TYPES.get(data[2]) if data[:2] == b'\0\0' and len(data) > 3 else None
  if kind:
    raise ValueError(f'{path} is an IDX file of {kind}: save it anew, as unsigned bytes, 0 to 255')
  if data[:3] != b'\0\0\x08' or len(data) < 4 + 4 * data[3]:
    raise ValueError(f'{path} is not an IDX file of unsigned bytes: {WHOLE}')
  start = 4 + 4 * data[3]
  shape = tuple(int.from_bytes(data[i : i + 4], 'big') for i in range(4, start, 4))
  if len(data) - start != math.prod(shape):
    raise ValueError(f'{path} holds {len(data) - start} bytes, its header says {shape}: {WHOLE}')
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def array_file(path: pathlib.Path, split: str) -> splits.Source:
  """The images of an .npy file, or of the arrays of an .npz file that are named as images are.

  The labels of an .npz file's images are the array that is named as labels are, for that split.

  Raises:
    ValueError: for a file that cannot be read, or has no such array, labels that are not one whole
      number for each image, and as `splits.choose`.
  """
  fingerprint = folders.stamp([folders.File(path, path.stat())])
  with faults.told(path, 'arrays', WHOLE):
    arrays: Any
    if path.suffix.lower() == '.npy':
      arrays = {'images': np.lib.format.open_memmap(path, mode='r')}
    else:
      arrays = np.lib.npyio.NpzFile(path.open('rb'), own_fid=True)

  def array(name, expected):
    origin = f'{path}: array {name}'
    with faults.told(origin, 'numbers', f'save it anew, as {expected}'):
      return origin, np.asanyarray(arrays[name])  # others, of whatever kind, are not looked at

  def source(names):
    name = _single(names, path)
    origin, images = array(name, EXPECTED)
    source = numbered(fingerprint, origin, images)
    beside = labels.get(splits.named(name))
    return _labelled(source, origin, *array(beside, INTEGERS)) if beside else source

  labels = {part.name: part.item for part in _array_parts(list(arrays), LABELS)}
  parts = _array_parts(list(arrays), NAMES)
  if not parts:
    raise ValueError(
      f'{path} has arrays {", ".join(arrays)}; expected train and test, or x_train and x_test, or '
      'images'
    )
  used = {part.item for part in parts}
  used |= {labels[part.name] for part in parts if part.name in labels}
  left_out = Counter(f'array {name}' for name in arrays if name not in used)
  return splits.choose(parts, split, source, path, 'arrays', left_out)


def _labelled(source, images, origin, labels):
  """`source`, of what messages call `images`, with its array of labels, [N] or [N, 1]."""
  count = source.count
  whole = labels.dtype.kind in 'iu' and np.array_equal(labels, labels.astype(np.int32))
  if not whole or labels.shape not in ((count,), (count, 1)):
    raise ValueError(
      f'{origin} is {labels.dtype}{labels.shape}, and {images} has {count} images: expected the '
      'integer of a class for each; get both anew, or name it otherwise to go without labels'
    )
  return source._replace(label=labels.reshape(count).__getitem__)


def _single(items, where):
  if len(items) > 1:
    names = ', '.join(map(str, items))
    raise ValueError(f'{where} has several for one split ({names}): keep one, or name it train')
  return items[0]


def _array_parts(names, usual):
  """Of each split's arrays, the one that has the first of the `usual` names."""
  split = {name: splits.named(name) for name in names}
  words = {name: re.split(r'[\W_]+', name.lower()) for name in names}
  rest = {name: ' '.join(w for w in words[name] if w != split[name]) for name in names}
  known = [name for sure in usual for name in names if rest[name] == sure]
  return [splits.Part(split[name], name, name) for name in splits.first_of(known, split.get)]

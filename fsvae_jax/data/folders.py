"""Images as people keep them: folders of image files, and ArrayRecord files of encoded images.

An image is read as a viewer shows it: turned as its EXIF data says, on white where it is
transparent, the first frame of several.
"""

import errno
import functools
import io
import itertools
import os
import pathlib
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np
from array_record.python import array_record_module
from grain.sources import ArrayRecordDataSource
from PIL import Image, ImageOps

from fsvae_jax.data import faults, splits
from fsvae_jax.run import console

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.bmp', '.gif', '.tif', '.tiff', '.webp')
FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'TIFF', 'WEBP')  # others may start other programs
BACKGROUND = 'white'  # of what is transparent
DECODING = 'upright, on white'  # changes with what `decode` makes of files, as caches must


class File(NamedTuple):
  """A file, what the system says of it, asked once, and the class that its folder stands for."""

  path: pathlib.Path
  stat: os.stat_result
  kind: str = ''

  def __str__(self) -> str:
    return str(self.path)

  @property
  def key(self) -> tuple[int, int]:
    """The same for every link to the file."""
    return self.stat.st_dev, self.stat.st_ino


def stamp(files: list[File]) -> str:
  """Names, sizes and times of files: changes when one of them is replaced."""
  return '|'.join(f'{f.path}:{f.stat.st_size}:{f.stat.st_mtime_ns}' for f in files)


def is_hidden(name: str) -> bool:
  """Whether a file or folder is of no one's making: `.DS_Store`, `._x.png`, `__MACOSX`."""
  return name.startswith('.') or name in ('__MACOSX', '@eaDir', 'lost+found')


def plain_files(folder: pathlib.Path) -> list[File]:
  """The files of a folder itself, by name, but the hidden ones."""
  paths = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
  return [File(path, path.stat()) for path in paths if path.is_file()]


def others(folder: pathlib.Path, used: list[File]) -> Counter[str]:
  """How many files and folders of a folder itself are not `used`, hidden ones among them."""
  names = {file.path.name for file in used}
  return Counter('other files and folders' for path in folder.iterdir() if path.name not in names)


def file_parts(files: list[File]) -> list[splits.Part]:
  """Files of images, whose names have the split's as a word."""
  return [splits.Part(splits.named(file.path.name), file.key, file) for file in files]


def image_folder(folder: pathlib.Path, split: str) -> splits.Source | None:
  """The image files below `folder`, in folders that name splits or not; None if there are none.

  Links are followed, but those that lead back to a folder on the way to them.

  Folders within splits are classes, the uppermost ones that not all images share, in the order of
  their names, or of their numbers if all are numbers, over both splits; a split has no labels if
  images of it lie in none of them.

  Raises:
    ValueError: for what cannot be read, links that lead nowhere, and as `splits.choose`.
  """
  files, left_out = _walk(folder)
  if not files:
    return None
  way = lambda path: (*path.relative_to(folder).parts[:-1], path.stem)
  names = _split_and_class([way(file.path) for file in files])
  parts = [
    splits.Part(name, file.key, file._replace(kind=kind))
    for file, (name, kind) in zip(files, names, strict=True)
  ]
  both = itertools.chain(*splits.divide(parts, folder))
  classes = in_order({part.item.kind for part in both} - {''})
  make = lambda files: _images(files, tuple(classes))
  return splits.choose(parts, split, make, folder, left_out=left_out)


def record_folder(folder: pathlib.Path, split: str) -> splits.Source | None:
  """The records of ArrayRecord files, each an image file's bytes; None if there are no files.

  Raises:
    ValueError: for what cannot be read, and as `splits.choose`.
  """

  def source(files):
    records = ArrayRecordDataSource([_shard(file) for file in files])
    read = lambda i: decode(io.BytesIO(records[i]))
    origin = lambda i: f'{folder}: {split} record {i}'
    return splits.Source(f'{DECODING}|{stamp(files)}', len(records), read, origin)

  files = [file for file in plain_files(folder) if '.array_record' in file.path.name]
  if not files:
    return None
  if (folder / 'features.json').exists():
    raise ValueError(
      f'{folder} has records of TFDS: set data.name and data.tfds_dir, and leave data.path empty'
    )
  left_out = others(folder, files)
  return splits.choose(file_parts(files), split, source, folder, 'files', left_out)


WIDE = re.compile(r'\b(LA|RGB|RGBA|RGBX|CMYK);16')  # raw modes of which Pillow drops 8 bits


def decode(file: pathlib.Path | BinaryIO) -> np.ndarray:
  """The uint8 array [H, W] or [H, W, 3] of an image file.

  Raises:
    ValueError: for more than 8 bits a channel or more pixels than Pillow takes for an image.
    Exception: whatever Pillow raises at a damaged file.
  """
  with Image.open(file, formats=FORMATS) as opened:
    picture: Image.Image = opened
    wide = WIDE.search(str(getattr(picture, 'tile', '')))
    if wide or picture.mode.startswith(('I', 'F')):
      kind = wide.group() if wide else picture.mode
      raise ValueError(f'mode {kind}, more than 8 bits a channel')
    if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or np.inf):
      raise ValueError(f'{picture.width}x{picture.height} pixels, too many')
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
      picture = picture.convert('RGBA')
      ground = Image.new('RGBA', picture.size, BACKGROUND)
      picture = Image.alpha_composite(ground, picture)
    return np.asarray(picture.convert('L' if picture.mode in ('1', 'L') else 'RGB'))


def _images(files, classes):
  number = {kind: i for i, kind in enumerate(classes)}
  source = splits.Source(
    f'{DECODING}|{stamp(files)}',
    len(files),
    lambda i: decode(files[i].path),
    lambda i: str(files[i]),
  )
  if bare := [file for file in files if not file.kind]:
    if len(bare) < len(files):
      share = f'{len(bare)} of {len(files)} images are'
      _say(f'{share} in no folder of a class, {bare[0].path} first: no labels')
    return source
  return source._replace(label=lambda i: number[files[i].kind], classes=classes)


_say = functools.cache(console.say)  # once: both splits are looked for, and evaluation looks again


def _walk(root):
  """(image files, sorted; how many files of which kind are left out) below a folder."""
  files: list[File] = []
  found: list[pathlib.Path] = []
  left_out: Counter[str] = Counter()
  for folder, folders, names in os.walk(root, onerror=_stop, followlinks=True):
    folder = pathlib.Path(folder)
    shown = [name for name in folders if not is_hidden(name)]
    left_out['hidden'] += len(folders) - len(shown) + sum(map(is_hidden, names))
    folders[:] = [name for name in shown if not _leads_back(root, folder / name)]
    left_out['links that lead back'] += len(shown) - len(folders)
    found += [folder / name for name in names if not is_hidden(name)]
  for file in faults.each(_regular, sorted(found)):
    if file.path.suffix.lower() in SUFFIXES:
      files.append(file)
    else:
      left_out[file.path.suffix.lower() or 'without an ending'] += 1
  return files, left_out


def _stop(error):
  raise error


def _regular(path):
  try:
    file = File(path, path.stat())
  except OSError as error:
    if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
      raise  # of the folder or the storage
    message = f'{path} leads nowhere ({error.strerror}): remove this link'
    raise faults.Unusable(path, message) from error
  if not stat.S_ISREG(file.stat.st_mode):
    raise faults.Unusable(path, f'{path} is no file that can be read as often as needed: remove it')
  return file


def _leads_back(root, folder):
  """Whether a folder is a link to one on the way to it, or above: it would be walked for ever."""
  if not folder.is_symlink():
    return False
  target = pathlib.Path(os.path.realpath(folder))
  way = [above for above in folder.parents if above.is_relative_to(root)]
  return any(pathlib.Path(os.path.realpath(above)).is_relative_to(target) for above in way)


def in_order(names: Iterable[str]) -> list[str]:
  """Names sorted, by number if all are numbers: 2 before 10."""
  numbers = all(name.isdecimal() for name in names)
  return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def _split_and_class(ways):
  """What split each file's way names, and the class, of which see `image_folder`.

  Args:
    ways: names of the folders to each file, and its own, without its ending.
  """
  level, names = _split_level(ways)
  top = level if any(names) else 0
  within = [way[top + bool(name) : -1] for way, name in zip(ways, names, strict=True)]
  trained = any(name in splits.TRAIN for name in names)
  counted = [way for way, name in zip(within, names, strict=True) if name or not trained]
  common = zip(*counted, strict=False)  # the parts of each level that all have
  least = min(map(len, counted))
  level = next((i for i, parts in enumerate(common) if len(set(parts)) > 1), least)
  # An archive made on macOS spells é in two characters.
  composed = functools.partial(unicodedata.normalize, 'NFC')
  classes = [composed(way[level]) if level < len(way) else '' for way in within]
  return list(zip(names, classes, strict=True))


def _split_level(ways):
  """(level of the ways, the split's name that each has there, or '').

  It is the highest level on which a folder bears such a name, so that folders of classes may bear
  one below; else the highest on which names have words of both splits, as `training_set` beside
  `test_set`: of one alone, `train_station` may be a class.
  """
  whole = lambda part: part if part in splits.TRAIN + splits.TEST else ''
  word = lambda part: splits.named(re.sub(r'(?<=[a-z])\d+$', '', part))  # train2017
  depth = max(map(len, ways))
  for name_of, parts in ((whole, -1), (word, None)):
    lower = [[name_of(part.strip().lower()) for part in way[:parts]] for way in ways]
    for level in range(depth):
      names = [way[level] if level < len(way) else '' for way in lower]
      both = set(names) & set(splits.TRAIN) and set(names) & set(splits.TEST)
      if both or (name_of is whole and any(names)):
        return level, names
  return 0, [''] * len(ways)


class _Shard(NamedTuple):
  """A file of records as ArrayRecordDataSource takes it, which then need not count them again."""

  filename: bytes  # as text, it would have to be UTF-8
  skip: int
  take: int
  examples_in_shard: int


def _shard(file):
  name = os.fsencode(file.path)
  with faults.told(file, 'an ArrayRecord file', 'remove it, or make it anew'):
    reader = array_record_module.ArrayRecordReader(name)
    count = reader.num_records()
    reader.close()
  return _Shard(name, 0, count, count)

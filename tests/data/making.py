"""Small sets of images as files. Image i is grey of level i, so that it can be told again."""

import gzip
import io

import numpy as np
from array_record.python import array_record_module
from PIL import Image

SIDE = 4


def grey(*levels):
  """uint8 images [N, 4, 4]."""
  return np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in levels])


def levels(images):
  """The levels of loaded images."""
  return [int(image.flat[0]) for image in np.asarray(images)]


def encoded(level, kind='png'):
  """The bytes of an image file."""
  out = io.BytesIO()
  Image.fromarray(grey(level)[0]).save(out, format=kind)
  return out.getvalue()


def write_pictures(folder, *levels):
  """Image files in a new folder, or one that is there."""
  folder.mkdir(parents=True, exist_ok=True)
  for level in levels:
    (folder / f'{level:03d}.png').write_bytes(encoded(level))
  return folder


def write_records(path, *levels):
  """An ArrayRecord file of image files."""
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for level in levels:
    writer.write(encoded(level))
  writer.close()


def idx(images):
  """The bytes of an IDX file."""
  shape = b''.join(n.to_bytes(4, 'big') for n in images.shape)
  return b'\0\0\x08' + bytes([images.ndim]) + shape + images.tobytes()


def write_idx(path, images):
  """An IDX file, gzipped if it is named so."""
  path.parent.mkdir(parents=True, exist_ok=True)
  content = idx(images)
  path.write_bytes(gzip.compress(content) if path.suffix == '.gz' else content)

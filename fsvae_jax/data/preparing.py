"""MNIST and Fashion-MNIST as data sets of TFDS, made of their IDX files without TensorFlow."""

import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from fsvae_jax.data.arrays import read_idx
from fsvae_jax.run import console

WAITS = '{builder.name} is not in {builder.data_path}: TFDS downloads it, or gives up after minutes'
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # {split: (images [N, H, W], labels [N])}


def from_idx(builder: Any, arrays_of: Callable[[Any], Arrays] | None = None) -> None:
  """Writes the data set of a TFDS builder, whose own way to read and encode needs TensorFlow.

  Args:
    builder: TFDS's, of 'mnist' or 'fashion_mnist'.
    arrays_of: TFDS's download manager -> Arrays; default: what it downloads.
  """
  if not arrays_of:
    console.say(WAITS.format(builder=builder))
    arrays_of = lambda manager: _downloaded(builder.URL, manager)
  builder._split_generators = lambda manager: {
    split: _examples(*arrays) for split, arrays in arrays_of(manager).items()
  }
  builder.download_and_prepare()


def _downloaded(url, manager):
  """Arrays of the four files; TFDS knows the checksums of those that it gives the address of."""
  stems = {'train': 'train', 'test': 't10k'}
  names = lambda stem: (f'{stem}-images-idx3-ubyte.gz', f'{stem}-labels-idx1-ubyte.gz')
  urls = {split: [url + name for name in names(stem)] for split, stem in stems.items()}
  paths = manager.download(urls)
  read = lambda path: read_idx(pathlib.Path(path))
  return {split: tuple(map(read, pair)) for split, pair in paths.items()}


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
  """(key, features) of every image, which is a PNG already: TFDS would encode arrays."""
  for key, (image, label) in enumerate(zip(images, labels, strict=True)):
    png = io.BytesIO()
    Image.fromarray(image).save(png, format='png')
    png.seek(0)
    yield key, {'image': png, 'label': int(label)}

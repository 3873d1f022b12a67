"""Where images come from: TFDS, what is at data.path, scikit-learn."""

import importlib.util
import pathlib
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from fsvae_jax.data import arrays, faults, folders, preparing, splits
from fsvae_jax.run import console, files


def find(config: ConfigDict, split: str) -> splits.Source:
  """The Source of a split.

  Args:
    config: the run's `config.data`.
    split: 'train' or 'test'.

  Raises:
    ValueError, FileNotFoundError: for an unknown data set, or data that is not there, naming it and
      the ways out.
  """
  if not config.path:
    return DATASETS[config.name](config, split)
  path = files.expand(config.path, 'data.path').absolute()
  try:
    source = _from_path(path, split)
  except OSError as error:
    raise ValueError(f'data.path cannot be read ({error}): see who may read it') from error
  if source is None:
    raise FileNotFoundError(
      f'data.path {path} is neither a folder with IDX files (*-images-idx3-ubyte[.gz]), nor one '
      'with ArrayRecord files (*.array_record*), nor one with images '
      f'({", ".join(folders.SUFFIXES)}), nor an existing .npz or .npy file'
    )
  return source


def _from_path(path, split):
  if path.is_dir():
    kinds = (arrays.idx_folder, folders.record_folder, folders.image_folder)
    return next(filter(None, (kind(path, split) for kind in kinds)), None)
  if path.is_file() and path.suffix.lower() in ('.npz', '.npy'):
    return arrays.array_file(path, split)
  return None


def _digits(config, split):
  """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels (Alpaydin, Kaynak; UCI)."""
  from sklearn import datasets

  digits = datasets.load_digits()
  images = (digits.images * (255 / 16)).astype(np.uint8)
  source = arrays.numbered('sklearn-digits', 'digits', images)
  return splits.every_tenth(source._replace(label=digits.target.__getitem__), split, 'digits')


def _tfds(
  name: str, names: dict[str, str], prepare: Callable
) -> Callable[[ConfigDict, str], splits.Source]:
  """The data set `name` of TFDS, where our splits have the names `names`.

  Args:
    prepare: of a builder whose data set is not there, downloads and writes it.
  """

  def source(config, split):
    data_dir = files.expand(config.tfds_dir, 'data.tfds_dir') if config.tfds_dir else None
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder(name, data_dir=data_dir, file_format='array_record')
      if not builder.is_prepared():
        prepare(builder)
    except Exception as error:  # TFDS and its downloads raise all kinds
      raise FileNotFoundError(
        f'{name} is neither prepared nor could TFDS download it ({type(error).__name__}: '
        f'{error}). Ways to get it: once, a machine with a network; launch/prepare_data.py, from '
        'IDX files; --config.data.path with a folder of IDX files or images, or a .npz file; and '
        'another --config.data.tfds_dir, if it is there in a format that is not array_record'
      ) from error
    with faults.told(builder.data_path, f'{name} of TFDS', 'remove it, and prepare it again'):
      records = builder.as_data_source(split=names[split])
      count = len(records)
      label = _label(builder, names[split])
      prepared = folders.stamp(folders.plain_files(pathlib.Path(builder.data_path)))
    fingerprint = f'{builder.info.full_name}|{prepared}'
    read, origin = lambda i: records[i]['image'], lambda i: f'{builder.data_path}: image {i}'
    return splits.Source(fingerprint, count, read, origin, label, slow_labels=True)

  return source


def _label(builder, split):
  """i -> label of a record of TFDS, without decoding its image; None if records have none."""
  from tensorflow_datasets import decode

  if 'label' not in builder.info.features:
    return None
  records = builder.as_data_source(split=split, decoders={'image': decode.SkipDecoding()})
  return lambda i: records[i]['label']


def _with_tensorflow(builder):
  """Lets the builder prepare its data set, which needs TensorFlow for all but the download."""
  if importlib.util.find_spec('tensorflow') is None:
    raise ImportError("TFDS needs TensorFlow to prepare it: pip install 'fsvae_jax[data]'")
  console.say(preparing.WAITS.format(builder=builder))
  builder.download_and_prepare()


# A data set is a function of (config.data, split) that gives a Source.
DATASETS = {
  'digits': _digits,
  'mnist': _tfds('mnist', {'train': 'train', 'test': 'test'}, preparing.from_idx),
  'fashion_mnist': _tfds('fashion_mnist', {'train': 'train', 'test': 'test'}, preparing.from_idx),
  'cifar10': _tfds('cifar10', {'train': 'train', 'test': 'test'}, _with_tensorflow),
  'celeb_a': _tfds('celeb_a', {'train': 'train', 'test': 'validation'}, _with_tensorflow),
}

"""Prepares MNIST or Fashion-MNIST for TFDS from IDX files, without a network.

    python launch/prepare_data.py --name=mnist --idx_dir=FOLDER [--tfds_dir=~/tensorflow_datasets]

FOLDER holds the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz], or as others name
them: {train,test}-{images.idx3,labels.idx1}-ubyte[.gz]. The TFDS builder of that name does the
rest, reading them instead of downloading.
"""

import argparse
import sys

import tensorflow_datasets as tfds

from fsvae_jax import data
from fsvae_jax.data import preparing, splits
from fsvae_jax.run import console, files

NAMES = {'train': splits.TRAIN, 'test': splits.TEST}


def read(folder, split):
  """(images, labels) of a split.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: for one that is damaged, or if they do not belong together.
  """
  images, labels = (data.read_idx(find(folder, split, kind)) for kind in ('images', 'labels'))
  if images.ndim != 3 or labels.shape != images.shape[:1]:
    shapes = f'images {images.shape} and labels {labels.shape}'
    raise ValueError(f'{folder} has {shapes} to {split}: expected [N, H, W] and [N]')
  return images, labels


def find(folder, split, kind):
  """The path of one of the four files."""
  files_of = data.idx_files(folder, kind)
  for name in NAMES[split]:
    found = [file.path for file in files_of if splits.named(file.path.name) == name]
    if len(found) > 1:
      several = ', '.join(path.name for path in found)
      raise ValueError(f'{folder} has several for one split ({several}): keep one data set there')
    if found:
      return found[0]
  dims = {'images': 3, 'labels': 1}[kind]
  stem = {'train': 'train', 'test': 't10k'}[split]
  raise FileNotFoundError(f'{folder} has no {stem}-{kind}-idx{dims}-ubyte[.gz]')


def prepare(name, idx_dir, tfds_dir):
  """Writes both splits of the data set `name` below `tfds_dir`."""
  folder = files.expand(tfds_dir, '--tfds_dir') if tfds_dir else None  # where a training looks
  idx_dir = files.expand(idx_dir, '--idx_dir')
  if not idx_dir.is_dir():
    raise FileNotFoundError(f'--idx_dir {idx_dir} is no folder')
  arrays = {split: read(idx_dir, split) for split in NAMES}
  builder = tfds.builder(name, data_dir=folder, file_format='array_record')
  if builder.is_prepared():
    raise ValueError(
      f'{builder.data_path} is there already, and would stay as it is: remove it, or name another '
      '--tfds_dir'
    )
  preparing.from_idx(builder, lambda _: arrays)
  for split in NAMES:
    count = len(builder.as_data_source(split=split))
    console.say(f'{name} {split}: {count} examples in {builder.data_path}')


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--name', required=True, choices=('mnist', 'fashion_mnist'))
  parser.add_argument('--idx_dir', required=True)
  parser.add_argument('--tfds_dir', help='default: $TFDS_DATA_DIR, or ~/tensorflow_datasets')
  args = parser.parse_args()
  try:
    prepare(args.name, args.idx_dir, args.tfds_dir)
  except (ValueError, FileNotFoundError) as error:
    sys.exit(str(error))


if __name__ == '__main__':
  main()

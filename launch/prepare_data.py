"""Prepares MNIST-shaped data for TFDS from IDX files, without TensorFlow and without a network.

    python launch/prepare_data.py --name=mnist --idx_dir=FOLDER [--tfds_dir=~/tensorflow_datasets]

FOLDER holds the four files {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]. The TFDS builder of
that name does the rest, reading them instead of downloading; images go in as encoded PNG, since
encoding arrays is what would need TensorFlow.
"""

import argparse
import io
import pathlib

import tensorflow_datasets as tfds
from PIL import Image

from fsvae_jax import data

STEMS = {'train': 'train', 'test': 't10k'}


def read(folder, stem, kind):
  """The array of one of the four files, or FileNotFoundError that names it."""
  for path in sorted(folder.glob(f'{stem}-{kind}-ubyte*')):
    return data.read_idx(path)
  raise FileNotFoundError(f'{folder} has no {stem}-{kind}-ubyte[.gz]')


def examples(images, labels):
  """(key, features) of every image."""
  for key, (image, label) in enumerate(zip(images, labels, strict=True)):
    png = io.BytesIO()
    Image.fromarray(image).save(png, format='png')
    png.seek(0)
    yield key, {'image': png, 'label': int(label)}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--name', required=True, choices=('mnist', 'fashion_mnist', 'kmnist'))
  parser.add_argument('--idx_dir', required=True, type=pathlib.Path)
  parser.add_argument('--tfds_dir', type=pathlib.Path, default='~/tensorflow_datasets')
  args = parser.parse_args()

  arrays = {
    split: (read(args.idx_dir, stem, 'images-idx3'), read(args.idx_dir, stem, 'labels-idx1'))
    for split, stem in STEMS.items()
  }
  folder = args.tfds_dir.expanduser()
  builder = tfds.builder(args.name, data_dir=folder, file_format='array_record')
  builder._split_generators = lambda _: {s: examples(*pair) for s, pair in arrays.items()}
  builder.download_and_prepare()
  for split in STEMS:
    print(f'{args.name} {split}: {len(builder.as_data_source(split=split))} examples in {folder}')


if __name__ == '__main__':
  main()

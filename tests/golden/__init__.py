"""The recorded arrays, and their layouts turned into ours."""

import pathlib

import numpy as np

_HERE = pathlib.Path(__file__).parent


def load(name):
  """{array's name: array} of a golden file."""
  with np.load(_HERE / f'{name}.npz') as arrays:
    return dict(arrays)


def group(arrays, prefix):
  """The arrays below `prefix/`, named without it."""
  return {k.removeprefix(f'{prefix}/'): v for k, v in arrays.items() if k.startswith(f'{prefix}/')}


def time_first(array):
  """(B, D, ..., T) to [B, T, D, ...]: vectors over time, spikes of K draws."""
  return np.moveaxis(array, -1, 1)


def video(array):
  """(B, C, H, W, T) to [B, T, H, W, C]."""
  return np.moveaxis(array, (4, 1), (1, 4))


def image(array):
  """(B, C, H, W) to [B, H, W, C]."""
  return np.moveaxis(array, 1, -1)

"""Frechet distance between two sets of feature vectors, as Gaussians (arXiv 1706.08500)."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import numpy as np
from absl import logging

from fsvae_jax.data import faults
from fsvae_jax.run import distributed, files, sharding


class Gaussian(NamedTuple):
  """Mean [D] and covariance [D, D] (unbiased) of a set of features, in float64."""

  mean: np.ndarray
  covariance: np.ndarray


def gaussian(features_ND: np.ndarray) -> Gaussian:
  """The Gaussian of features [N, D]; ValueError unless there are at least two, all finite."""
  features_ND = np.asarray(features_ND, np.float64)
  if features_ND.ndim != 2:
    raise ValueError(f'features have the shape {features_ND.shape}; it must be (N, D)')
  if len(features_ND) < 2 or not np.isfinite(features_ND).all():
    raise ValueError(f'features {features_ND.shape} must be two or more vectors, all finite')
  return Gaussian(features_ND.mean(0), np.atleast_2d(np.cov(features_ND, rowvar=False)))


def distance(a: Gaussian, b: Gaussian) -> float:
  """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in squared units of the features.

  The last trace is that of (S C_b S)^(1/2), S = C_a^(1/2): symmetric, so that no root of a negative
  eigenvalue comes out of rounding.
  """
  chex.assert_equal_shape([a.covariance, b.covariance])
  values, vectors = np.linalg.eigh(a.covariance)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  products = np.maximum(np.linalg.eigvalsh(root @ b.covariance @ root), 0)
  traces = np.trace(a.covariance) + np.trace(b.covariance)
  return float(np.sum((a.mean - b.mean) ** 2) + traces - 2 * np.sqrt(products).sum())


def save(path: pathlib.Path, statistics: Gaussian) -> None:
  """Writes an .npz with `mu` and `sigma`, the names that others use; whole or not at all."""
  with files.replacing(path) as partial, partial.open('wb') as file:
    np.savez(file, mu=statistics.mean, sigma=statistics.covariance)


def load(path: pathlib.Path, dim: int | None = None) -> Gaussian:
  """The Gaussian of an .npz with `mu` and `sigma`, of `dim` features if that is given.

  Raises:
    ValueError, FileNotFoundError: naming the file.
  """
  if not path.is_file():
    raise FileNotFoundError(f'no statistics at {path}')
  with faults.told(path, 'statistics', 'get it anew'):
    with path.open('rb') as file, np.lib.npyio.NpzFile(file) as arrays:
      found = {name: np.asarray(arrays[name], float) for name in arrays}
  if not {'mu', 'sigma'} <= set(found):
    raise ValueError(f'{path} has {", ".join(found)}; expected mu and sigma')
  if found['mu'].ndim != 1 or found['sigma'].shape != 2 * found['mu'].shape:
    shapes = ', '.join(f'{name} {found[name].shape}' for name in ('mu', 'sigma'))
    raise ValueError(f'{path} has {shapes}; expected [D] and [D, D]')
  if dim not in (None, len(found['mu'])):
    raise ValueError(f'{path} is of {len(found["mu"])} features; expected {dim}')
  if not all(np.isfinite(x).all() for x in found.values()):
    raise ValueError(f'{path} has numbers that are not finite')
  return Gaussian(found['mu'], found['sigma'])


def kept(path: pathlib.Path, compute: Callable[[], np.ndarray]) -> Gaussian:
  """The Gaussian in `path`; if it is not there, or damaged, that of the features `compute()`, which
  is then kept. All processes of a run compute together, no other run beside them."""
  with distributed.alone(path.with_suffix('.lock')):
    found = None
    with contextlib.suppress(ValueError, FileNotFoundError):
      found = load(path)
    if sharding.from_first(found is not None):
      return found or load(path)
    statistics = gaussian(compute())
    if jax.process_index() == 0:
      try:
        save(path, statistics)
      except OSError as error:
        logging.warning('%s cannot be kept, and is computed again next time (%s)', path, error)
    distributed.meet()
    return statistics

"""Frechet distance between two sets of feature vectors, as Gaussians (arXiv 1706.08500)."""

from typing import NamedTuple

import chex
import numpy as np


class Gaussian(NamedTuple):
  """Mean [D] and covariance [D, D] (unbiased) of a set of features, in float64."""

  mean: np.ndarray
  covariance: np.ndarray


def gaussian(features_ND):
  """The Gaussian of features [N, D]; ValueError unless there are at least two, all finite."""
  features_ND = np.asarray(features_ND, np.float64)
  chex.assert_rank(features_ND, 2)
  if len(features_ND) < 2 or not np.isfinite(features_ND).all():
    raise ValueError(f'features {features_ND.shape} must be two or more vectors, all finite')
  return Gaussian(features_ND.mean(0), np.atleast_2d(np.cov(features_ND, rowvar=False)))


def distance(a: Gaussian, b: Gaussian):
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


def save(path, statistics: Gaussian):
  """Writes an .npz with `mu` and `sigma`, the names that others use; whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix('.partial.npz')
  np.savez(partial, mu=statistics.mean, sigma=statistics.covariance)
  partial.replace(path)


def load(path):
  """The Gaussian of an .npz with `mu` and `sigma`.

  Raises:
    ValueError, FileNotFoundError: naming the file.
  """
  if not path.is_file():
    raise FileNotFoundError(f'no statistics at {path}')
  with np.load(path) as arrays:
    if not {'mu', 'sigma'} <= set(arrays):
      raise ValueError(f'{path} has {", ".join(arrays)}; expected mu and sigma')
    return Gaussian(arrays['mu'].astype(float), arrays['sigma'].astype(float))

"""How two sets of feature vectors overlap: precision, recall, kernel distance; nearest images.

The Frechet distance is one number, which a model without diversity can have as well as one without
quality; these tell the two apart.
"""

import numpy as np
from sklearn import metrics, neighbors, utils
from sklearn.metrics import pairwise

from fsvae_jax import data
from fsvae_jax.run import progress

NEAREST = 3  # k, as published


def precision_recall(
  made_ND: np.ndarray, real_MD: np.ndarray, k: int = NEAREST
) -> tuple[float, float]:
  """Share of made vectors among the real ones, and of real ones among the made (arXiv 1904.06991).

  A vector is among a set if it is no farther from one of its members than that is from its own k-th
  nearest neighbour in the set. Both depend on the sets' sizes, which should be equal.

  Raises:
    ValueError: for sets that have no k-th neighbour.
  """
  return share_among(made_ND, real_MD, k), share_among(real_MD, made_ND, k)


def share_among(x_ND: np.ndarray, of_MD: np.ndarray, k: int = NEAREST) -> float:
  """The share of vectors x that are among the set `of`; in blocks, of as much memory as
  scikit-learn's `working_memory` allows."""
  x_ND, of_MD = _features(x_ND, k), _features(of_MD, k)
  finder = neighbors.NearestNeighbors(n_neighbors=k).fit(of_MD)
  radius_M = finder.kneighbors()[0][:, -1]  # without argument: to others than itself
  # Distances are made of products, by which equal vectors may be a little apart: copies count.
  rounding = 1e-12 * max(np.square(x_ND).sum(1).max(), np.square(of_MD).sum(1).max())
  reach_M = np.sqrt(np.square(radius_M) + rounding)
  among = lambda distance_BM, start: (distance_BM <= reach_M[None]).any(axis=1)
  blocks = metrics.pairwise_distances_chunked(x_ND, of_MD, reduce_func=among)
  return float(np.concatenate(list(blocks)).mean())


def kernel_distance(a_ND: np.ndarray, b_MD: np.ndarray) -> float:
  """mean k(a, a') + mean k(b, b') - 2 mean k(a, b), over pairs of different vectors: the unbiased
  squared MMD of k(x, y) = (x.y / D + 1)^3, which "KID" is in Inception's code (arXiv 1801.01401).

  Raises:
    ValueError: for fewer than two vectors.
  """
  a_ND, b_MD = _features(a_ND, 1), _features(b_MD, 1)
  return _among_itself(a_ND) + _among_itself(b_MD) - 2 * _sum(a_ND, b_MD) / len(a_ND) / len(b_MD)


def nearest(images: np.ndarray, of: data.Images, rows: int = 2000) -> np.ndarray:
  """Which of the images `of` is nearest to each of some others, by the squared error of pixels;
  `rows` of them are in memory at a time."""
  flat = lambda x: np.asarray(x, np.float32).reshape(len(x), -1)
  starts = progress.each(range(0, len(of), rows), 'nearest training images')
  find = pairwise.pairwise_distances_argmin_min
  found = [find(flat(images), flat(of[i : i + rows])) for i in starts]
  row_SN, distance_SN = (np.stack(x) for x in zip(*found, strict=True))
  best_N = distance_SN.argmin(axis=0)
  return best_N * rows + row_SN[best_N, np.arange(len(images))]


def _among_itself(x_ND):
  n, dim = x_ND.shape
  itself = np.sum((np.sum(x_ND**2, axis=1) / dim + 1) ** 3)
  return (_sum(x_ND, x_ND) - itself) / (n * (n - 1))


def _sum(x_ND, y_MD):
  """Sum of k over all pairs."""
  blocks = utils.gen_batches(len(x_ND), 1000)
  return float(sum(pairwise.polynomial_kernel(x_ND[rows], y_MD, degree=3).sum() for rows in blocks))


def _features(x_ND, k):
  x_ND = np.asarray(x_ND, np.float64)
  if x_ND.ndim != 2:
    raise ValueError(f'features have the shape {x_ND.shape}; it must be (N, D)')
  if len(x_ND) <= k:
    raise ValueError(f'features {x_ND.shape} are too few: more than {k} vectors are needed')
  return x_ND

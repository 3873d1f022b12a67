"""The Frechet distance on cases with a known answer."""

import numpy as np
import pytest
from scipy import linalg

from fsvae_jax.metrics import frechet

RNG = np.random.default_rng(0)


def test_identical_sets_are_at_distance_zero():
  features = RNG.normal(size=(50, 8))
  assert abs(frechet.distance(frechet.gaussian(features), frechet.gaussian(features))) < 1e-9


def test_gaussians_give_the_closed_form():
  a = frechet.Gaussian(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]))
  b = frechet.Gaussian(np.array([3.0, 1.0, -2.0]), np.diag([4.0, 4.0, 1.0]))
  # Squared shift of the means, and of the standard deviations along each axis.
  assert frechet.distance(a, b) == pytest.approx((9 + 0 + 16) + (1 + 0 + 4))


def test_a_shifted_set_is_its_shift_away():
  features = RNG.normal(size=(100, 5))
  shifted = features + np.array([1.0, 0, 0, 0, 2.0])
  assert frechet.distance(frechet.gaussian(features), frechet.gaussian(shifted)) == pytest.approx(5)


def test_general_covariances_agree_with_the_matrix_square_root():
  a, b = (frechet.gaussian(RNG.normal(size=(40, 6)) @ RNG.normal(size=(6, 6))) for _ in 'ab')
  root = linalg.sqrtm(a.covariance @ b.covariance).real
  want = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance - 2 * root)
  assert frechet.distance(a, b) == pytest.approx(want)
  assert frechet.distance(a, b) == pytest.approx(frechet.distance(b, a))


def test_singular_covariances_are_no_trouble():
  constant = frechet.gaussian(np.ones((10, 4)))
  spread = frechet.gaussian(RNG.normal(size=(3, 4)))  # rank 2
  want = np.sum((1 - spread.mean) ** 2) + np.trace(spread.covariance)
  assert frechet.distance(constant, spread) == pytest.approx(want)


@pytest.mark.parametrize('features', [np.ones((1, 3)), np.full((4, 3), np.nan)])
def test_features_that_have_no_covariance_are_refused(features):
  with pytest.raises(ValueError, match='two or more vectors, all finite'):
    frechet.gaussian(features)

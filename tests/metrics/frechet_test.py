"""The Frechet distance on cases with a known answer."""

import io
import multiprocessing
import time

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
  with pytest.raises(ValueError, match='it must be .N, D.'):
    frechet.gaussian(features[0])


def compute(log):
  with log.open('a') as file:
    file.write('computed\n')
  return np.random.default_rng(0).normal(size=(9, 3))


def keep(path, log, began):
  def slowly():
    began.set()
    time.sleep(0.5)
    return compute(log)

  frechet.kept(path, slowly)


def test_statistics_are_computed_once_by_whoever_comes_first(tmp_path):
  path, log = tmp_path / 'kept' / 'x.npz', tmp_path / 'log'
  spawn = multiprocessing.get_context('spawn')
  began = spawn.Event()
  first = spawn.Process(target=keep, args=(path, log, began))
  first.start()
  assert began.wait(60)
  frechet.kept(path, lambda: compute(log))  # waits for the other one's
  first.join()
  assert first.exitcode == 0
  assert log.read_text() == 'computed\n'
  want = frechet.gaussian(compute(log))
  np.testing.assert_array_equal(frechet.load(path).covariance, want.covariance)


def test_where_statistics_cannot_be_kept_they_are_computed_again(tmp_path, caplog):
  (tmp_path / 'file').touch()
  for _ in range(2):
    got = frechet.kept(tmp_path / 'file' / 'x.npz', lambda: compute(tmp_path / 'log'))
    np.testing.assert_array_equal(got.mean, frechet.gaussian(compute(tmp_path / 'log')).mean)
  assert 'x.npz cannot be kept' in caplog.text


def with_unknown_packing():
  """An .npz that names a compression which there is not."""
  file = io.BytesIO()
  np.savez_compressed(file, mu=np.zeros(3), sigma=np.eye(3))
  return file.getvalue().replace(b'\x08\0\0\0', b'\x63\0\0\0')


DAMAGED = [b'', b'PK half a file', b'\0' * 200, with_unknown_packing()]


@pytest.mark.parametrize('content', DAMAGED, ids=['empty', 'half', 'zeros', 'packing'])
def test_damaged_statistics_are_named_and_made_anew(tmp_path, content):
  path = tmp_path / 'x.npz'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='x.npz cannot be read as statistics'):
    frechet.load(path)
  assert len(frechet.kept(path, lambda: compute(tmp_path / 'log')).mean) == 3


def test_statistics_of_another_shape_are_named(tmp_path):
  np.savez(tmp_path / 'x.npz', mu=np.zeros(3), sigma=np.zeros((3, 2)))
  with pytest.raises(ValueError, match=r'mu \(3,\), sigma \(3, 2\); expected \[D\]'):
    frechet.load(tmp_path / 'x.npz')

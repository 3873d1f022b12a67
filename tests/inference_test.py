"""Running a trained model over arrays, whoever calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests.exchange import trained as make_trained

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  return make_trained.make(tmp_path_factory.mktemp('run'))


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize('devices', [1, 4])
def test_a_callers_own_mesh_makes_no_difference(trained, devices, axis_type):
  images = trained.generate(5, seed=1)
  everything = lambda: (
    trained.generate(5, seed=1),
    trained.generate(0),
    trained.encode(images, seed=2),
    trained.reconstruct(images[:0]),
  )
  want = everything()
  assert np.any(want[2]) and want[1].shape == (0, *images.shape[1:])
  own = jax.make_mesh((devices,), ('own',), (axis_type,), devices=jax.devices()[:devices])
  with jax.set_mesh(own):
    got = everything()
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_each_batch_and_each_row_has_draws_of_its_own(trained):
  size = trained.batch_size
  images = np.repeat(trained.generate(1), 2 * size, axis=0)
  for drawn in (trained.generate(2 * size), trained.encode(images), trained.reconstruct(images)):
    assert (drawn[:size] != drawn[size:]).any() and (drawn[0] != drawn[1]).any()


def row_numbers(model, variables, key, number_B):
  del model, variables, key
  return {'mean': jnp.mean(number_B), 'square': jnp.mean(number_B**2)}


@pytest.mark.parametrize('count', [8, 18, 3])
def test_means_are_those_of_all_rows_whatever_the_batches(trained, count):
  """18 rows are batches of 8, 8, and 2 that are repeated for four devices."""
  numbers = np.random.default_rng(0).uniform(size=count).astype(np.float32)
  assert (trained.batch_size, trained.mesh.size) == (8, 4)
  means = trained.means(row_numbers, numbers)
  want = {'mean': numbers.mean(), 'square': (numbers**2).mean()}
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), means, want)


def test_seeds_are_those_of_the_flag(trained):
  trained.sample(1, seed=2**31 - 1)
  with pytest.raises(ValueError, match='seed is 2147483648; it must be at most 2147483647'):
    trained.sample(1, seed=2**31)


@pytest.mark.parametrize('worst', [1.5, -200.0, np.nan])
def test_floats_that_are_no_images_are_refused(trained, worst):
  images = np.zeros((3, 8, 8, 1), np.float32)
  trained.encode(images)
  images[1, 2, 3] = worst
  for function in (trained.encode, trained.reconstruct):
    with pytest.raises(ValueError, match=r'images are from .*floats must be in \[-1, 1\]'):
      function(images)

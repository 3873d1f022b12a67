"""Losses by hand; the recorded values are checked in fsvae_test.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.models import losses
from fsvae_jax.run import sharding


def test_equal_distributions_have_no_distance():
  q = jnp.array([[[[1.0, 0.0], [1.0, 1.0]]]])
  for distance, _ in losses.DISTANCES.values():
    assert float(distance(q, q[..., ::-1])) == 0


def test_mmd_by_hand():
  # rates 1, 0 against 0, 0: potentials 1/2, 1/4 against zero
  q, p = jnp.array([1.0, 0.0]).reshape(1, 2, 1, 1), jnp.zeros((1, 2, 1, 1))
  np.testing.assert_allclose(losses.mmd(q, p), (0.25 + 0.0625) / 2)


def test_kld_by_hand():
  q, p = jnp.ones((1, 1, 3, 1)), jnp.zeros((1, 1, 3, 1))
  np.testing.assert_allclose(losses.kld(q, p), 3 * np.log(1.01 / 0.01), rtol=1e-6)


def test_float32_has_a_float32_distance_under_x64():
  with jax.enable_x64(True):
    q_BD = jnp.linspace(0, 1, 6, dtype=jnp.float32).reshape(2, 3)
    assert losses.rbf_mmd(q_BD, 1 - q_BD).dtype == jnp.float32


def test_every_pair_of_a_batch_that_devices_share_counts_in_the_mmd_of_rates():
  q_BD, p_BD = jax.random.uniform(jax.random.key(0), (2, 8, 3), jnp.float32)
  expected, slope = jax.value_and_grad(losses.rbf_mmd)(q_BD, p_BD)
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    shared = jax.device_put((q_BD, p_BD), sharding.split(mesh))
    value, split_slope = jax.jit(jax.value_and_grad(losses.rbf_mmd))(*shared)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(split_slope, slope, rtol=1e-4, atol=1e-6)


def test_shapes_must_agree():
  with pytest.raises(AssertionError):
    losses.mean_squared_error(jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 4, 4, 3)))

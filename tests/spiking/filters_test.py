"""Post-synaptic potential and read-out weights."""

import jax.numpy as jnp
import numpy as np

from fsvae_jax.spiking import filters
from tests import golden

LAYERS = golden.load('layers')


def test_psp_equals_the_recorded_filter():
  r = golden.group(LAYERS, 'psp')
  np.testing.assert_allclose(
    filters.psp(jnp.asarray(golden.time_first(r['x']))), golden.time_first(r['y']), rtol=1e-6
  )


def test_psp_of_a_constant_rate_goes_to_the_rate():
  s_BTD = filters.psp(jnp.full((1, 20, 2), 0.3))
  np.testing.assert_allclose(s_BTD[0, 0], 0.15, rtol=1e-6)
  np.testing.assert_allclose(s_BTD[0, -1], 0.3, rtol=1e-5)


def test_psp_without_memory_is_its_input():
  x_BTD = jnp.asarray(np.random.default_rng(0).random((2, 6, 3), np.float32))
  with np.errstate(divide='raise', over='raise', invalid='raise'):
    np.testing.assert_array_equal(filters.psp(x_BTD, 1.0), x_BTD)
    filters.psp(jnp.ones((1, 1000, 1)), 1.5)


def test_readout_equals_the_recorded_integrator():
  r = golden.group(LAYERS, 'readout')
  y = jnp.einsum('bthwc,t->bhwc', golden.video(r['x']), filters.readout_weights(7))
  np.testing.assert_allclose(y, golden.image(r['y']), rtol=1e-5, atol=1e-6)

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


def test_readout_equals_the_recorded_integrator():
  r = golden.group(LAYERS, 'readout')
  y = jnp.einsum('bthwc,t->bhwc', golden.video(r['x']), filters.readout_weights(7))
  np.testing.assert_allclose(y, golden.image(r['y']), rtol=1e-5, atol=1e-6)

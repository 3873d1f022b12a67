"""Convolutions: the reference's arrays, and the CPU's formulations against the native ones."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import conv, layout, linear
from tests import golden

LAYERS = golden.load('layers')


def pixels(x, kernel):
  return layout.interleave(conv.conv_transpose_phases(x, kernel))


@pytest.mark.parametrize(
  'name, operation, axes',
  [
    ('conv', conv.conv, (2, 3, 1, 0)),
    ('convT2', pixels, (2, 3, 0, 1)),
    ('convT1', conv.conv_transpose_stride1, (2, 3, 0, 1)),
  ],
)
def test_equals_the_recorded_layer(name, operation, axes):
  r = golden.group(LAYERS, name)
  x = jnp.asarray(golden.video(r['x']))
  y = operation(x.reshape(-1, *x.shape[2:]), jnp.asarray(r['weight'][..., 0].transpose(axes)))
  want = golden.video(r['y']) - r['bias']
  np.testing.assert_allclose(y, want.reshape(y.shape), rtol=1e-5, atol=1e-5)


def test_matmul_equals_the_recorded_dense_layer():
  r = golden.group(LAYERS, 'linear')
  y = linear.matmul(jnp.asarray(golden.time_first(r['x'])), jnp.asarray(r['weight'].T))
  np.testing.assert_allclose(
    y + r['bias'].reshape(1, 1, -1), golden.time_first(r['y']), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  'ours, native',
  [
    (conv._conv_products, conv._conv_native),
    (conv._transpose_products, conv._transpose_native),
    (conv._stride1_shifts, conv._stride1_native),
  ],
)
def test_platform_variants_agree_in_values_and_gradients(ours, native):
  keys = jax.random.split(jax.random.key(0), 3)
  x, kernel = jax.random.normal(keys[0], (2, 4, 6, 5)), jax.random.normal(keys[1], (3, 3, 5, 4))
  cotangent = jax.random.normal(keys[2], jax.eval_shape(native, x, kernel).shape)

  @jax.jit
  def both(x, kernel, cotangent):
    pulled = [jax.vjp(function, x, kernel) for function in (ours, native)]
    return [(y, pull(cotangent)) for y, pull in pulled]

  chex.assert_trees_all_close(*both(x, kernel, cotangent), rtol=1e-5, atol=1e-5)


def test_the_transpose_is_the_adjoint():
  # <conv(x), y> = <x, transpose(y)> with in and out of the kernel exchanged.
  keys = jax.random.split(jax.random.key(1), 3)
  x, y = jax.random.normal(keys[0], (2, 8, 8, 3)), jax.random.normal(keys[1], (2, 4, 4, 5))
  kernel = jax.random.normal(keys[2], (3, 3, 3, 5))
  left = jax.jit(lambda x, y: jnp.vdot(conv.conv(x, kernel), y))(x, y)
  right = jax.jit(lambda x, y: jnp.vdot(x, pixels(y, kernel.swapaxes(2, 3))))(x, y)
  np.testing.assert_allclose(left, right, rtol=1e-4)


def test_interleave_puts_phases_beside_each_other():
  phases = jnp.arange(2 * 2 * 3 * 4 * 5).reshape(2, 2, 3, 4 * 5)
  np.testing.assert_array_equal(layout.interleave(phases)[:, 2, 5], phases[:, 1, 2, 5:10])


def test_a_kernel_that_does_not_fit_raises():
  with pytest.raises(AssertionError):
    conv.conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 5)))

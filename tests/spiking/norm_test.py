"""tdBN against the reference's arrays: forward, backward, running statistics; alpha 1 and 2."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute.layout import per_channel
from fsvae_jax.spiking import norm
from tests import golden

LAYERS = golden.load('layers')
V_TH = 0.2


def tdbn(x, scale, bias, alpha, mean=None, var=None):
  if mean is None:
    mean, var = norm.batch_statistics(x, x.shape[-1])
  gain, offset = (per_channel(v, x) for v in norm.gain_offset(mean, var, scale, bias, alpha * V_TH))
  return gain * x + offset


@pytest.mark.parametrize('alpha', [1, 2])
def test_equals_the_recorded_layer(alpha):
  r = golden.group(LAYERS, f'tdbn{alpha}')
  x, scale, bias = (
    jnp.asarray(golden.video(r['x'])),
    jnp.asarray(r['scale']),
    jnp.asarray(r['bias']),
  )
  y_eval = tdbn(x, scale, bias, alpha, jnp.asarray(r['mean0']), jnp.asarray(r['var0']))
  np.testing.assert_allclose(y_eval, golden.video(r['y_eval']), rtol=1e-5, atol=1e-6)

  y, pull = jax.vjp(lambda x, scale, bias: tdbn(x, scale, bias, alpha), x, scale, bias)
  np.testing.assert_allclose(y, golden.video(r['y_train']), rtol=1e-5, atol=1e-6)
  d_x, d_scale, d_bias = pull(jnp.asarray(golden.video(r['cotangent'])))
  np.testing.assert_allclose(d_x, golden.video(r['grad_x']), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(d_scale, r['grad_scale'], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(d_bias, r['grad_bias'], rtol=1e-4, atol=1e-5)

  mean, var = norm.batch_statistics(x, x.shape[-1])
  np.testing.assert_allclose(norm.move(r['mean0'], mean), r['mean1'], rtol=1e-5, atol=1e-7)
  unbiased = norm.unbiased(var, x.size // x.shape[-1])
  np.testing.assert_allclose(norm.move(r['var0'], unbiased), r['var1'], rtol=1e-5)


def test_output_has_the_thresholds_scale():
  x = 3 + 7 * jax.random.normal(jax.random.key(0), (64, 5, 6))
  y = tdbn(x, jnp.ones(6), jnp.zeros(6), alpha=2)
  np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-6)
  np.testing.assert_allclose(y.std((0, 1)), 2 * V_TH, rtol=1e-4)


def test_gradient_of_the_statistics_is_autodiffs():
  x = 1 + jax.random.normal(jax.random.key(0), (5, 4, 3))
  cotangents = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 4.0, -1.0])
  plain = lambda x: (jnp.mean(x, (0, 1)), jnp.var(x, (0, 1)))
  want, plain_pull = jax.vjp(plain, x)
  for shape in ((5, 4, 3), (5, 12)):  # the latter as phases
    got, pull = jax.vjp(lambda x: norm.batch_statistics(x, 3), x.reshape(shape))
    chex.assert_trees_all_close(got, want, rtol=1e-6)
    (d_x,), (plain_d_x,) = pull(cotangents), plain_pull(cotangents)
    np.testing.assert_allclose(d_x, plain_d_x.reshape(shape), rtol=1e-4, atol=1e-6)


def test_statistics_of_bfloat16_are_summed_in_float32():
  x = jnp.full((1024, 2), 1 / 3, jnp.bfloat16).at[0].set(256)
  mean, var = norm.batch_statistics(x, 2)
  wide = np.asarray(x, np.float64)
  np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-5)
  np.testing.assert_allclose(var, wide.var(0), rtol=1e-5)


def test_gradient_of_the_statistics_in_bfloat16_is_rounded_once():
  x = 1 + jax.random.normal(jax.random.key(0), (50, 40, 3))
  cotangents = jnp.array([1.0, -2.0, 3.0]), jnp.array([0.5, 4.0, -1.0])
  gradient = lambda x: jax.vjp(lambda x: norm.batch_statistics(x, 3), x)[1](cotangents)[0]
  half = x.astype(jnp.bfloat16)
  got, want = gradient(half), gradient(half.astype(jnp.float32))
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=2**-7, atol=1e-7)

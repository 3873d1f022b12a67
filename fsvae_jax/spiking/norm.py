"""Threshold-dependent batch normalisation (tdBN), as gain and offset for `neurons.lif`.

y = scale * (alpha * v_th * (x - mean) / sqrt(var + eps)) + bias       (arXiv 2011.05280)
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax import lax

from fsvae_jax.spiking.layout import per_channel, wide

EPSILON = 1e-5
MOMENTUM = 0.1


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def batch_statistics(x, channels):
  """Mean and biased variance [C] over batch, time and space of x [..., C], or of phases [..., 4 C].

  (Phases are pixels; see conv.py.)
  """
  over_pixels = lambda x: jnp.mean(
    jnp.mean(x, tuple(range(x.ndim - 1))).reshape(-1, channels), axis=0
  )
  x = wide(x)
  mean_C = over_pixels(x)
  return mean_C, over_pixels(jnp.square(x - per_channel(mean_C, x)))


def _forward(x, channels):
  mean_C, var_C = batch_statistics(x, channels)
  return (mean_C, var_C), (x, mean_C)


def _backward(channels, residuals, cotangents):
  # d_mean / n + 2 d_var (x - mean) / n, as slope and constant: written with x - mean, that array
  # would be kept from the forward pass, as much memory as x itself.
  x, mean_C = residuals
  d_mean_C, d_var_C = cotangents
  count = x.size // channels
  slope_C = 2 * d_var_C / count
  constant_C = d_mean_C / count - slope_C * mean_C
  dx = per_channel(slope_C, x) * x + per_channel(constant_C, x)
  return (dx.astype(x.dtype),)


batch_statistics.defvjp(_forward, _backward)


def gain_offset(mean_C, var_C, scale_C, bias_C, amplitude):
  """`gain, offset` [C] with y = gain * x + offset; `amplitude` is alpha * v_th."""
  chex.assert_equal_shape([mean_C, var_C, scale_C, bias_C])
  gain_C = scale_C * amplitude * lax.rsqrt(var_C + EPSILON)
  return gain_C, bias_C - gain_C * mean_C


def move(running_C, batch_C):
  """The running statistic [C] after one step towards the batch's, by momentum 0.1."""
  return (1 - MOMENTUM) * running_C + MOMENTUM * batch_C


def unbiased(var_C, count):
  """Unbiased variance [C] from the biased one of `count` values; it moves the running one."""
  return var_C * (count / max(count - 1, 1))

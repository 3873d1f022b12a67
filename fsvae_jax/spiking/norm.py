"""Threshold-dependent batch normalisation (tdBN), as gain and offset for `neurons.lif`.

y = scale * (alpha * v_th * (x - mean) / sqrt(var + eps)) + bias       (arXiv 2011.05280)
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import per_channel, wide

EPSILON = 1e-5
MOMENTUM = 0.1


def batch_statistics(x: jax.Array, channels: int) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance [C] over batch, time and space of x [..., C], or of phases [..., 4 C].

  (Phases are pixels; see conv.py.)

  Raises:
    ValueError: for an x that has no floats, or whose last axis is no multiple of `channels`.

  Examples:
    >>> mean_C, var_C = batch_statistics(jnp.array([[0.0, 5.0], [2.0, 5.0]]), channels=2)
    >>> mean_C.tolist(), var_C.tolist()
    ([1.0, 5.0], [1.0, 0.0])
  """
  x, channels = checks.floats('x', x, ..., 'C'), checks.count('channels', channels, 1)
  if x.shape[-1] % channels or not x.size:
    raise checks.ArgumentError(
      f'x has the shape {x.shape}; it must have values, and a multiple of {channels} channels'
    )
  return _statistics(x, channels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _statistics(x, channels):
  over_pixels = lambda x: jnp.mean(
    jnp.mean(x, tuple(range(x.ndim - 1))).reshape(-1, channels), axis=0
  )
  x = wide(x)
  mean_C = over_pixels(x)
  return mean_C, over_pixels(jnp.square(x - per_channel(mean_C, x)))


def _forward(x, channels):
  mean_C, var_C = _statistics(x, channels)
  return (mean_C, var_C), (x, mean_C)


def _backward(channels, residuals, cotangents):
  # d_mean / n + 2 d_var (x - mean) / n, as slope and constant: written with x - mean, that array
  # would be kept from the forward pass, as much memory as x itself.
  x, mean_C = residuals
  d_mean_C, d_var_C = cotangents
  count = x.size // channels
  slope_C = 2 * d_var_C / count
  constant_C = d_mean_C / count - slope_C * mean_C
  # Without the barrier, XLA computes both anew for every pixel.
  affine = per_channel(slope_C, x), per_channel(constant_C, x)
  slope, constant = lax.optimization_barrier(affine)
  dx = slope * x + constant
  return (dx.astype(x.dtype),)


_statistics.defvjp(_forward, _backward)


def gain_offset(
  mean_C: jax.Array, var_C: jax.Array, scale_C: jax.Array, bias_C: jax.Array, amplitude: float
) -> tuple[jax.Array, jax.Array]:
  """`gain, offset` [C] with y = gain * x + offset; `amplitude` is alpha * v_th.

  Raises:
    ValueError: for arrays that are not [C] floats, or an amplitude that is no finite number.

  Examples:
    >>> one, zero = jnp.ones(1), jnp.zeros(1)
    >>> gain_C, offset_C = gain_offset(2 * one, 4 * one, one, zero, amplitude=2.0)
    >>> print(gain_C.round(3), offset_C.round(3))
    [1.] [-2.]
  """
  mean_C, amplitude = checks.floats('mean_C', mean_C, 'C'), checks.number('amplitude', amplitude)
  others = {'var_C': var_C, 'scale_C': scale_C, 'bias_C': bias_C}
  var_C, scale_C, bias_C = (checks.floats(name, v, *mean_C.shape) for name, v in others.items())
  gain_C = scale_C * amplitude * lax.rsqrt(var_C + EPSILON)
  return gain_C, bias_C - gain_C * mean_C


def move(running_C: jax.Array, batch_C: jax.Array) -> jax.Array:
  """The running statistic [C] after one step towards the batch's, by momentum 0.1.

  Examples:
    >>> print(move(jnp.zeros(2), jnp.ones(2)))
    [0.1 0.1]
  """
  running_C = checks.floats('running_C', running_C, 'C')
  batch_C = checks.floats('batch_C', batch_C, *running_C.shape)
  return (1 - MOMENTUM) * running_C + MOMENTUM * batch_C


def unbiased(var_C: jax.Array, count: int) -> jax.Array:
  """Unbiased variance [C] from the biased one of `count` values; it moves the running one.

  Examples:
    >>> unbiased(jnp.ones(1), count=5).tolist()
    [1.25]
  """
  var_C, count = checks.floats('var_C', var_C, 'C'), checks.count('count', count, 1)
  return var_C * (count / max(count - 1, 1))

"""Threshold-dependent batch normalisation (tdBN), as gain and offset for `neurons.lif`.

y = scale * (alpha * v_th * (x - mean) / sqrt(var + eps)) + bias       (arXiv 2011.05280)
"""

import chex
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5
MOMENTUM = 0.1


def batch_statistics(x):
  """Mean and biased variance [C] of x [..., C], over batch, time and space."""
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x, axes, keepdims=True)
  return mean.reshape(-1), jnp.mean(jnp.square(x - mean), axes)


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

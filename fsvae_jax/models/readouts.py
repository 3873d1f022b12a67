"""Read-outs: what tanh makes pixels of, from the spikes of the decoder's last neurons.

A read-out is a function (module, neuron, drive, pixels) -> [B, H, W, C]. `module` is the decoder,
for parameters of its own; `drive` drives the neurons; `pixels(gain)` gives kernel and bias of the
last convolution, `gain` times as large as others at first. y[t] is that convolution of the spikes
at t, with the bias.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fsvae_jax.compute import checks, layout
from fsvae_jax.models import layers, networks
from fsvae_jax.spiking import filters, neurons


def leaky(
  module: nn.Module, neuron: neurons.LIF, drive: layers.Drive, pixels: Callable
) -> jax.Array:
  """sum_t 0.8^(T-1-t) y[t]: a leaky integrator that never fires (arXiv 2110.00375, section 4)."""
  del module
  weights_T = filters.readout_weights(drive.timesteps)
  total = float(weights_T.sum())
  return weighted(neuron, drive, pixels(1 / total), weights_T, total)


def learned(
  module: nn.Module, neuron: neurons.LIF, drive: layers.Drive, pixels: Callable
) -> jax.Array:
  """sum_t w[t] y[t], with T learned weights that start as the leaky integrator's."""
  start_T = filters.readout_weights(drive.timesteps)
  weights_T = _parameter(module, 'readout', lambda key: jnp.asarray(start_T), drive.timesteps)
  return weighted(neuron, drive, pixels(1 / float(start_T.sum())), weights_T, weights_T.sum())


def _parameter(module, name, start, timesteps):
  """Of every step; of the first ones, for a latent that has fewer than it was made for."""
  if not module.has_variable('params', name):
    return module.param(name, start)
  whole = module.get_variable('params', name)
  return whole[(slice(timesteps),) * whole.ndim]


def weighted(
  neuron: neurons.LIF, drive: layers.Drive, synapses: tuple, weights_T: Any, total: Any
) -> jax.Array:
  """sum_t weights[t] y[t]; `total` is the weights' sum.

  Weighting and convolution are linear, so that the convolution runs once, on the weighted sum of
  the spikes, and these are never stored.
  """
  kernel, bias_C = synapses
  pixels = networks.to_pixels(layers.read(neuron, drive, weights_T), kernel)
  return pixels + total * layout.per_channel(bias_C, pixels)


def attention(
  module: nn.Module, neuron: neurons.LIF, drive: layers.Drive, pixels: Callable
) -> jax.Array:
  """`attend` to every step by a learned matrix [T, T] (Qiu et al., ICLR 2023 tiny paper, "TAID").

  The convolution runs at every step; the gates are real numbers, and depend on the image.
  """
  timesteps = drive.timesteps
  bound = timesteps**-0.5  # as PyTorch initialises a convolution of T inputs
  uniform = functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
  start = lambda key: uniform(key, (timesteps, timesteps), jnp.float32)
  matrix_TS = _parameter(module, 'attention', start, timesteps)
  synapses = pixels(2 / timesteps)  # gates start near a half
  operation = layers.over_time(networks.to_pixels)
  return attend(layers.fire_and_respond(neuron, drive, operation, synapses), matrix_TS)


def attend(y_BTHWC: jax.Array, matrix_TS: jax.Array) -> jax.Array:
  """sum_t g[t] y[t], g[t] = sigmoid(sum_s V[t, s] mean over pixels of y[s]) in each channel.

  Raises:
    ValueError: for arrays that are not of floats, or do not fit.

  Examples:
    >>> y_BTHWC = jnp.ones((1, 3, 2, 2, 1))
    >>> attend(y_BTHWC, jnp.zeros((3, 3)))[0, 0, 0].tolist()  # every gate is a half
    [1.5]
  """
  y_BTHWC = checks.floats('y_BTHWC', y_BTHWC, 'B', 'T', 'H', 'W', 'C')
  matrix_TS = checks.floats('matrix_TS', matrix_TS, y_BTHWC.shape[1], y_BTHWC.shape[1])
  mean_BTC = jnp.mean(layout.wide(y_BTHWC), axis=(2, 3))
  gate_BTC = nn.sigmoid(jnp.einsum('bsc,ts->btc', mean_BTC, matrix_TS, precision='highest'))
  return jnp.sum(gate_BTC[:, :, None, None] * y_BTHWC, axis=1)


def membrane(readout: str, parameters: Mapping, y_BTHWC: jax.Array) -> jax.Array:
  """What a read-out has summed up after each step, of shape [B, T, H, W, C].

      m[t] = sum over s <= t of weight[t, s] y[s]

  Args:
    readout: one of `SO_FAR`.
    parameters: the decoder's.
  """
  weight_TS = SO_FAR[readout](y_BTHWC.shape[1], parameters)
  return jnp.einsum('bshwc,ts->bthwc', y_BTHWC, weight_TS, precision='highest')


def _leaky_so_far(timesteps, parameters):
  del parameters
  rows = [filters.readout_weights(t) for t in range(1, timesteps + 1)]
  return np.stack([np.pad(row, (0, timesteps - len(row))) for row in rows])


def _learned_so_far(timesteps, parameters):
  return jnp.tril(jnp.tile(parameters['readout'][:timesteps], (timesteps, 1)))


READOUTS = {'leaky': leaky, 'learned': learned, 'attention': attention}
# Weights [T, T] of the steps s after step t. (Attention weighs every step by all of them.)
SO_FAR = {'leaky': _leaky_so_far, 'learned': _learned_so_far}

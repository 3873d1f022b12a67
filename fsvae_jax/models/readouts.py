"""Read-outs: pixels from the spikes of the decoder's last neurons, before tanh.

A read-out is a function (module, neuron, drive, pixels) -> [B, H, W, C]. `module` is the decoder,
for parameters of its own; `drive` drives the neurons; `pixels(gain)` makes the last convolution's
weights, `gain` times as large as others at first, and gives respond(x_BHWC, times): the convolution
of x, with the bias added so many times.
"""

from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from fsvae_jax.compute import layout
from fsvae_jax.models import networks
from fsvae_jax.spiking import filters, neurons


def leaky(
  module: nn.Module, neuron: neurons.LIF, drive: networks.Drive, pixels: Callable
) -> jax.Array:
  """sum_t 0.8^(T-1-t) y[t]: a leaky integrator that never fires (arXiv 2110.00375, section 4)."""
  del module
  return weighted(neuron, drive, pixels, filters.readout_weights(drive.timesteps))


def weighted(
  neuron: neurons.LIF, drive: networks.Drive, pixels: Callable, weights_T: np.ndarray
) -> jax.Array:
  """sum_t weights[t] y[t], y[t] being the last convolution of the spikes at t.

  Both are linear, so that the convolution runs once, on the weighted sum of spikes, and these are
  never stored.
  """
  total = float(weights_T.sum())
  respond = pixels(1 / total)
  return respond(layout.interleave(networks.read(neuron, drive, weights_T)), total)


READOUTS = {'leaky': leaky}

"""The spiking networks of the FSVAE as Linen modules, with their parameters and statistics.

Repetition over time, sampling and losses are plain functions in fsvae.py and latents/.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax.compute import conv, layout
from fsvae_jax.models import records
from fsvae_jax.models.layers import (
  SpikingLayer,
  Synapses,
  fire,
  fire_and_respond,
  over_time,
  rates,
)
from fsvae_jax.spiking import neurons


class Encoder(nn.Module):
  """Images in [-1, 1] to latent-sized spikes x [B, T, D].

  They are [B, H, W, C], the same at every step, or [B, T, H, W, C], one a step.
  """

  features: Sequence[int]
  latent_dim: int
  timesteps: int
  neuron: neurons.LIF
  dtype: str = 'float32'

  at_a_time = 10  # images in evaluation: their arrays stay in cache

  @nn.compact
  def __call__(self, image, train=False):
    x = image if image.ndim == 5 else image[:, None]
    held = self.timesteps // x.shape[1]
    for i, features in enumerate(self.features):
      layer = SpikingLayer(
        features,
        self.neuron,
        over_time(conv.conv),
        (3, 3),
        hold=held if i == 0 else 1,
        image=i == 0,
        dtype=self.dtype,
        name=f'conv_{i}',
      )
      x = layer(x, train)
    spikes, _ = fire(self.neuron, x)
    spikes = layout.reshape(spikes, *spikes.shape[:2], math.prod(spikes.shape[2:]))
    layer = SpikingLayer(self.latent_dim, self.neuron, dtype=self.dtype, name='dense')
    drive = layer(spikes, train)
    return fire(self.neuron, drive)[0]


class SpikingMLP(nn.Module):
  """Posterior and prior network: [B, T, inputs] spikes to [B, T, D, K] spikes; tdBN with alpha = 2.

  It runs any number of steps: given the `residues` that a call returned, the next goes on.
  """

  latent_dim: int
  draws: int
  neuron: neurons.LIF
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x_BTI, train=False, residues=None):
    d = self.latent_dim
    after = []
    for i, features in enumerate((2 * d, 4 * d, self.draws * d)):
      layer = SpikingLayer(features, self.neuron, alpha=2.0, dtype=self.dtype, name=f'dense_{i}')
      drive = layer(x_BTI, train)
      x_BTI, residue = fire(self.neuron, drive, residues and residues[i])
      after.append(residue)
    return layout.reshape(x_BTI, *x_BTI.shape[:2], d, self.draws), tuple(after)


class Decoder(nn.Module):
  """Latent spikes z [B, T, D] to images [B, H, W, C] in [-1, 1]; `readout` is one of READOUTS."""

  features: Sequence[int]  # the encoder's
  image_size: int
  channels: int
  neuron: neurons.LIF
  readout: Callable
  dtype: str = 'float32'

  at_a_time = 10  # images in evaluation: their arrays stay in cache

  @nn.compact
  def __call__(self, z_BTD, train=False):
    *narrower, widest = self.features
    side = self.image_size // 2 ** len(self.features)
    layer = SpikingLayer(widest * side * side, self.neuron, dtype=self.dtype, name='dense')
    drive = layer(z_BTD, train)
    x, _ = fire(self.neuron, drive)
    x = layout.reshape(x, *x.shape[:2], side, side, widest)
    for i, features in enumerate((*narrower[::-1], self.features[0])):
      upsample = over_time(conv.conv_transpose_phases if i == 0 else upsample_phases)
      layer = SpikingLayer(
        features,
        self.neuron,
        upsample,
        (3, 3),
        transposed=True,
        dtype=self.dtype,
        name=f'conv_{i}',
      )
      x = layer(x, train)
    pixels = functools.partial(self._pixels, x)
    return jnp.tanh(self.readout(self, self.neuron, x, pixels))

  def _pixels(self, drive, gain):
    """Kernel and bias of the last convolution, which has no neurons. They start `gain` times as
    large as others: what a read-out multiplies by would saturate tanh, +1 or -1 by luck."""
    synapses = Synapses(self.channels, (3, 3), True, gain, name='pixels')
    weights = synapses(drive.gain_C.size)
    if records.recorded(self, 'operations'):
      rates_F, shape = rates(self.neuron, drive), drive.x_BTF.shape[2:]
      operation, steps = over_time(to_pixels), drive.timesteps
      counted = records.operations(operation, weights[0], shape, steps, rates_F)
      records.keep(synapses, 'operations', counted)
    if records.recorded(self, 'responses'):
      y_BTHWC = fire_and_respond(self.neuron, drive, over_time(to_pixels), weights)
      records.keep(synapses, 'responses', y_BTHWC)
    return weights


def to_pixels(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """The decoder's last convolution, of phases: [N, H, W, 4 C] to [N, 2H, 2W, channels]."""
  return conv.conv_transpose_stride1(layout.interleave(spikes_NHWC), kernel)


def upsample_phases(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_transpose_phases` of the phases that an earlier one made."""
  return conv.conv_transpose_phases(layout.interleave(spikes_NHWC), kernel)

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
from fsvae_jax.models import layers, records
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
    layer = functools.partial(layers.SpikingLayer, neuron=self.neuron, dtype=self.dtype)
    convolution = functools.partial(layer, operation=layers.over_time(conv.conv), window=(3, 3))
    hold = self.timesteps // x.shape[1]
    for i, features in enumerate(self.features):
      first = {} if i else {'hold': hold, 'image': True}
      x = convolution(features, name=f'conv_{i}', **first)(x, train)
    spikes, _ = layers.fire(self.neuron, x)
    spikes = layout.reshape(spikes, *spikes.shape[:2], math.prod(spikes.shape[2:]))
    drive = layer(self.latent_dim, name='dense')(spikes, train)
    return layers.fire(self.neuron, drive)[0]


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
      layer = layers.SpikingLayer(
        features, self.neuron, alpha=2.0, dtype=self.dtype, name=f'dense_{i}'
      )
      drive = layer(x_BTI, train)
      x_BTI, residue = layers.fire(self.neuron, drive, residues and residues[i])
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
    layer = functools.partial(layers.SpikingLayer, neuron=self.neuron, dtype=self.dtype)
    x, _ = layers.fire(self.neuron, layer(widest * side * side, name='dense')(z_BTD, train))
    x = layout.reshape(x, *x.shape[:2], side, side, widest)
    upsampling = functools.partial(layer, window=(3, 3), transposed=True)
    for i, features in enumerate((*narrower[::-1], self.features[0])):
      upsample = layers.over_time(conv.conv_transpose_phases if i == 0 else upsample_phases)
      x = upsampling(features, operation=upsample, name=f'conv_{i}')(x, train)
    pixels = functools.partial(self._pixels, x)
    return jnp.tanh(self.readout(self, self.neuron, x, pixels))

  def _pixels(self, drive, gain):
    """Kernel and bias of the last convolution, which has no neurons. They start `gain` times as
    large as others: what a read-out multiplies by would saturate tanh, +1 or -1 by luck."""
    synapses = layers.Synapses(self.channels, (3, 3), True, gain, name='pixels')
    weights = synapses(drive.gain_C.size)
    operation, rates = layers.over_time(to_pixels), lambda: layers.rates(self.neuron, drive)
    shape = drive.x_BTF.shape[2:]
    records.operations(synapses, operation, weights[0], shape, drive.timesteps, rates)
    if records.recorded(self, 'responses'):
      y_BTHWC = layers.fire_and_respond(self.neuron, drive, operation, weights)
      records.keep(synapses, 'responses', y_BTHWC)
    return weights


def to_pixels(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """The decoder's last convolution, of phases: [N, H, W, 4 C] to [N, 2H, 2W, channels]."""
  return conv.conv_transpose_stride1(layout.interleave(spikes_NHWC), kernel)


def upsample_phases(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_transpose_phases` of the phases that an earlier one made."""
  return conv.conv_transpose_phases(layout.interleave(spikes_NHWC), kernel)

"""The four spiking networks of the FSVAE as Linen modules, with their parameters and statistics.

Every layer is synapses (dense, convolution or transposed convolution, with bias), tdBN, LIF
neurons. Repetition over time, sampling and losses are plain functions in fsvae.py and latents.py.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax.spiking import conv, layout, linear, neurons, norm, synapse


class Synapses(nn.Module):
  """`operation(x, kernel)`, and the bias to add to it; initialised as PyTorch does, times `gain`.

  PyTorch takes a transposed convolution's *output* channels for its fan-in; `transposed` says so.
  """

  operation: Callable
  features: int
  window: tuple[int, ...] = ()
  transposed: bool = False
  gain: float = 1.0

  @nn.compact
  def __call__(self, x):
    inputs = x.shape[-1]
    fan_in = math.prod(self.window) * (self.features if self.transposed else inputs)
    bound = self.gain * fan_in**-0.5
    uniform = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
    kernel = self.param('kernel', uniform, (*self.window, inputs, self.features))
    bias = self.param('bias', uniform, (self.features,))
    y = self.operation(x, kernel)
    return y, layout.per_channel(bias, y.ndim)


class TdBN(nn.Module):
  """Gain and offset of threshold-dependent batch normalisation; `amplitude` is alpha * v_th."""

  amplitude: float

  @nn.compact
  def __call__(self, x, train):
    channels = x.shape[-1:]
    scale = self.param('scale', nn.initializers.ones, channels)
    bias = self.param('bias', nn.initializers.zeros, channels)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    running_var = self.variable('batch_stats', 'var', jnp.ones, channels)
    mean, var = running_mean.value, running_var.value
    if train:
      mean, var = norm.batch_statistics(x)
      count = x.size // x.shape[-1]
      running_mean.value = norm.move(running_mean.value, mean)
      running_var.value = norm.move(running_var.value, norm.unbiased(var, count))
    return norm.gain_offset(mean, var, scale, bias, self.amplitude)


class SpikingLayer(nn.Module):
  """Synapses, tdBN and LIF neurons: [B, T, ...] spikes (or images) to [B, T, ..., features] spikes.

  Called with `readout_T`, it returns the spikes' weighted sum over time [B, ..., features] instead.
  """

  features: int
  neuron: neurons.LIF
  operation: Callable = linear.matmul
  window: tuple[int, ...] = ()
  transposed: bool = False
  alpha: float = 1.0
  hold: int = 1  # timesteps for which an input of one step is held constant

  @nn.compact
  def __call__(self, x, train, residue=None, readout_T=None):
    x, bias = Synapses(
      self.operation, self.features, self.window, self.transposed, name='synapses'
    )(x)
    x = x + bias
    if self.hold > 1:
      x = jnp.broadcast_to(x, (x.shape[0], self.hold, *x.shape[2:]))
    gain, offset = TdBN(self.alpha * self.neuron.v_th, name='norm')(x, train)
    if readout_T is not None:
      self._record(
        lambda: neurons.lif_readout(
          self.neuron, x, gain, offset, jnp.ones_like(readout_T) / len(readout_T)
        )
      )
      return neurons.lif_readout(self.neuron, x, gain, offset, readout_T)
    residue = neurons.rest(x) if residue is None else residue
    spikes, residue = neurons.lif(self.neuron, x, gain, offset, residue)
    self._record(lambda: spikes)
    return spikes, residue

  def _record(self, spikes):
    if self.is_mutable_collection('firing_rates') and not self.is_initializing():
      self.sow('firing_rates', 'rate', jnp.mean(spikes()), reduce_fn=lambda _, new: new)


def over_time(operation):
  """`operation` on [N, ...] applied to every step of [B, T, ...], with N = B * T."""

  def apply(x_BTF, *args):
    y = operation(layout.fold_time(x_BTF), *args)
    return layout.reshape(y, *x_BTF.shape[:2], *y.shape[1:])

  return apply


class Encoder(nn.Module):
  """Images [B, H, W, C] in [-1, 1], the same at every step, to latent-sized spikes x [B, T, D]."""

  features: Sequence[int]
  latent_dim: int
  timesteps: int
  neuron: neurons.LIF

  @nn.compact
  def __call__(self, image_BHWC, train=False):
    x = image_BHWC[:, None]
    for i, features in enumerate(self.features):
      layer = SpikingLayer(
        features,
        self.neuron,
        over_time(conv.conv),
        (3, 3),
        hold=self.timesteps if i == 0 else 1,
        name=f'conv_{i}',
      )
      x, _ = layer(x, train)
    x = layout.reshape(x, *x.shape[:2], math.prod(x.shape[2:]))
    return SpikingLayer(self.latent_dim, self.neuron, name='dense')(x, train)[0]


class SpikingMLP(nn.Module):
  """Posterior and prior network: [B, T, inputs] spikes to [B, T, D, K] spikes; tdBN with alpha = 2.

  It runs any number of steps: given the `residues` that a call returned, the next goes on.
  """

  latent_dim: int
  draws: int
  neuron: neurons.LIF

  @nn.compact
  def __call__(self, x_BTI, train=False, residues=None):
    d = self.latent_dim
    after = []
    for i, features in enumerate((2 * d, 4 * d, self.draws * d)):
      layer = SpikingLayer(features, self.neuron, alpha=2.0, name=f'dense_{i}')
      x_BTI, residue = layer(x_BTI, train, residues and residues[i])
      after.append(residue)
    return layout.reshape(x_BTI, *x_BTI.shape[:2], d, self.draws), tuple(after)


class Decoder(nn.Module):
  """Latent spikes z [B, T, D] to images [B, H, W, C] in [-1, 1].

  The read-out is a leaky integrator that never fires, so it and the last convolution are linear:
  the convolution runs once, on the weighted sum of the spikes before it.
  """

  features: Sequence[int]  # the encoder's
  image_size: int
  channels: int
  neuron: neurons.LIF

  @nn.compact
  def __call__(self, z_BTD, train=False):
    *narrower, widest = self.features
    side = self.image_size // 2 ** len(self.features)
    x, _ = SpikingLayer(widest * side * side, self.neuron, name='dense')(z_BTD, train)
    x = layout.reshape(x, *x.shape[:2], side, side, widest)
    weights_T = synapse.readout_weights(x.shape[1])
    upsample = over_time(conv.conv_transpose_phases)
    for i, features in enumerate((*narrower[::-1], self.features[0])):
      layer = SpikingLayer(
        features, self.neuron, upsample, (3, 3), transposed=True, name=f'conv_{i}'
      )
      if i + 1 < len(self.features):
        x = over_time(layout.interleave)(layer(x, train)[0])
      else:
        x = layout.interleave(layer(x, train, readout_T=weights_T))
    total = float(weights_T.sum())
    # The read-out multiplies by `total`: without the gain, tanh starts saturated, +1 or -1 by luck.
    layer = Synapses(
      conv.conv_transpose_stride1, self.channels, (3, 3), True, 1 / total, name='pixels'
    )
    pixels, bias = layer(x)
    return jnp.tanh(pixels + total * bias)

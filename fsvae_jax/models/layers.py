"""The layer of all spiking networks: synapses (dense, convolution or transposed convolution, with
bias), tdBN, LIF neurons; and what makes images or sums over time of its spikes.

A layer records what its neurons did (RECORDS) and its synapses' operations: see records.py.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from fsvae_jax.compute import chunks, layout, linear
from fsvae_jax.models import records
from fsvae_jax.spiking import neurons, norm


class Drive(struct.PyTreeNode):
  """What a layer's neurons integrate, `gain * x + offset`; an x of one step is held for all T.

  `constants` are what the layer has learned in place of its neurons' own.
  """

  x_BTF: jax.Array
  gain_C: jax.Array
  offset_C: jax.Array
  timesteps: int = struct.field(pytree_node=False)
  constants: dict[str, jax.Array]


class Synapses(nn.Module):
  """Kernel and bias from `inputs` channels; initialised as PyTorch does, times `gain`.

  PyTorch takes a transposed convolution's *output* channels for its fan-in; `transposed` says so.
  """

  features: int
  window: tuple[int, ...] = ()
  transposed: bool = False
  gain: float = 1.0

  @nn.compact
  def __call__(self, inputs):
    fan_in = math.prod(self.window) * (self.features if self.transposed else inputs)
    bound = self.gain * fan_in**-0.5
    uniform = lambda key, shape: jax.random.uniform(
      key, shape, jnp.float32, minval=-bound, maxval=bound
    )
    kernel = self.param('kernel', uniform, (*self.window, inputs, self.features))
    return kernel, self.param('bias', uniform, (self.features,))


class TdBN(nn.Module):
  """Gain and offset of threshold-dependent batch normalisation; `amplitude` is alpha * v_th.

  Every value of x counts `hold` times.
  """

  channels: int
  amplitude: float
  hold: int = 1

  @nn.compact
  def __call__(self, x, train):
    scale = self.param('scale', nn.initializers.ones, self.channels, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, self.channels, jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, self.channels, jnp.float32)
    running_var = self.variable('batch_stats', 'var', jnp.ones, self.channels, jnp.float32)
    mean, var = running_mean.value, running_var.value
    if train:
      mean, var = norm.batch_statistics(x, self.channels)
      count = x.size // self.channels * self.hold
      running_mean.value = norm.move(running_mean.value, mean)
      running_var.value = norm.move(running_var.value, norm.unbiased(var, count))
    return norm.gain_offset(mean, var, scale, bias, self.amplitude)


class SpikingLayer(nn.Module):
  """Synapses and tdBN: what its neurons integrate, as a `Drive`, of which `fire` makes spikes.

  It takes images, spikes, or the Drive of the layer before. A Drive's spikes are never stored: they
  are fired, and go through the synapses, chunk by chunk.
  """

  features: int
  neuron: neurons.LIF
  operation: Callable = linear.matmul
  window: tuple[int, ...] = ()
  transposed: bool = False
  alpha: float = 1.0
  hold: int = 1  # timesteps for which an input of one step is held constant
  image: bool = False  # whether inputs are pixels, not spikes
  dtype: str = 'float32'  # in which synapses compute

  @nn.compact
  def __call__(self, before, train):
    inputs = before.gain_C.size if isinstance(before, Drive) else before.shape[-1]
    synapses = Synapses(self.features, self.window, self.transposed, name='synapses')(inputs)
    if train:  # tdBN takes the bias away again; Adam would scale up what rounding leaves of a slope
      synapses = synapses[0], jax.lax.stop_gradient(synapses[1])
    operation = in_dtype(self.dtype, self.operation)
    self._record_operations(before, synapses[0])
    if isinstance(before, Drive):
      x = fire_and_respond(self.neuron, before, operation, synapses)
    elif self.window:
      x = chunks.in_chunks(functools.partial(respond, operation), synapses, before)
    else:
      x = respond(operation, synapses, before)
    tdbn = TdBN(self.features, self.alpha * self.neuron.v_th, self.hold, name='norm')
    drive = Drive(x, *tdbn(x, train), self.hold * x.shape[1], self._constants())
    for what, measure in RECORDS.items():
      if records.recorded(self, what):
        measured = measure(self.neuron, drive)
        records.keep(self, what, layout.interleave(measured) if self.transposed else measured)
    return drive

  def _constants(self):
    """The neuron's constants that are learned: a decay as its logit, so that it stays in (0, 1)."""
    learned = {}
    for name in self.neuron.learned:
      value = getattr(self.neuron, name)
      start = math.log(value / (1 - value)) if name == 'tau' else value
      raw = self.param(name, nn.initializers.constant(start), (), jnp.float32)
      learned[name] = nn.sigmoid(raw) if name == 'tau' else raw
    return learned

  def _record_operations(self, before, kernel):
    if isinstance(before, Drive):
      x, steps, own = before.x_BTF, before.timesteps, lambda: rates(self.neuron, before)
    else:
      x, steps = before, before.shape[1]
      own = lambda: None if self.image else jnp.mean(layout.wide(before), (0, 1))
    records.operations(self, self.operation, kernel, x.shape[2:], steps, own)


def fire(
  neuron: neurons.LIF, drive: Drive, residue_BF: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Spikes [B, T, ...] and residue [B, ...] of the neurons that `drive` drives."""
  x_BTF, gain_C, offset_C = _inputs(drive)
  residue_BF = neurons.rest(x_BTF) if residue_BF is None else residue_BF
  return neurons.lif(neuron, x_BTF, gain_C, offset_C, residue_BF, drive.constants)


def respond(operation: Callable, synapses, x_BTF: jax.Array) -> jax.Array:
  """What synapses (kernel, bias) make of spikes or images: [B, T, ..., C]."""
  kernel, bias_C = synapses
  y_BTF = operation(x_BTF, kernel)
  return (y_BTF + layout.per_channel(bias_C, y_BTF)).astype(y_BTF.dtype)


def fire_and_respond(neuron: neurons.LIF, drive: Drive, operation: Callable, synapses) -> jax.Array:
  """`respond` to the spikes of `fire`."""
  both = lambda own, synapses: respond(operation, synapses, fire(neuron, own)[0])
  return _in_chunks(both, drive, synapses)


def read(neuron: neurons.LIF, drive: Drive, weight_T: Any) -> jax.Array:
  """The same spikes' sum over time, weighted by `weight_T` [T]: [B, ...]."""

  def total(own, weight_T):
    return neurons.lif_readout(neuron, *_inputs(own), weight_T, own.constants)

  return _in_chunks(total, drive, jnp.asarray(weight_T))


def _in_chunks(function, drive, more):
  """`function(drive, more)`, chunk by chunk."""

  def of_chunk(shared, x_BTF):
    own, more = shared
    return function(own.replace(x_BTF=x_BTF), more)

  return chunks.in_chunks(of_chunk, (drive.replace(x_BTF=None), more), drive.x_BTF)


def rates(neuron: neurons.LIF, drive: Drive) -> jax.Array:
  """Spikes per step of every neuron, a mean over the batch: [...]."""
  mean_T = jnp.full(drive.timesteps, 1 / drive.timesteps, drive.gain_C.dtype)
  return jnp.mean(read(neuron, drive, mean_T), axis=0)


# What a layer leaves of its spikes in the variable collection of that name, if it is mutable.
RECORDS = {'rates': rates, 'spikes': lambda neuron, drive: fire(neuron, drive)[0]}


def _inputs(drive):
  """x of all steps, and gain and offset of all phases (see conv.py) of its channels."""
  batch, _, *rest = drive.x_BTF.shape
  phases = rest[-1] // drive.gain_C.size
  x_BTF = jnp.broadcast_to(drive.x_BTF, (batch, drive.timesteps, *rest))
  return x_BTF, jnp.tile(drive.gain_C, phases), jnp.tile(drive.offset_C, phases)


def over_time(operation: Callable) -> Callable:
  """`operation` on [N, ...] applied to every step of [B, T, ...], with N = B * T.

  Examples:
    >>> over_time(jnp.dot)(jnp.ones((2, 3, 4)), jnp.ones((4, 5))).shape
    (2, 3, 5)
  """

  def apply(x_BTF, *args):
    batch, timesteps, *rest = x_BTF.shape
    y = operation(layout.reshape(x_BTF, batch * timesteps, *rest), *args)
    return layout.reshape(y, batch, timesteps, *y.shape[1:])

  return apply


def in_dtype(dtype: str, operation: Callable) -> Callable:
  """`operation` on arrays cast to `dtype`; float32 is what they are."""
  if dtype == 'float32':
    return operation
  return lambda *arrays: operation(*(array.astype(dtype) for array in arrays))

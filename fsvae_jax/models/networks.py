"""The four spiking networks of the FSVAE as Linen modules, with their parameters and statistics.

Every layer is synapses (dense, convolution or transposed convolution, with bias), tdBN, LIF
neurons. Repetition over time, sampling and losses are plain functions in fsvae.py and latents/.

A layer records what its neurons did and how many operations its synapses took, each in the variable
collection of that name, if it is mutable: see RECORDS and `Operations`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax.compute import chunks, conv, layout, linear
from fsvae_jax.spiking import neurons, norm


class Drive(NamedTuple):
  """What a layer's neurons integrate, `gain * x + offset`; an x of one step is held for all T.

  `constants` are what the layer has learned in place of its neurons' own.
  """

  x_BTF: jax.Array
  gain_C: jax.Array
  offset_C: jax.Array
  timesteps: int
  constants: dict[str, jax.Array]


class Operations(NamedTuple):
  """What a layer's synapses did for one image: an addition for each target of each spike.

  Attributes:
    reach: [...] how many targets each input has: taps beyond a border are nobody's.
    steps: scalar, how often the inputs came.
    rates: [...] spikes per step of each input, a mean over the batch; None of inputs that are no
      spikes: each of their targets is a multiplication with addition.
  """

  reach: jax.Array
  steps: jax.Array
  rates: jax.Array | None

  def spent(self) -> Any:
    """Additions, or multiplications with addition, for one image."""
    return self.steps * (self.reach if self.rates is None else self.rates * self.reach).sum()


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
      if recorded(self, what):
        measured = measure(self.neuron, drive)
        keep(self, what, layout.interleave(measured) if self.transposed else measured)
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
    if not recorded(self, 'operations'):
      return
    if isinstance(before, Drive):
      rates_F, steps = rates(self.neuron, before), before.timesteps
    else:
      steps = before.shape[1]
      rates_F = None if self.image else jnp.mean(before, (0, 1))
    x_BTF = before.x_BTF if isinstance(before, Drive) else before
    keep(self, 'operations', operations(self.operation, kernel, x_BTF.shape[2:], steps, rates_F))


def recorded(module: nn.Module, what: str) -> bool:
  """Whether a module is to leave its record of that name."""
  return module.is_mutable_collection(what) and not module.is_initializing()


def keep(module: nn.Module, what: str, value: Any) -> None:
  """Leaves `value` as the module's record of that name."""
  module.sow(what, 'of', value, reduce_fn=lambda _, new: new)


def operations(
  operation: Callable, kernel: jax.Array, shape: Sequence[int], steps: int, rates_F: Any = None
) -> Operations:
  """Of synapses whose inputs at one step are of `shape`: counted by the operation itself.

  Each input adds up as many ones as it has targets: the gradient of the outputs' sum.
  """
  ones = jnp.ones_like(kernel)
  total = lambda x_F: jnp.sum(operation(x_F[None, None], ones))
  return Operations(jax.grad(total)(jnp.ones(shape, kernel.dtype)), jnp.asarray(steps), rates_F)


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

  def both(shared, x_BTF):
    *affine, constants, synapses = shared
    spikes_BTF, _ = fire(neuron, Drive(x_BTF, *affine, drive.timesteps, constants))
    return respond(operation, synapses, spikes_BTF)

  shared = drive.gain_C, drive.offset_C, drive.constants, synapses
  return chunks.in_chunks(both, shared, drive.x_BTF)


def read(neuron: neurons.LIF, drive: Drive, weight_T: Any) -> jax.Array:
  """The same spikes' sum over time, weighted by `weight_T` [T]: [B, ...]."""

  def total(shared, x_BTF):
    *affine, constants, weight_T = shared
    inputs = _inputs(Drive(x_BTF, *affine, drive.timesteps, constants))
    return neurons.lif_readout(neuron, *inputs, weight_T, constants)

  shared = drive.gain_C, drive.offset_C, drive.constants, jnp.asarray(weight_T)
  return chunks.in_chunks(total, shared, drive.x_BTF)


def rates(neuron: neurons.LIF, drive: Drive) -> jax.Array:
  """Spikes per step of every neuron, a mean over the batch: [...]."""
  mean_T = jnp.full(drive.timesteps, 1 / drive.timesteps, drive.gain_C.dtype)
  return jnp.mean(read(neuron, drive, mean_T), axis=0)


# What a layer leaves of its spikes in the variable collection of that name, if it is mutable.
RECORDS = {'rates': rates, 'spikes': lambda neuron, drive: fire(neuron, drive)[0]}


def _inputs(drive):
  """x of all steps, and gain and offset of all phases (see conv.py) of its channels."""
  x_BTF, gain_C, offset_C, timesteps, _ = drive
  phases = x_BTF.shape[-1] // gain_C.size
  x_BTF = jnp.broadcast_to(x_BTF, (x_BTF.shape[0], timesteps, *x_BTF.shape[2:]))
  return x_BTF, jnp.tile(gain_C, phases), jnp.tile(offset_C, phases)


def over_time(operation: Callable) -> Callable:
  """`operation` on [N, ...] applied to every step of [B, T, ...], with N = B * T.

  Examples:
    >>> over_time(jnp.dot)(jnp.ones((2, 3, 4)), jnp.ones((4, 5))).shape
    (2, 3, 5)
  """

  def apply(x_BTF, *args):
    y = operation(layout.fold_time(x_BTF), *args)
    return layout.reshape(y, *x_BTF.shape[:2], *y.shape[1:])

  return apply


def in_dtype(dtype: str, operation: Callable) -> Callable:
  """`operation` on arrays cast to `dtype`; float32 is what they are."""
  if dtype == 'float32':
    return operation
  return lambda *arrays: operation(*(array.astype(dtype) for array in arrays))


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
    if recorded(self, 'operations'):
      rates_F, shape = rates(self.neuron, drive), drive.x_BTF.shape[2:]
      counted = operations(over_time(to_pixels), weights[0], shape, drive.timesteps, rates_F)
      keep(synapses, 'operations', counted)
    if recorded(self, 'responses'):
      y_BTHWC = fire_and_respond(self.neuron, drive, over_time(to_pixels), weights)
      keep(synapses, 'responses', y_BTHWC)
    return weights


def to_pixels(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """The decoder's last convolution, of phases: [N, H, W, 4 C] to [N, 2H, 2W, channels]."""
  return conv.conv_transpose_stride1(layout.interleave(spikes_NHWC), kernel)


def upsample_phases(spikes_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_transpose_phases` of the phases that an earlier one made."""
  return conv.conv_transpose_phases(layout.interleave(spikes_NHWC), kernel)

"""The networks of a trained FSVAE as nodes of NIR, the Neuromorphic Intermediate Representation.

NIR's neuron is tau dv/dt = v_leak - v + R I (doi 10.1038/s41467-024-52259-9). One step of it is

    v[t] = decay * v[t-1] + (1 - decay) * (v_leak + R I[t])     a spike where v > v_threshold; v = 0

so that with R = 1, and weights in which tdBN is folded, divided by 1 - decay, v is the membrane u
of `neurons.lif`. Shapes are channels-first.

NIR has no transposed convolution. Both ways of writing one are exact:

affine   a matrix, on flat layers. Every simulator has it; its size is the side's fourth power.
dilated  a `Conv2d` with the layer's own weights, dilated. Layers lie on a grid of the image's size
         and a row and column more; a layer of s pixels a side uses every (size / s)th point, and no
         synapse reaches the neurons between. As the bias of a `Conv2d` would, the bias comes from a
         channel more, which always fires: the last, in the input as in every layer.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import nir
import numpy as np

from fsvae_jax.compute import checks
from fsvae_jax.exchange.nir_layers import Layer, Layers
from fsvae_jax.spiking.filters import READOUT_DECAY

DT = 1e-4  # seconds a step: what snnTorch's importer takes for granted
LARGEST = 2**26  # weights of an affine node


@dataclasses.dataclass(frozen=True)
class Options:
  """How a model is written.

  Attributes:
    discretisation: the solver that takes the steps: 'euler' or 'exponential'.
    readout: who sums the decoder's output up: 'host', or 'li', a leaky integrator in the graph.
    upsampling: how transposed convolutions are written: 'affine' or 'dilated'.

  Raises:
    ValueError: for another name.
  """

  discretisation: str = 'euler'
  readout: str = 'host'
  upsampling: str = 'affine'

  def __post_init__(self):
    checks.one_of('discretisation', self.discretisation, DISCRETISATIONS)
    checks.one_of('readout', self.readout, READOUTS)
    checks.one_of('upsampling', self.upsampling, UPSAMPLINGS)


class Discretisation(NamedTuple):
  """A solver's step: the time constant (in steps) that gives a decay, and the reverse."""

  tau: Callable[[float], float]
  decay: Callable[[Any], Any]


class Nodes:
  """A chain of nodes in the making, for a solver of DISCRETISATIONS."""

  def __init__(self, discretisation: str, *input_shape: int) -> None:
    self.nodes: dict[str, nir.NIRNode] = {'input': nir.Input(np.array(input_shape))}
    self._tau = DISCRETISATIONS[discretisation].tau

  def add(self, name: str, synapses: nir.NIRNode, layer: Layer, **about: int) -> None:
    """Synapses, and if the layer has some, their neurons, named `<name>_lif`."""
    self.nodes[name] = synapses
    if layer.v_th is not None:
      full = self._full(synapses)
      tau, v_th = full(DT * self._tau(layer.decay)), full(layer.v_th)
      self.nodes[f'{name}_lif'] = nir.LIF(tau, full(1), full(0), v_th, full(0), metadata=about)

  def integrate(self, name: str) -> None:
    """A leaky integrator, never firing, of what the node `name` gives."""
    full = self._full(self.nodes[name])
    tau = full(DT * self._tau(READOUT_DECAY))
    self.nodes[f'{name}_li'] = nir.LI(tau, full(1), full(0))

  def graph(self, metadata: Mapping[str, Any]) -> nir.NIRGraph:
    """The chain, from `input` to `output`."""
    *_, last = self.nodes.values()
    nodes = self.nodes | {'output': nir.Output(np.array(last.output_type['output']))}
    return nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), dict(metadata))

  def _full(self, node):
    shape = tuple(int(size) for size in node.output_type['output'])
    return lambda value: np.full(shape, value, np.float32)


def encoder(config: Any, options: Options, layers: Layers) -> Nodes:
  """Convolutions; the dense layer is one over the whole image, so that nothing is reshaped."""
  size = config.image_size
  nodes = Nodes(options.discretisation, config.channels, size, size)
  for name, layer in layers.items():
    kernel, stride, padding = layer.kernel, 2, 1
    if kernel.ndim == 2:
      kernel, stride, padding = kernel.reshape(size, size, -1, kernel.shape[1]), 1, 0
    nodes.add(name, _conv(size, kernel, layer.bias, stride, padding), layer)
    size //= 2
  return nodes


def dense(config: Any, options: Options, layers: Layers) -> Nodes:
  """Posterior and prior: affine layers."""
  del config
  first, *_ = layers.values()
  nodes = Nodes(options.discretisation, len(first.kernel))
  for name, layer in layers.items():
    nodes.add(name, _affine(layer.kernel.T, layer.bias), layer)
  return nodes


def decoder(config: Any, options: Options, layers: Layers) -> Nodes:
  """By the upsampling and the read-out of the options.

  Raises:
    ValueError: for a leaky integrator in place of learned weights, or too large a matrix.
  """
  if options.readout == 'li':
    if config.readout != 'leaky':
      raise ValueError(
        f'decoder/readout is {config.readout}, and a leaky integrator has weights of its own: '
        '--readout=host'
      )
    pixels, gain = layers['pixels'], 1 / (1 - READOUT_DECAY)
    pixels = pixels._replace(kernel=gain * pixels.kernel, bias=gain * pixels.bias)
    layers = {**layers, 'pixels': pixels}
  nodes = UPSAMPLINGS[options.upsampling](config, options, layers)
  if options.readout == 'li':
    nodes.integrate('pixels')
  return nodes


def decoder_affine(config: Any, options: Options, layers: Layers) -> Nodes:
  """Matrices on flat layers, channels first.

  Raises:
    ValueError: for a matrix larger than `LARGEST`.
  """
  nodes, side = Nodes(options.discretisation, config.latent_dim), _side(config)
  for name, layer in layers.items():
    kernel, bias = layer.kernel, layer.bias
    if kernel.ndim == 2:
      weight = _images(kernel, side).reshape(len(kernel), -1).T
      bias = _images(bias, side).reshape(-1)
    else:
      stride = 1 if name == 'pixels' else 2
      count = math.prod(kernel.shape[2:]) * side**4 * stride**2
      if count > LARGEST:
        raise ValueError(
          f'decoder/{name} as an affine node has {count:,} weights; the most are {LARGEST:,}: '
          f'--upsampling=dilated writes it with {kernel.size:,}'
        )
      weight, side = _matrix(kernel, side, stride), side * stride
      bias = np.repeat(bias, side**2)
    nodes.add(name, _affine(weight, bias), layer)
  return nodes


def decoder_dilated(config: Any, options: Options, layers: Layers) -> Nodes:
  """Dilated convolutions on the grid of the image; a 1 follows z[t] in the input.

  Raises:
    ValueError: for neurons that fire without input, as those between pixels would.
  """
  for name, layer in layers.items():
    if layer.v_th is not None and layer.v_th < 0:
      raise ValueError(
        f'the threshold of decoder/{name} is {layer.v_th:.3g}: below zero, the neurons between the '
        'pixels of a dilated layer would fire: --upsampling=affine'
      )
  size, side = config.image_size, _side(config)
  nodes = Nodes(options.discretisation, config.latent_dim + 1, 1, 1)
  for name, layer in layers.items():
    kernel, bias = layer.kernel, layer.bias
    if name == 'pixels':  # the fourth tap, a zero, takes the row and column too many away
      taps = np.pad(kernel[::-1, ::-1], ((0, 1), (0, 1), (0, 1), (0, 0)))
      nodes.add(name, _conv(size + 1, taps, bias, 1, 1), layer)
    elif kernel.ndim == 2:  # of one point: tap side - y gives row y, tap 0 the row too many
      taps = kernel.reshape(len(kernel), side, side, -1).transpose(1, 2, 0, 3)
      taps = _with_constant(taps, bias.reshape(side, side, -1), layer)[::-1, ::-1]
      taps = np.pad(taps, ((1, 0), (1, 0), (0, 0), (0, 0)))
      synapses = _conv(1, taps, 0.0, 1, size, size // side)
      nodes.add(name, synapses, layer, spacing=size // side)
    else:
      side, spacing = 2 * side, size // side // 2
      taps = _with_constant(kernel, bias, layer, first=1)[::-1, ::-1]
      nodes.add(name, _conv(size + 1, taps, 0.0, 1, spacing, spacing), layer, spacing=spacing)
  return nodes


def _with_constant(kernel, bias, layer, first=0):
  """The bias as weights of an input more, which is on at every step and keeps an output more on.

  Of a convolution's taps, those from `first` = 1 on reach every pixel once.
  """
  kernel = np.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 1)))
  kernel[first:, first:, -1, :-1] = bias
  kernel[first:, first:, -1, -1] = (1 + abs(layer.v_th)) / (1 - layer.decay)
  return kernel


def _side(config):
  """Of the decoder's smallest image."""
  return config.image_size // 2 ** len(config.features)


def _images(x, side):
  """[..., side * side * C] to [..., C, side, side]."""
  return np.moveaxis(x.reshape(*x.shape[:-1], side, side, -1), -1, -3)


def _matrix(kernel, side, stride):
  """[out * Y * X, in * y * x] of a transposed convolution: tap Y - stride * y + 1 from y to Y."""
  Y, y, tap = np.ogrid[: side * stride, :side, :3]
  taken = (tap == Y - stride * y + 1).astype(np.float32)
  weight = np.einsum('Yyk,Xxl,klio->oYXiyx', taken, taken, kernel.astype(np.float32), optimize=True)
  return weight.reshape(kernel.shape[3] * (side * stride) ** 2, -1)


def _affine(weight, bias):
  return nir.Affine(np.ascontiguousarray(weight, np.float32), np.asarray(bias, np.float32))


def _conv(size, kernel, bias, stride, padding, dilation=1):
  weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)
  bias = np.broadcast_to(np.asarray(bias, np.float32), len(weight)).copy()
  pairs = ((n, n) for n in (stride, padding, dilation))
  return nir.Conv2d((size, size), weight, *pairs, groups=1, bias=bias)


DISCRETISATIONS = {
  'euler': Discretisation(lambda decay: 1 / (1 - decay), lambda tau: 1 - 1 / tau),
  'exponential': Discretisation(lambda decay: -1 / math.log(decay), lambda tau: np.exp(-1 / tau)),
}
UPSAMPLINGS = {'affine': decoder_affine, 'dilated': decoder_dilated}
READOUTS = ('host', 'li')
NETWORKS = {'encoder': encoder, 'posterior': dense, 'prior': dense, 'decoder': decoder}
DEFAULT = Options()

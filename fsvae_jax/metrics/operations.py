"""Spikes, synaptic operations and energy of the FSVAE, layer by layer and for one image.

A spike costs one accumulation, a synaptic operation (SOP), for each of the neuron's targets. The
image is no spikes and costs a multiplication with accumulation for each; it is constant, so that
its layer is counted once, not at every step. Sampling is counted as it is done, one evaluation a
step. tdBN is part of the weights after training. A transposed convolution's neuron has 9 targets a
channel. The ANN is the conventional VAE of the same shape.

Rules of counting:
  events     Targets that exist: a kernel's taps beyond the border are nobody's. The default.
  nominal    Kernels count whole, borders too, as counters of FLOPs do.
  reference  Those of the authors' published table (arXiv 2110.00375, table 2), quirks and all:
             transposed convolutions count stride^2 = 4 times, the image at every step, the
             posterior T (T + 1) / 2 times (prefixes), biases and leaks are additions, a leak of a
             neuron that did not fire is a multiplication; the sum is of a batch of 250. (For CelebA
             the authors' counter took pixels for spikes; that is not repeated here.)
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

KERNEL = 3
STRIDES = {'conv': 2, 'transposed': 2, 'stride1': 1}


class Synapses(NamedTuple):
  """A layer of synapses: which records feed it, the shape of those neurons, and its own outputs."""

  name: str  # network/layer; also the record of the neurons behind it
  kind: str  # dense, conv, transposed, stride1 (transposed, of stride 1)
  sources: tuple  # records joined along the channels; () is the image
  inputs: tuple  # [H, W, C] or [C]
  features: int

  @property
  def outputs(self) -> tuple[int, ...]:
    """Shape of the neurons behind the synapses."""
    if self.kind == 'dense':
      return (self.features,)
    h, w, _ = self.inputs
    scale = {'conv': 0.5, 'transposed': 2, 'stride1': 1}[self.kind]
    return int(h * scale), int(w * scale), self.features

  @property
  def network(self) -> str:
    return self.name.split('/')[0]


PATHS = {'reconstruct': ('encoder', 'posterior', 'decoder'), 'generate': ('prior', 'decoder')}


def layers(
  image_size: int, channels: int, features: Sequence[int], latent_dim: int, draws: int
) -> list[Synapses]:
  """All layers of synapses of the model of these sizes, in the order of computation."""
  made, side, width = [], image_size, channels
  source = ()

  def add(name, kind, inputs, outputs, sources):
    made.append(Synapses(name, kind, sources, inputs, outputs))
    return (name,)

  for i, outputs in enumerate(features):
    source = add(f'encoder/conv_{i}', 'conv', (side, side, width), outputs, source)
    side, width = side // 2, outputs
  source = add('encoder/dense', 'dense', (side * side * width,), latent_dim, source)
  for network, sources in (
    ('posterior', (*source, 'latent/history')),
    ('prior', ('latent/history',)),
  ):
    inputs = len(sources) * latent_dim
    for i, outputs in enumerate((2 * latent_dim, 4 * latent_dim, draws * latent_dim)):
      sources = add(f'{network}/dense_{i}', 'dense', (inputs,), outputs, sources)
      inputs = outputs
  source = add('decoder/dense', 'dense', (latent_dim,), side * side * width, ('latent/z',))
  for i, outputs in enumerate((*features[-2::-1], features[0])):
    source = add(f'decoder/conv_{i}', 'transposed', (side, side, width), outputs, source)
    side, width = 2 * side, outputs
  add('decoder/pixels', 'stride1', (side, side, width), channels, source)
  return made


def targets(layer: Synapses, rule: str = 'events') -> np.ndarray | float:
  """How many neurons each input neuron reaches: broadcasts to `layer.inputs`."""
  if layer.kind == 'dense':
    return np.float64(layer.features)
  stride = STRIDES[layer.kind]
  if rule == 'events':
    h, w, _ = layer.inputs
    per_axis = [_targets_of_axis(layer.kind, stride, size) for size in (h, w)]
    return np.multiply.outer(*per_axis)[..., None] * layer.features
  whole = KERNEL**2 * layer.features
  if layer.kind == 'conv':
    return np.float64(whole / stride**2)
  return np.float64(whole * (stride**2 if rule == 'reference' else 1))


def fan_outs(layer: Synapses, rule: str = 'events') -> float:
  """Number of synapses of a layer: the sum of `targets` over its inputs."""
  return float(np.broadcast_to(targets(layer, rule), layer.inputs).sum())


def _targets_of_axis(kind, stride, size):
  """Along one axis: kernel taps of input i that meet an output; padding 1."""
  i, tap = np.arange(size)[:, None], np.arange(KERNEL)
  if kind == 'conv':  # output o reads inputs stride * o + tap - 1
    position = i + 1 - tap
    return ((position % stride == 0) & (position >= 0) & (position < size)).sum(1)
  position = stride * i + tap - 1
  return ((position >= 0) & (position < stride * size)).sum(1)


class Count(NamedTuple):
  """Operations of one layer for one image."""

  accumulates: float
  multiply_accumulates: float
  neuron_updates: float  # of the neurons behind the synapses: leak, addition, comparison

  def energy_uj(self, pj: tuple[float, float]) -> float:
    """Energy of the synapses in uJ; pj: of an accumulate and of a multiply-accumulate."""
    accumulate_pj, multiply_pj = pj
    return 1e-6 * (self.accumulates * accumulate_pj + self.multiply_accumulates * multiply_pj)


def count(
  layer: Synapses, rates: dict[str, np.ndarray], timesteps: int, rule: str = 'events'
) -> Count:
  """Operations of a layer, given all records' rates (spikes a neuron and step)."""
  reach = targets(layer, rule)
  neurons = 0 if layer.name == 'decoder/pixels' else math.prod(layer.outputs)
  if not layer.sources:
    return Count(0.0, fan_outs(layer, rule), float(neurons * timesteps))
  total = (_input_rates(layer, rates) * reach).sum() * timesteps
  return Count(float(total), 0.0, float(neurons * timesteps))


def _input_rates(layer, rates):
  sources = [np.asarray(rates[name], np.float64) for name in layer.sources]
  if len(sources) == 1:
    return sources[0].reshape(layer.inputs)  # between convolutions and dense layers: (un)flattened
  return np.concatenate(sources)


def ann_count(layer: Synapses, rule: str = 'events') -> float:
  """Multiply-accumulates of the same layer in the ANN VAE, or 0 if it has none.

  It has no posterior and prior networks, and two heads, for mean and variance.
  """
  if layer.network in ('posterior', 'prior'):
    return 0.0
  heads = 2 if layer.name == 'encoder/dense' else 1
  return heads * fan_outs(layer, rule)


def reference_table(
  all_layers: list[Synapses], rates: dict[str, np.ndarray], timesteps: int, batch: int = 250
) -> tuple[float, float]:
  """(additions, multiplications) of a batch's reconstruction and prior by the rule 'reference'."""
  additions = multiplications = 0.0
  for layer in all_layers:
    runs = timesteps
    if layer.network == 'posterior':
      runs = timesteps * (timesteps + 1) // 2  # prefixes of 1 to T - 1 steps, and all T at once
    counted = count(layer, rates, 1, 'reference')
    outputs = math.prod(layer.outputs)
    additions += runs * (counted.accumulates + counted.multiply_accumulates)
    multiplications += runs * counted.multiply_accumulates
    additions += runs * (outputs if layer.sources else math.prod(layer.inputs))  # biases
    if layer.name in rates:
      additions += runs * outputs
      multiplications += runs * float(np.sum(1 - np.asarray(rates[layer.name])))
  return batch * additions, batch * multiplications


def break_even(total: dict, pj: tuple[float, float]) -> float:
  """The `sop_rate` at which spikes cost what the ANN does; `total` is of `totals`."""
  most_uj = 1e-6 * pj[0] * total['most_accumulates']  # if every neuron fired at every step
  return (total['ann_energy_uj'] - 1e-6 * pj[1] * total['multiply_accumulates']) / most_uj


def path_table(
  all_layers: list[Synapses],
  path: str,
  rates: dict[str, np.ndarray],
  timesteps: int,
  pj: tuple[float, float],
  rule: str = 'events',
) -> list[dict]:
  """[row] of the layers on a path: rate, dead channels, operations and energies for one image."""
  rows = []
  for layer in all_layers:
    if layer.network not in PATHS[path]:
      continue
    counted = count(layer, rates, timesteps, rule)
    row = {'layer': layer.name, **counted._asdict(), 'energy_uj': counted.energy_uj(pj)}
    row['most_accumulates'] = timesteps * fan_outs(layer, rule) if layer.sources else 0.0
    row['ann_multiply_accumulates'] = ann_count(layer, rule)
    row['ann_energy_uj'] = 1e-6 * pj[1] * row['ann_multiply_accumulates']
    if layer.name in rates:
      own = np.asarray(rates[layer.name])
      per_channel = own.reshape(-1, own.shape[-1]).max(0)
      row |= {
        'firing_rate': float(own.mean()),
        'channels': len(per_channel),
        'dead_channels': int((per_channel == 0).sum()),
      }
    rows.append(row)
  return rows


def totals(rows: list[dict]) -> dict:
  """Sums of a table's columns, and mean firing rates.

  `firing_rate` is the neurons'; `sop_rate` weighs each by its targets: synaptic operations over
  those of neurons that fire at every step.
  """
  columns = (
    'accumulates most_accumulates multiply_accumulates neuron_updates energy_uj '
    'ann_multiply_accumulates ann_energy_uj'
  ).split()
  summed = {name: sum(row[name] for row in rows) for name in columns}
  weights = [row['neuron_updates'] for row in rows if 'firing_rate' in row]
  rates = [row['firing_rate'] for row in rows if 'firing_rate' in row]
  return summed | {
    'firing_rate': float(np.average(rates, weights=weights)),
    'sop_rate': summed['accumulates'] / summed['most_accumulates'],
  }

"""What lies beside the graphs of an export: the spikes of each layer, and a table of the layers."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import nir
import numpy as np

from fsvae_jax import models
from fsvae_jax.models.latents import bernoulli


class Record(NamedTuple):
  """What happened in all networks while images were reconstructed; the prior is told the same z.

  Attributes:
    inputs: {network: [B, T, ...]}.
    spikes: {'network/layer': [B, T, C] or [B, T, C, H, W]}.
    image: [B, C, H, W] that was decoded.
    operations: {'network/layer': records.Operations}.
  """

  inputs: dict[str, np.ndarray]
  spikes: dict[str, np.ndarray]
  image: np.ndarray
  operations: dict[str, Any]


def record(config: Mapping[str, Any], variables: Any, image_BHWC: np.ndarray) -> Record:
  """The record of images in [-1, 1], for picks of a fixed key; synapses compute in float32."""
  model = models.make({**config, 'dtype': 'float32'})
  made = jax.device_get(_record(model, variables, image_BHWC))
  side = config['image_size'] // 2 ** len(config['features'])
  dense = made.spikes['decoder/dense']
  made.spikes['decoder/dense'] = dense.reshape(*dense.shape[:2], side, side, -1)
  first = lambda x: np.moveaxis(x, -1, -3) if x.ndim > 3 else x
  inputs, spikes, image = jax.tree.map(first, (made.inputs, made.spikes, made.image))
  return Record(inputs, spikes, image, made.operations)


@functools.partial(jax.jit, static_argnums=0)
def _record(model, variables, image_BHWC):
  z_BTD = model.encode(variables, image_BHWC, jax.random.key(0))
  both = lambda what: what(z_BTD, image_BHWC) | what(z_BTD)  # with posterior, and with prior
  spikes = both(functools.partial(model.record, 'spikes', variables))
  history_BTD, x_BTD = bernoulli.shift(z_BTD), spikes['encoder/dense']
  shape = len(image_BHWC), z_BTD.shape[1], *image_BHWC.shape[1:]
  inputs = {
    'encoder': jnp.broadcast_to(image_BHWC[:, None], shape),
    'posterior': jnp.concatenate((x_BTD, history_BTD), axis=-1),
    'prior': history_BTD,
    'decoder': z_BTD,
  }
  operations = both(functools.partial(model.operations, variables))
  return Record(inputs, spikes, model.decode(variables, z_BTD), operations)


def data(graph: nir.NIRGraph, recorded: Record) -> nir.NIRGraphData:
  """Input and spikes of every layer of a graph's network; of the decoder also the image."""
  network, dt = graph.metadata['network'], float(graph.metadata['dt'])
  gridded = lambda x, dt: nir.TimeGriddedData(x.reshape(*x.shape[:2], -1), dt)
  steps_BTF = _with_constant(graph.nodes['input'], recorded.inputs[network])
  nodes = {'input': {'input': gridded(steps_BTF, dt)}}
  for name, node in graph.nodes.items():
    if isinstance(node, nir.LIF):
      spikes = recorded.spikes[f'{network}/{name.removesuffix("_lif")}']
      nodes[name] = {'spikes': gridded(_on_grid(node, spikes) > 0, dt)}
  if network == 'decoder':
    nodes['output'] = {'image': gridded(recorded.image[:, None], dt * steps_BTF.shape[1])}
  return nir.NIRGraphData({name: nir.NIRNodeData(of) for name, of in nodes.items()})


def _with_constant(node, x_BTF):
  """With the 1 that follows z in a dilated decoder's input."""
  if np.prod(node.output_type['output']) == x_BTF[0, 0].size:
    return x_BTF
  return np.pad(x_BTF, ((0, 0), (0, 0), (0, 1)), constant_values=1)


def _on_grid(node, x_BTCHW):
  """Spikes where the node has the layer's neurons, with its channel that always fires."""
  spacing = node.metadata.get('spacing')
  if spacing is None:
    return x_BTCHW
  grid = np.zeros((*x_BTCHW.shape[:2], *node.v_threshold.shape), x_BTCHW.dtype)
  height, width = (side * spacing for side in x_BTCHW.shape[3:])
  used = grid[..., :height:spacing, :width:spacing]
  used[:, :, :-1], used[:, :, -1] = x_BTCHW, 1
  return grid


def table(
  graphs: Mapping[str, nir.NIRGraph], variables: Any, recorded: Record
) -> list[dict[str, Any]]:
  """A row a layer: what a chip has to hold of it.

  Its neurons, each with one number of state; synapses, those beyond a border left out, and how many
  a neuron has in the mean and an input at most; weights, which at 8 bits are as many bytes, and the
  weights of its node in the graph.
  """
  rows = []
  for name, layer in recorded.operations.items():
    network, own = name.split('/')
    params = variables['params'][network][own]
    spikes = recorded.spikes.get(name)
    outputs = (recorded.image[0] if spikes is None else spikes[0, 0]).size
    synapses = int(layer.reach.sum())
    rows.append(
      {
        'layer': name,
        'neurons': 0 if spikes is None else outputs,
        'synapses': synapses,
        'fan_in': synapses / outputs,
        'fan_out': int(layer.reach.max()),
        'weights': params.get('synapses', params)['kernel'].size,
        'node_weights': graphs[network].nodes[own].weight.size,
      }
    )
  return rows

"""A simulator of NIR graphs in numpy and float64, to check an export with: what it says is plain.

A graph is a chain, and is run node by node, each over all its steps.
"""

import math
from typing import Any

import nir
import numpy as np

from fsvae_jax.exchange import nir_nodes

State = dict[str, np.ndarray]


def run(
  graph: nir.NIRGraph, x_BTF: np.ndarray, state: State | None = None
) -> tuple[dict[str, np.ndarray], State]:
  """What every node gives, {node: [B, T, ...]}, and the membranes after the last step.

  Args:
    graph: a chain from `input` to `output`, with the metadata of `nir.graphs`.
    x_BTF: the input, of any number of steps; its features may be flat.
    state: what an earlier call returned, to go on from; None is rest.

  Raises:
    ValueError: for a node that is not simulated, or a graph that is no chain.
  """
  shape = tuple(map(int, graph.nodes['input'].output_type['output']))
  x_BTF = np.asarray(x_BTF, np.float64)
  if x_BTF.shape[2:] not in (shape, (math.prod(shape),)):
    raise ValueError(
      f'x_BTF has the shape {x_BTF.shape}; after batch and time come {shape}, channels first, or '
      f'{math.prod(shape)} flat'
    )
  x_BTF = x_BTF.reshape(*x_BTF.shape[:2], *shape)
  decay = nir_nodes.DISCRETISATIONS[graph.metadata['discretisation']].decay
  outputs, state = {'input': x_BTF}, dict(state or {})
  for name in chain(graph):
    node = graph.nodes[name]
    if isinstance(node, nir.LIF | nir.LI):
      decay_F = decay(np.asarray(node.tau, np.float64) / graph.metadata['dt'])
      x_BTF, state[name] = _neurons(node, decay_F, x_BTF, state.get(name))
    elif type(node) in SYNAPSES:
      x_NF = x_BTF.reshape(-1, *x_BTF.shape[2:])
      y_NF = SYNAPSES[type(node)](node, x_NF)
      x_BTF = y_NF.reshape(*x_BTF.shape[:2], *y_NF.shape[1:])
    elif not isinstance(node, nir.Output):
      raise ValueError(f'node {name} is a {type(node).__name__}, which is not simulated here')
    outputs[name] = x_BTF
  return outputs, state


def chain(graph: nir.NIRGraph) -> list[str]:
  """The nodes' names behind `input`, in order; ValueError if the graph is no chain."""
  after = dict(graph.edges)
  if len(after) != len(graph.edges) or len(after) != len(graph.nodes) - 1:
    raise ValueError(f'{len(graph.nodes)} nodes with the edges {graph.edges} are no chain')
  names = ['input']
  while names[-1] in after:
    names.append(after[names[-1]])
  return names[1:]


def _neurons(node: Any, decay_F, x_BTF, v_BF):
  v_BF = np.zeros_like(x_BTF[:, 0]) if v_BF is None else v_BF
  y_BTF = np.empty_like(x_BTF)
  for t in range(x_BTF.shape[1]):
    v_BF = decay_F * v_BF + (1 - decay_F) * (node.v_leak + node.r * x_BTF[:, t])
    y_BTF[:, t] = v_BF
    if isinstance(node, nir.LIF):
      fired_BF = v_BF > node.v_threshold
      y_BTF[:, t], v_BF = fired_BF, np.where(fired_BF, node.v_reset, v_BF)
  return y_BTF, v_BF


def _affine(node, x_NI):
  return x_NI @ node.weight.T.astype(x_NI.dtype) + node.bias


def _conv(node, x_NCHW):
  (stride, _), (padding, _), (dilation, _) = node.stride, node.padding, node.dilation
  x = np.pad(x_NCHW, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
  *_, height, width = node.output_type['output']
  weight = node.weight.astype(x.dtype)
  total = np.zeros((len(weight), len(x), height, width))
  for i, j in np.ndindex(*weight.shape[2:]):
    rows, columns = (
      slice(tap * dilation, tap * dilation + stride * (count - 1) + 1, stride)
      for tap, count in ((i, height), (j, width))
    )
    total += np.tensordot(weight[:, :, i, j], x[:, :, rows, columns], (1, 1))
  return np.moveaxis(total, 0, 1) + node.bias[:, None, None]


SYNAPSES = {nir.Affine: _affine, nir.Conv2d: _conv}

"""Spikes of an exported model in simulators that others wrote, beside the recorded ones.

    python benchmarks/simulators.py --folder FOLDER_WITH_NIR_FILES [--simulators norse,snntorch]

It needs nir and the simulators alone, not this package, so that each can have an environment of its
own (docs/export.md). The share of a layer is of its neurons and steps; an error of one layer goes
on in the next.
"""

import argparse
import functools
import importlib.metadata
import itertools
import pathlib

import nir
import numpy as np


def norse(graph, x_TBF, dt):
  import norse.torch

  return _steps(norse.torch.from_nir(graph, dt=dt), x_TBF)


def snntorch(graph, x_TBF, dt):
  from snntorch import import_nir

  del dt  # its importer takes 1e-4 for granted
  return _steps(import_nir.import_from_nir(graph), x_TBF)


def spikingjelly(graph, x_TBF, dt):
  from spikingjelly.activation_based import nir_exchange

  return _steps(nir_exchange.import_from_nir(graph, dt=dt), x_TBF)


def _steps(module, x_TBF):
  import torch

  state, outputs = None, []
  with torch.no_grad():
    for x_BF in torch.from_numpy(x_TBF):
      y_BF, state = module(x_BF, state)
      outputs.append(y_BF.numpy())
  return np.stack(outputs)


def spyx(graph, x_TBF, dt):
  from spyx import nir as of_spyx

  first = np.moveaxis(x_TBF, 2, -1) if x_TBF.ndim == 5 else x_TBF  # channels last
  y_TBF = np.asarray(of_spyx.from_nir(graph, first, dt)[1])
  return np.moveaxis(y_TBF, -1, 2) if y_TBF.ndim == 5 else y_TBF


def jaxpike(graph, x_TBF, dt):
  from jaxpike import execution
  from jaxpike import nir as of_jaxpike

  module = of_jaxpike.from_nir(graph, dt_seconds=dt)
  return np.asarray(execution.unroll(module, x_TBF)[0])


def prefix(graph: nir.NIRGraph, last: str) -> nir.NIRGraph:
  """The chain from the input to the node `last`."""
  before = {target: source for source, target in graph.edges}
  names = [last]
  while names[0] in before:
    names.insert(0, before[names[0]])
  nodes = {name: graph.nodes[name] for name in names}
  nodes['output'] = nir.Output(np.array(nodes[last].output_type['output']))
  return nir.NIRGraph(nodes, list(itertools.pairwise(nodes)), graph.metadata)


def compare(simulate, folder: pathlib.Path, network: str, images: int) -> list[dict]:
  """A row a layer: spikes, and the share of neurons and steps in which they are as recorded."""
  graph = nir.read(folder / f'{network}.nir')
  recorded = nir.read_data(folder / f'{network}_spikes.nir').nodes
  dt = float(graph.metadata['dt'])
  x_TBF = np.moveaxis(recorded['input'].observables['input'].data[:images], 1, 0)
  x_TBF = x_TBF.reshape(*x_TBF.shape[:2], *graph.nodes['input'].output_type['output'])
  rows = []
  for name in sorted((n for n in recorded if n.endswith('_lif')), key=functools.partial(depth, graph)):
    got_TBF = simulate(prefix(graph, name), np.array(x_TBF, np.float32), dt)
    wanted = np.moveaxis(recorded[name].observables['spikes'].data[:images], 1, 0)
    got = got_TBF.reshape(wanted.shape) > 0
    differ = int((got != wanted).sum())
    rows.append({'layer': f'{network}/{name}', 'values': wanted.size, 'spikes': int(wanted.sum())})
    rows[-1] |= {'spikes there': int(got.sum()), 'differ': differ, 'equal': 1 - differ / got.size}
  return rows


def depth(graph: nir.NIRGraph, name: str) -> int:
  """How many nodes come before."""
  return len(prefix(graph, name).nodes)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--folder', type=pathlib.Path, required=True)
  parser.add_argument('--simulators', default=','.join(SIMULATORS))
  parser.add_argument('--images', type=int, default=4)
  args = parser.parse_args()
  for name in args.simulators.split(','):
    try:
      title = f'{name} {importlib.metadata.version(name)}'
    except importlib.metadata.PackageNotFoundError:
      print(f'{name} is not installed: pip install nir {name}')
      continue
    for network in ('encoder', 'posterior', 'prior', 'decoder'):
      try:
        rows = compare(SIMULATORS[name], args.folder, network, args.images)
      except Exception as error:  # whatever a simulator says of a graph that it cannot read
        print(f'{title}: {network}: {type(error).__name__}: {error}')
        continue
      for row in rows:
        print(f'{title}: ' + ', '.join(f'{k} {v:.6g}' if k == 'equal' else f'{k} {v}' for k, v in row.items()))


SIMULATORS = {
  'norse': norse,
  'snntorch': snntorch,
  'spikingjelly': spikingjelly,
  'spyx': spyx,
  'jaxpike': jaxpike,
}

if __name__ == '__main__':
  main()

"""Spikes of an exported model in simulators that others wrote, beside the recorded ones.

    python benchmarks/simulators.py --folder FOLDER_WITH_NIR_FILES [--simulators norse,snntorch]

It needs nir and the simulators alone, not this package, so that each can have an environment of its
own (docs/how-to/nir.md). The share of a layer is of its neurons and steps; an error of one layer
goes on in the next.
"""

import argparse
import contextlib
import importlib.metadata
import io
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

  return _channels_first(of_spyx.from_nir(graph, _channels_last(x_TBF), dt)[1])


def jaxpike(graph, x_TBF, dt):
  from jaxpike import execution
  from jaxpike import nir as of_jaxpike

  module = of_jaxpike.from_nir(graph, dt_seconds=dt)
  return _channels_first(execution.unroll(module, _channels_last(x_TBF))[0])


def _channels_last(x):
  return np.moveaxis(x, 2, -1) if x.ndim == 5 else x


def _channels_first(x):
  return np.moveaxis(np.asarray(x), -1, 2) if x.ndim == 5 else np.asarray(x)


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
  """A row a layer: its spikes, and the share of neurons and steps in which they are as recorded.

  Of the decoder also the largest difference of a pixel.
  """
  graph = nir.read(folder / f'{network}.nir')
  recorded = nir.read_data(folder / f'{network}_spikes.nir').nodes
  observed = lambda name, what: recorded[name].observables[what].data[:images]
  x_TBF = np.moveaxis(observed('input', 'input'), 1, 0).astype(np.float32)
  x_TBF = x_TBF.reshape(*x_TBF.shape[:2], *graph.nodes['input'].output_type['output'])
  run = lambda last: simulate(prefix(graph, last), x_TBF.copy(), float(graph.metadata['dt']))
  rows = []
  for name in [n for n in prefix(graph, 'output').nodes if n.endswith('_lif')]:
    wanted = np.moveaxis(observed(name, 'spikes'), 1, 0)
    got = run(name).reshape(wanted.shape) > 0
    row = {'layer': f'{network}/{name}', 'spikes': int(wanted.sum()), 'theirs': int(got.sum())}
    rows.append(row | {'values': wanted.size, 'equal': float(np.mean(got == wanted))})
  if 'readout_weights' in graph.metadata:
    image = np.tanh(np.einsum('t,tb...->b...', graph.metadata['readout_weights'], run('pixels')))
    wanted = observed('output', 'image')
    off = np.abs(image.reshape(wanted.shape) - wanted).max()
    rows.append({'layer': 'decoder/image', 'values': wanted.size, 'largest difference': float(off)})
  return rows


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
        with contextlib.redirect_stdout(io.StringIO()):  # some print their arrays
          rows = compare(SIMULATORS[name], args.folder, network, args.images)
      except Exception as error:  # whatever a simulator says of a graph that it cannot read
        rows = [{'layer': network, type(error).__name__: error}]
      for row in rows:
        print(f'{title}: ' + ', '.join(f'{key} {value}' for key, value in row.items()))


SIMULATORS = {
  'norse': norse,
  'snntorch': snntorch,
  'spikingjelly': spikingjelly,
  'spyx': spyx,
  'jaxpike': jaxpike,
}

if __name__ == '__main__':
  main()

"""What a chip has to hold of each layer, and what the image loses when weights have few bits.

    python -m benchmarks.rounding --workdir runs/digits [--images 180] [--bits 8,4]

Weights are rounded after training, with a scale for each output channel, so that it does not matter
that tdBN is folded into them. Errors are mean squared errors of reconstructed test images, of the
same draws, with one layer rounded and, in the last line, all of them.
"""

import pathlib

import jax
import numpy as np

from benchmarks import fields
from benchmarks.tables import header, row
from fsvae_jax import data, inference
from fsvae_jax.exchange import nir, nir_record


def rounded(kernel: np.ndarray, bits: int) -> np.ndarray:
  """The kernel [..., out] on 2^bits - 1 levels around zero, with a scale for each output."""
  largest_C = np.abs(kernel).max(tuple(range(kernel.ndim - 1)))
  scale_C = np.where(largest_C > 0, largest_C, 1) / (2 ** (bits - 1) - 1)
  return (np.round(kernel / scale_C) * scale_C).astype(kernel.dtype)


def with_rounded(variables: dict, layers: list[str], bits: int) -> dict:
  """Variables with the kernels of some layers, 'network/layer', rounded."""
  of_layers = {tuple(layer.split('/')) for layer in layers}

  def maybe(path, x):
    names = tuple(entry.key for entry in path)
    return rounded(np.asarray(x), bits) if names[-1] == 'kernel' and names[:2] in of_layers else x

  return variables | {'params': jax.tree.map_with_path(maybe, variables['params'])}


def error(trained: inference.Trained, variables: dict, images: np.ndarray) -> float:
  """Mean squared error of reconstructions with these variables."""
  made = trained._replace(replicated=variables).reconstruct(images)
  return float(np.mean(np.square(made - data.normalize(images))))


def main() -> None:
  parser = fields.parser(__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--images', type=int, default=180)
  parser.add_argument('--bits', default='8,4')
  args = parser.parse_args()
  trained = fields.trained(args)
  images = np.asarray(trained.images('test')[: args.images])
  variables, bits = jax.device_get(trained.variables), [int(n) for n in args.bits.split(',')]
  model = trained.config.model
  recorded = nir_record.record(model, variables, np.asarray(data.normalize(images[:1])))
  tables, refusals = {}, []
  for upsampling in ('affine', 'dilated'):
    try:
      graphs = nir.graphs(model, variables, nir.Options(upsampling=upsampling))
      tables[upsampling] = nir_record.table(graphs, variables, recorded)
    except ValueError as reason:  # as matrices, layers of MNIST's size are too large
      refusals.append(f'not as {upsampling}: {reason}')
  if not tables:
    raise ValueError('; '.join(refusals))
  rows = next(iter(tables.values()))
  titles = ['layer', 'neurons', 'synapses', 'fan-in', 'fan-out', 'weights', 'affine', 'dilated']
  header(*titles, *(f'error, {n} bits' for n in bits))
  for i, layer in enumerate(rows):
    own = [tables[u][i]['node_weights'] if u in tables else '-' for u in ('affine', 'dilated')]
    errors = [error(trained, with_rounded(variables, [layer['layer']], n), images) for n in bits]
    layer['fan_in'] = round(layer['fan_in'], 1)
    cells = [x for name, x in layer.items() if name != 'node_weights']
    cells += [*own, *(f'{e:.5f}' for e in errors)]
    row(*(f'{x:,}' if isinstance(x, int | float) else x for x in cells))
  layers = [layer['layer'] for layer in rows]
  errors = [error(trained, with_rounded(variables, layers, n), images) for n in bits]
  print('\n'.join(refusals))
  print(f'all layers: {errors}; not rounded: {error(trained, variables, images):.5f}')


if __name__ == '__main__':
  main()

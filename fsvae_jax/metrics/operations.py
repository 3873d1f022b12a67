"""Synaptic operations and energy, layer by layer and for one image, from what the layers record.

A spike costs one accumulation, a synaptic operation (SOP), for each of the neuron's targets that
exist: a kernel's taps beyond the border are nobody's. The image is no spikes and costs a
multiplication with accumulation for each; it is constant, so that its layer is counted once, not at
every step. Sampling is counted as it is done, one evaluation a step. tdBN is part of the weights
after training. The ANN is the conventional VAE of the same shape.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fsvae_jax.models.records import Operations

COLUMNS = (
  'accumulates',
  'most_accumulates',
  'multiply_accumulates',
  'neuron_updates',
  'energy_uj',
  'ann_multiply_accumulates',
  'ann_energy_uj',
)


def count(layer: Operations) -> dict[str, float]:
  """Operations of a layer: those that happened, and as many as there would be at most."""
  layer = jax.tree.map(lambda x: np.asarray(x, np.float64), layer)
  most = layer._replace(rates=None).spent()
  if layer.rates is None:
    return {'accumulates': 0.0, 'most_accumulates': 0.0, 'multiply_accumulates': most}
  return {'accumulates': layer.spent(), 'most_accumulates': most, 'multiply_accumulates': 0.0}


def table(
  layers: Mapping[str, Operations],
  rates: Mapping[str, np.ndarray],
  ann: Mapping[str, Operations],
  timesteps: int,
  pj: tuple[float, float],
) -> list[dict]:
  """[row] of each layer: rate, dead channels, operations and energies for one image.

  Args:
    layers: of the model, in the order of computation.
    rates: {layer: [..., C] spikes per step of the neurons behind it}.
    ann: the layers of the ANN.
    pj: energy of an accumulate and of a multiply-accumulate.
  """
  rows = []
  for name, layer in layers.items():
    counted = count(layer)
    macs = count(ann[name])['multiply_accumulates'] if name in ann else 0.0
    row: dict[str, Any] = {'layer': name, **counted, 'neuron_updates': 0.0}
    row['energy_uj'] = energy_uj(counted['accumulates'], counted['multiply_accumulates'], pj)
    row |= {'ann_multiply_accumulates': macs, 'ann_energy_uj': energy_uj(0.0, macs, pj)}
    if name in rates:
      own = np.asarray(rates[name])
      most_C = own.reshape(-1, own.shape[-1]).max(0)
      row |= {
        'neuron_updates': float(own.size * timesteps),  # leak, addition, comparison
        'firing_rate': float(own.mean()),
        'channels': len(most_C),
        'dead_channels': int((most_C == 0).sum()),
      }
    rows.append(row)
  return rows


def energy_uj(accumulates: Any, multiply_accumulates: Any, pj: tuple[float, float]) -> Any:
  """Energy of synapses in uJ; `pj` of an accumulate and of a multiply-accumulate."""
  return 1e-6 * (accumulates * pj[0] + multiply_accumulates * pj[1])


def totals(rows: list[dict]) -> dict:
  """Sums of a table's columns, and mean firing rates.

  `firing_rate` is the neurons'; `sop_rate` weighs each by its targets: synaptic operations over
  those of neurons that fire at every step.
  """
  summed = {name: sum(row[name] for row in rows) for name in COLUMNS}
  fired = [row for row in rows if 'firing_rate' in row]
  weights = [row['neuron_updates'] for row in fired]
  return summed | {
    'firing_rate': float(np.average([row['firing_rate'] for row in fired], weights=weights)),
    'sop_rate': summed['accumulates'] / summed['most_accumulates'],
  }


def break_even(total: dict, pj: tuple[float, float]) -> float:
  """The `sop_rate` at which spikes cost what the ANN does; `total` is of `totals`."""
  most_uj = energy_uj(total['most_accumulates'], 0.0, pj)  # if every neuron fired at every step
  rest_uj = total['ann_energy_uj'] - energy_uj(0.0, total['multiply_accumulates'], pj)
  return rest_uj / most_uj

"""How often neurons fire, and what that costs: the counts of operations.py on real spikes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsvae_jax import data, models
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import operations
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.models import Model

COST = 'µJ an image, synapses only, 45 nm figures'
PATHS = {'reconstruct': 'test', 'generate': 'generated'}  # an image's ways, and whose spikes


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Result:
  """Firing rates, energies and their tables; of an ANN its energy alone."""
  c, pj = trained.config.model, (trained.config.eval.ac_pj, trained.config.eval.mac_pj)
  ann = {path: layers_of(models.ann_of(c), path) for path in PATHS}
  if trained.model.record is None:
    return Result({f'energy_uj_{path}': _ann_energy(ann[path], pj) for path in PATHS})
  images = images_of('test')[: trained.config.eval.probe]
  rows_of = {'reconstruct': images, 'generate': np.arange(len(images))}
  functions = {'reconstruct': of_reconstruction, 'generate': of_generation}
  per_seed = [
    {p: trained.means(functions[p], rows_of[p], seed=seed) for p in PATHS}
    for seed in range(trained.config.eval.seeds)
  ]
  table = lambda path, rates, layers: operations.table(layers, rates, ann[path], c.timesteps, pj)
  pooled = jax.tree.map(lambda *of_seeds: np.mean(of_seeds, axis=0), *per_seed)
  tables = {path: table(path, *pooled[path]) for path in PATHS}
  details = {
    'layers': tables,
    'totals': {path: operations.totals(rows) for path, rows in tables.items()},
    'latent_rates': pooled['reconstruct'][0]['latent/z'].tolist(),
    'pj': {'accumulate': pj[0], 'multiply_accumulate': pj[1]},
  }
  figures: dict[str, Figure] = {}
  for path, whose in PATHS.items():
    sums = [operations.totals(table(path, *of_seed[path])) for of_seed in per_seed]
    figures |= path_figures(path, sums, f'spikes of {len(images)} {whose} images', pj)
  used = np.array([of_seed['reconstruct'][0]['latent/z'] for of_seed in per_seed])
  share = f'share of the latent channels, spikes of {len(images)} test images'
  figures['latent_never_fires'] = Figure(np.mean(used == 0, axis=1).tolist(), share)
  figures['latent_always_fires'] = Figure(np.mean(used == 1, axis=1).tolist(), share)
  return Result(figures, details)


def path_figures(path: str, sums: list[dict], of: str, pj: tuple) -> dict[str, Figure]:
  """The figures of one way, from its totals of every seed."""
  rate = 'firing_rate' if path == 'reconstruct' else 'firing_rate_generate'
  most = 'synaptic operations over the most possible'
  column = lambda name: [of_seed[name] for of_seed in sums]
  return {
    rate: Figure(column('firing_rate'), f'a neuron and step, {of}'),
    f'sop_rate_{path}': Figure(column('sop_rate'), f'{most}, {of}'),
    f'energy_uj_{path}': Figure(column('energy_uj'), f'{COST}, {of}'),
    f'energy_uj_{path}_ann': Figure([sums[0]['ann_energy_uj']], f'{COST}, VAE of the same shape'),
    f'break_even_rate_{path}': Figure(
      [operations.break_even(sums[0], pj)], 'SOP rate at which spikes cost what the ANN does'
    ),
  }


def layers_of(model: Model, path: str) -> Mapping[str, Any]:
  """The operations of an ANN, which do not depend on its variables."""
  assert model.sample
  key = jax.random.key(0)

  @jax.jit
  def run():
    variables = model.init(key)
    latent = model.sample(variables, key, 1)
    image_BHWC = model.decode(variables, latent) if path == 'reconstruct' else None
    return model.operations(variables, latent, image_BHWC)

  return jax.device_get(run())


def _ann_energy(layers, pj):
  macs = sum(operations.count(layer)['multiply_accumulates'] for layer in layers.values())
  return Figure([operations.energy_uj(0.0, macs, pj)], COST)


def of_reconstruction(model: Model, variables: Any, key: jax.Array, images_BHWC: jax.Array) -> Any:
  """Rates and operations, {layer: ...} each, while images are reconstructed."""
  image_BHWC = data.normalize(images_BHWC)
  latent = model.encode(variables, image_BHWC, key)
  return records(model, variables, latent, image_BHWC)


def of_generation(model: Model, variables: Any, key: jax.Array, rows_B: jax.Array) -> Any:
  """The same while as many images as there are rows are generated."""
  assert model.sample
  return records(model, variables, model.sample(variables, key, len(rows_B)))


def records(model: Model, variables: Any, *on: jax.Array) -> Any:
  """(rates, operations) on a latent, and an image if given."""
  assert model.record
  rates = model.record('rates', variables, *on)
  return rates, jax.tree.map(jnp.asarray, model.operations(variables, *on))

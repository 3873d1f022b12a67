"""How often neurons fire, and what that costs: the counts of operations.py on real spikes."""

import jax
import numpy as np

from fsvae_jax import data
from fsvae_jax.metrics import operations
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.trained import Trained

COST = 'µJ an image, synapses only, 45 nm figures'


def evaluate(trained: Trained) -> Result:
  """Firing rates, energies and their tables; of an ANN its energy alone."""
  c, pj = trained.config.model, (trained.config.eval.ac_pj, trained.config.eval.mac_pj)
  if trained.model.record is None:
    return Result(_ann_figures(c, pj))
  layers = operations.layers(c.image_size, c.channels, c.features, c.latent_dim, c.draws)
  rates = firing_rates(trained)

  def table(path, rates, rule='events'):
    return operations.path_table(layers, path, rates[path], c.timesteps, pj, rule)

  pooled = jax.tree.map(lambda *of_seeds: np.mean(of_seeds, axis=0), *rates)
  tables = {path: table(path, pooled) for path in operations.PATHS}
  nominal = {path: operations.totals(table(path, pooled, 'nominal')) for path in operations.PATHS}
  table_2 = operations.reference_table(layers, pooled['reconstruct'], c.timesteps)
  details = {
    'layers': tables,
    'totals': {path: operations.totals(rows) for path, rows in tables.items()},
    'totals_nominal': nominal,
    'reference_table': dict(zip(('additions', 'multiplications'), table_2, strict=True)),
    'latent_rates': pooled['reconstruct']['latent/z'].tolist(),
    'pj': {'accumulate': pj[0], 'multiply_accumulate': pj[1]},
  }
  figures: dict[str, Figure] = {}
  for path, images in (('reconstruct', 'test'), ('generate', 'generated')):
    of = f'spikes of {probe_count(trained)} {images} images'
    sums = [operations.totals(table(path, of_seed)) for of_seed in rates]
    rate = 'firing_rate' if path == 'reconstruct' else 'firing_rate_generate'
    figures |= {
      rate: Figure([s['firing_rate'] for s in sums], f'a neuron and step, {of}'),
      f'sop_rate_{path}': Figure(
        [s['sop_rate'] for s in sums], f'synaptic operations over the most possible, {of}'
      ),
      f'energy_uj_{path}': Figure([s['energy_uj'] for s in sums], f'{COST}, {of}'),
      f'energy_uj_{path}_ann': Figure([sums[0]['ann_energy_uj']], f'{COST}, VAE of the same shape'),
      f'break_even_rate_{path}': Figure(
        [operations.break_even(sums[0], pj)], 'SOP rate at which spikes cost what the ANN does'
      ),
    }
  used = np.array([of_seed['reconstruct']['latent/z'] for of_seed in rates])
  share = f'share of the latent channels, spikes of {probe_count(trained)} test images'
  figures['latent_never_fires'] = Figure(np.mean(used == 0, axis=1).tolist(), share)
  figures['latent_always_fires'] = Figure(np.mean(used == 1, axis=1).tolist(), share)
  return Result(figures, details)


def _ann_figures(c, pj):
  layers = operations.layers(c.image_size, c.channels, c.features, c.latent_dim, draws=1)
  figures = {}
  for path, networks in operations.PATHS.items():
    total = sum(operations.ann_count(layer) for layer in layers if layer.network in networks)
    figures[f'energy_uj_{path}'] = Figure([1e-6 * pj[1] * total], COST)
  return figures


def probe_count(trained: Trained) -> int:
  """How many images are probed: at most `eval.probe`, and such that no batch is filled up."""
  size, devices = trained.batch_size, jax.device_count()
  count = min(trained.config.eval.probe, len(trained.test_images))
  return count // size * size or count // devices * devices or count


def firing_rates(trained: Trained) -> list[dict]:
  """[{'reconstruct' | 'generate': {record: spikes a neuron and step}}], one of each seed."""
  model, count = trained.model, probe_count(trained)

  def reconstruct(variables, key, images):
    image_BHWC = data.normalize(images)
    latent = model.encode(variables, image_BHWC, key)
    return as_rows(model.record('rates', variables, latent, image_BHWC))

  def generate(variables, key, rows):
    return as_rows(model.record('rates', variables, model.sample(variables, key, len(rows))))

  def as_rows(records):  # one row a batch
    return {name: values[None] for name, values in records.items()}

  def mean(function, rows, seed):
    return jax.tree.map(lambda x: x.mean(0), trained.over(function, rows, seed=seed))

  return [
    {
      'reconstruct': mean(reconstruct, trained.test_images[:count], seed),
      'generate': mean(generate, np.arange(count), seed),
    }
    for seed in range(trained.config.eval.seeds)
  ]

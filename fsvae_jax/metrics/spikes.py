"""How often neurons fire, and what that costs: the counts of operations.py on real spikes."""

import numpy as np

from fsvae_jax import data
from fsvae_jax.metrics import operations
from fsvae_jax.metrics.result import Figure, Result

RULES = ('events', 'nominal')


def evaluate(trained):
  """Firing rates, energies and their tables; for a conventional network its energy alone."""
  c, pj = trained.config.model, (trained.config.eval.ac_pj, trained.config.eval.mac_pj)
  if trained.model.record is None:
    return Result(_ann_figures(trained, pj))
  layers = operations.layers(c.image_size, c.channels, c.features, c.latent_dim, c.draws)
  seeds = [rates(trained, seed) for seed in range(trained.config.eval.seeds)]
  pooled = {
    path: {name: np.mean([s[path][name] for s in seeds], axis=0) for name in seeds[0][path]}
    for path in operations.PATHS
  }
  tables = {
    path: operations.path_table(layers, path, pooled[path], c.timesteps, pj)
    for path in operations.PATHS
  }
  details = {
    'layers': tables,
    'totals': {
      rule: {
        path: operations.totals(
          operations.path_table(layers, path, pooled[path], c.timesteps, pj, rule)
        )
        for path in operations.PATHS
      }
      for rule in RULES
    },
    'reference_table': dict(
      zip(
        ('additions', 'multiplications'),
        operations.reference_table(layers, pooled['reconstruct'], c.timesteps),
        strict=True,
      )
    ),
    'latent_rates': pooled['reconstruct']['latent/z'].tolist(),
    'pj': {'accumulate': pj[0], 'multiply_accumulate': pj[1]},
  }
  return Result(_figures(trained, layers, seeds, pj), details)


def _figures(trained, layers, seeds, pj):
  count, timesteps = probe_count(trained), trained.config.model.timesteps
  of = {
    'reconstruct': f'spikes of {count} test images',
    'generate': f'spikes of {count} generated images',
  }
  costs = 'µJ an image, synapses only, 45 nm figures'
  figures = {}
  for path in operations.PATHS:
    sums = [
      operations.totals(operations.path_table(layers, path, s[path], timesteps, pj)) for s in seeds
    ]
    what = {
      f'firing_rate_{path}': ('firing_rate', f'spikes a neuron and step, {of[path]}'),
      f'rate_by_targets_{path}': ('rate_by_targets', f'each neuron by its targets, {of[path]}'),
      f'energy_uj_{path}': ('energy_uj', f'{costs}, {of[path]}'),
    }
    for name, (column, protocol) in what.items():
      figures[name] = Figure([s[column] for s in sums], protocol)
    twin = f'{costs}: the conventional VAE of the same shape'
    figures[f'energy_uj_{path}_ann'] = Figure([sums[0]['ann_energy_uj']], twin)
    figures[f'break_even_rate_{path}'] = Figure(
      [operations.break_even(sums[0], pj)], 'rate by targets at which spikes cost what the ANN does'
    )
  figures = {'firing_rate': figures.pop('firing_rate_reconstruct'), **figures}
  used = np.array([s['reconstruct']['latent/z'] for s in seeds])
  figures['latent_never_fires'] = Figure(
    np.mean(used == 0, axis=1).tolist(), f'share of the latent channels, {of["reconstruct"]}'
  )
  figures['latent_always_fires'] = Figure(
    np.mean(used == 1, axis=1).tolist(), f'share of the latent channels, {of["reconstruct"]}'
  )
  return figures


def _ann_figures(trained, pj):
  c = trained.config.model
  layers = operations.layers(c.image_size, c.channels, c.features, c.latent_dim, draws=1)
  figures = {}
  for path, networks in operations.PATHS.items():
    total = sum(operations.ann_twin(layer) for layer in layers if layer.network in networks)
    figures[f'energy_uj_{path}'] = Figure(
      [1e-6 * pj[1] * total], 'µJ an image, synapses only, 45 nm figures'
    )
  return figures


def probe_count(trained):
  """How many images are probed: `eval.probe`, but whole batches, and no more than there are."""
  size, wanted = trained.config.test.batch_size, trained.config.eval.probe
  return max(1, min(wanted, len(trained.test_images)) // size) * size


def rates(trained, seed):
  """{'reconstruct' | 'generate': {record: spikes a neuron and step}}, means over probed images."""
  model, count = trained.model, probe_count(trained)

  def reconstruct(variables, key, images):
    image_BHWC = data.normalize(images)
    latent = model.encode(variables, image_BHWC, key)
    return _as_rows(model.record('rates', variables, latent, image_BHWC))

  def generate(variables, key, rows):
    return _as_rows(model.record('rates', variables, model.sample(variables, key, len(rows))))

  inputs = {reconstruct: trained.test_images[:count], generate: np.arange(count)}
  return {
    function.__name__: {
      name: values.mean(0) for name, values in trained.over(function, rows, seed=seed).items()
    }
    for function, rows in inputs.items()
  }


def _as_rows(records):
  return {name: values[None] for name, values in records.items()}

"""How often neurons fire, and what that costs: the counts of operations.py on real spikes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsvae_jax import data, inference, models
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import operations
from fsvae_jax.metrics.made import Made
from fsvae_jax.metrics.result import Figure, Metric, Result, fixed
from fsvae_jax.models import Model

PATHS = {'reconstruct': 'test', 'generate': 'generated'}  # an image's ways, and whose spikes


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """Firing rates, energies and their tables; of an ANN its energy alone."""
  c, pj = trained.config.model, (trained.config.eval.ac_pj, trained.config.eval.mac_pj)
  if trained.model.record is None:
    own = layers_of(trained.model, c).items()
    return fixed(Result({f'energy_uj_{path}': _ann_energy(layers, pj) for path, layers in own}))
  ann = layers_of(models.ann_of(c), c)
  count = min(trained.config.eval.probe, len(images_of('test')))
  counts = {'reconstruct': count, 'generate': min(count, trained.config.eval.images)}
  table = lambda path, rates, layers: operations.table(layers, rates, ann[path], c.timesteps, pj)
  return Metric(
    lambda made: measure(made, counts), lambda per_seed: figures_of(per_seed, table, counts, pj)
  )


def measure(made: Made, counts: dict[str, int]) -> dict:
  """{path: `records`} of the first so many test images, and generated ones."""
  arrays = {'reconstruct': (made.latents, made.test_images), 'generate': (made.samples,)}
  return {
    path: made.trained.means(records, *(x[: counts[path]] for x in arrays[path])) for path in PATHS
  }


def figures_of(per_seed: list[dict], table: Callable, counts: dict[str, int], pj: tuple) -> Result:
  """Figures and tables of what `measure` gave; `table` is of a path, its rates and layers."""
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
    figures |= path_figures(path, sums, f'spikes of {counts[path]} {whose} images', pj)
  used = np.array([of_seed['reconstruct'][0]['latent/z'] for of_seed in per_seed])
  share = f'share of the latent channels, spikes of {counts["reconstruct"]} test images'
  figures['latent_never_fires'] = Figure(np.mean(used == 0, axis=1).tolist(), share)
  figures['latent_always_fires'] = Figure(np.mean(used > 1 - 1e-6, axis=1).tolist(), share)
  return Result(figures, details)


def path_figures(path: str, sums: list[dict], of: str, pj: tuple) -> dict[str, Figure]:
  """The figures of one way, from its totals of every seed."""
  rate = 'firing_rate' if path == 'reconstruct' else 'firing_rate_generate'
  most = 'synaptic operations over the most possible'
  column = lambda name: [of_seed[name] for of_seed in sums]
  return {
    rate: Figure(column('firing_rate'), f'a neuron and step, {of}'),
    f'sop_rate_{path}': Figure(column('sop_rate'), f'{most}, {of}'),
    f'energy_uj_{path}': Figure(column('energy_uj'), f'{cost(pj)}, {of}'),
    f'energy_uj_{path}_ann': Figure(
      [sums[0]['ann_energy_uj']], f'{cost(pj)}, VAE of the same shape'
    ),
    f'break_even_rate_{path}': Figure(
      [operations.break_even(sums[0], pj)], 'SOP rate at which spikes cost what the ANN does'
    ),
  }


def cost(pj: tuple[float, float]) -> str:
  """How energies are counted, for their protocols."""
  addition, multiplication = pj
  return (
    f'µJ an image, synapses only, {addition:g} pJ an addition, {multiplication:g} pJ a '
    'multiplication with addition'
  )


def layers_of(model: Model, c: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
  """{path: the operations of an ANN of `config.model`'s image size}, whatever its variables.

  One without a prior generates nothing.
  """
  key = jax.random.key(0)

  @jax.jit
  def run():
    variables = model.init(key)
    image = jnp.zeros((1, c['image_size'], c['image_size'], c['channels']))
    latent = model.encode(variables, image, key)
    on = {'reconstruct': (latent, image)} | ({'generate': (latent,)} if model.sample else {})
    return {path: model.operations(variables, *arrays) for path, arrays in on.items()}

  return jax.device_get(run())


def _ann_energy(layers, pj):
  macs = sum(operations.count(layer)['multiply_accumulates'] for layer in layers.values())
  return Figure([operations.energy_uj(0.0, macs, pj)], cost(pj))


def records(model: Model, variables: Any, key: jax.Array, latent: jax.Array, *image_BHWC) -> Any:
  """(rates, operations), {layer: ...} each, while a latent was made of images, if given, or sampled
  from the prior, and while it is decoded."""
  del key
  assert model.record
  on = latent, *map(inference.pixels, image_BHWC)
  rates = model.record('rates', variables, *on)
  return rates, jax.tree.map(jnp.asarray, model.operations(variables, *on))

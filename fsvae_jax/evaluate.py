"""Evaluation of a checkpoint: metrics, eval.json, pictures, the report."""

import importlib.metadata
import os
import pathlib
import platform
import time

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from fsvae_jax import data, fields, report
from fsvae_jax.metrics import LEAST_IMAGES, METRICS, robustness
from fsvae_jax.metrics.result import Result
from fsvae_jax.run import console, files, writer
from fsvae_jax.trained import Trained


def check(config: ConfigDict) -> None:
  """Raises ValueError for an `eval` section that cannot be used, naming what is wrong."""
  unknown = set(config.eval.metrics) - set(METRICS)
  if unknown:
    known = ', '.join(METRICS)
    raise ValueError(f'unknown eval.metrics {", ".join(sorted(unknown))}; known: {known}')
  fields.check('eval', config.eval)
  for name in config.eval.metrics:
    least = LEAST_IMAGES.get(name, 1)
    if config.eval.images < least:
      raise ValueError(
        f'eval.images is {config.eval.images}, too few for the metric {name}: it must be at least '
        f'{least}, or leave {name} out of eval.metrics'
      )


def evaluate(
  config: ConfigDict, workdir: str | pathlib.Path, step: int | str | None = None
) -> dict:
  """Computes `config.eval.metrics` of a checkpoint; writes eval.json and report.html in `workdir`.

  Every figure is {'mean', 'std', 'seeds', 'protocol'}: over `eval.seeds` seeds of all draws. What
  is finished is in eval.json at once, whatever happens to the metrics after it; figures that are
  there already, of the same checkpoint on the same machine, stay unless they are computed anew.

  Returns:
    The contents of eval.json.

  Raises:
    ValueError, FileNotFoundError: for an unknown metric or a checkpoint that is not there.
  """
  check(config)
  trained = Trained(config, workdir, step)
  workdir = trained.workdir
  results = {'run': about(trained), 'seconds': {}, 'missing': {}, 'details': {}}
  earlier = read(workdir / 'eval.json')
  results = earlier if earlier.get('run') == results['run'] else results
  for name in config.eval.metrics:
    begin = time.perf_counter()
    result = METRICS[name](trained)
    results |= {figure: value.summary() for figure, value in result.figures.items()}
    results['seconds'][name] = round(time.perf_counter() - begin, 1)
    results['details'][name], results['missing'][name] = result.details, result.missing
    save(workdir / 'eval.json', results)
    say(result)
  results['ann'] = figures_of_ann(config, workdir, results)
  save(workdir / 'eval.json', results)
  say_ann(config, results)
  shown = pictures(trained), rasters(trained)
  if jax.process_index() == 0:
    report.write(workdir, results, config.to_dict(), writer.read_metrics(workdir), *shown)
    console.say(f'figures are in {workdir}/eval.json, the report is {workdir}/report.html')
  return results


def read(path: pathlib.Path) -> dict:
  """The contents of an eval.json; {} if there is none, or, with a warning, if it is damaged."""
  try:
    return files.read_json(path)
  except ValueError as error:
    logging.warning('%s; it is made anew', error)
    return {}


def save(path: pathlib.Path, results: dict) -> None:
  """Writes JSON; the file is whole at any moment."""
  if jax.process_index() == 0:
    files.write_text(path, files.to_json(results, 1) + '\n')


def say(result: Result) -> None:
  """Prints a metric's figures."""
  for figure, value in result.figures.items():
    s = value.summary()
    spread = '' if s['std'] is None else f' +- {s["std"]:.2g} ({s["seeds"]} seeds)'
    console.say(f'{figure:32s} {s["mean"]:.4g}{spread}')
  if result.missing:
    console.say(f'not computed: {result.missing}')


def say_ann(config: ConfigDict, results: dict) -> None:
  """Prints the ANN VAE's distance beside the model's."""
  if config.model.name != 'fsvae' or 'fad' not in results:
    return
  if 'fad' in results['ann']:
    console.say(f'{"fad of the ANN VAE":32s} {results["ann"]["fad"]["mean"]:.4g}')
  else:
    console.say('no ANN VAE to compare with: --config=mnist:ann trains one for mnist; see eval.ann')


def about(trained: Trained) -> dict:
  """What was evaluated, with which versions, on what."""
  device = jax.devices()[0]
  versions = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
    'model': trained.config.model.name,
    'data': trained.config.data.name,
    'step': trained.step,
    'test_images': len(trained.test_images),
    'generated_images': trained.config.eval.images,
    'parameters': sum(x.size for x in jax.tree.leaves(trained.variables['params'])),
    'devices': f'{jax.device_count()} x {device.device_kind} ({device.platform})',
    'host': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
    'versions': {'python': platform.python_version()}
    | {name: importlib.metadata.version(name) for name in versions},
  }


def figures_of_ann(config: ConfigDict, workdir: str | pathlib.Path, results: dict) -> dict:
  """Figures of the ANN VAE in `eval.ann`, or `<workdir>_ann`, that were taken in the same way."""
  if config.model.name != 'fsvae':
    return {}
  theirs = read(files.expand(config.eval.ann or f'{workdir}_ann', 'eval.ann') / 'eval.json')
  if theirs.get('run', {}).get('data') != results['run']['data']:
    return {}
  return {
    name: value
    for name, value in theirs.items()
    if 'protocol' in value and value['protocol'] == results.get(name, {}).get('protocol')
  }


def pictures(trained: Trained, count: int = 16) -> dict[str, bytes]:
  """PNG pictures for the report, {name: bytes}."""
  images = np.asarray(trained.test_images[:count])
  again = data.quantize(trained.reconstruct(images))
  made = {'reconstructions': writer.grid(np.concatenate([images, again]), len(images))}
  if trained.model.sample is not None:
    made['samples'] = writer.grid(np.asarray(data.quantize(trained.generate(64))), 8)
    if len(images) > 1:
      made['interpolation'] = writer.grid(interpolations(trained, images[:8]), 8)
  return {name: writer.png(picture) for name, picture in made.items()}


def interpolations(trained: Trained, images: np.ndarray, steps: int = 8) -> np.ndarray:
  """uint8 images from each first of a pair of `images` to the second, through the latent."""
  latents, rng = trained.encode(images), np.random.default_rng(trained.config.seed)
  if trained.model.record is None:
    path = lambda a, b: np.stack([a + s * (b - a) for s in np.linspace(0, 1, steps)])
  else:
    path = lambda a, b: robustness.interpolate(a, b, steps, rng)
  ways = [path(a, b) for a, b in zip(latents[::2], latents[1::2], strict=False)]
  return np.asarray(data.quantize(trained.decode(np.concatenate(ways))))


def rasters(trained: Trained) -> dict[str, np.ndarray]:
  """Spikes of the first test image, {layer: [T, neurons]}; {} for a model without spikes."""
  model = trained.model
  if (record := model.record) is None:
    return {}

  def of_image(variables, key, images):
    image_BHWC = data.normalize(images)
    latent = model.encode(variables, image_BHWC, key)
    return record('spikes', variables, latent, image_BHWC)

  spikes = trained.over(of_image, trained.test_images[:1])
  return {name: x_BTF[0].reshape(len(x_BTF[0]), -1) for name, x_BTF in spikes.items()}


def write_images(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  mode: str,
  count: int,
  step: int | str | None = None,
  seed: int = 0,
) -> None:
  """Writes `count` generated images, or reconstructed test images, below `workdir`.

  Args:
    mode: 'generate' or 'reconstruct'; also the name of the folder.
    count: number of images.
    step: of the checkpoint; default: the newest.
    seed: of the draws.

  Raises:
    ValueError: for a count below one or above the number of test images.
  """
  trained = Trained(config, workdir, step)
  if count < 1 or (mode == 'reconstruct' and count > len(trained.test_images)):
    most = f' and at most {len(trained.test_images)}' if mode == 'reconstruct' else ''
    raise ValueError(f'--count is {count}; it must be at least 1{most}')
  if mode == 'generate':
    arrays = {'generated': np.asarray(data.quantize(trained.generate(count, seed)))}
  else:
    images = np.asarray(trained.test_images[:count])
    again = np.asarray(data.quantize(trained.reconstruct(images, seed)))
    arrays = {'images': images, 'reconstructions': again}
  folder = trained.workdir / mode
  if jax.process_index() == 0:
    writer.save_images(folder, columns=8, **arrays)
    console.say(
      f'{count} images of step {trained.step} are in {folder}: grid.png, images.npz, single PNGs'
    )

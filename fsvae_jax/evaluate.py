"""Evaluation of a checkpoint: metrics, eval.json, pictures, the report."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

import fsvae_jax
from fsvae_jax import data, fields, inference, report, samples, train
from fsvae_jax.compute import checks
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import LEAST_IMAGES, METRICS, OF_ALL_TEST_IMAGES, fad
from fsvae_jax.metrics.made import Made
from fsvae_jax.metrics.result import Result
from fsvae_jax.run import (
  console,
  distributed,
  files,
  pictures,
  progress,
  sharding,
  signals,
  writer,
)
from fsvae_jax.run import workdir as workdirs


def check(config: ConfigDict) -> None:
  """Checks the section `eval`.

  Raises:
    ValueError, FileNotFoundError: if it cannot be used, naming what is wrong.
  """
  fields.check('eval', config.eval)
  for name in config.eval.metrics:
    least = LEAST_IMAGES.get(checks.one_of('eval.metrics', name, METRICS), 1)
    if config.eval.images < least:
      raise ValueError(
        f'eval.images is {config.eval.images}, too few for the metric {name}: it must be at least '
        f'{least}, or leave {name} out of eval.metrics'
      )
  if 'fad' in config.eval.metrics:
    check_autoencoders(config)
    if config.eval.fad_reference:
      try:
        fad.authors(config)
      except (ValueError, FileNotFoundError, ImportError) as error:
        raise ValueError(
          f'eval.fad_reference is {config.eval.fad_reference}: {error}; name another folder, or '
          'leave it empty'
        ) from error
  if config.eval.inception:
    files.expand(config.eval.inception, 'eval.inception')
  named_runs(config)


def check_autoencoders(config: ConfigDict) -> None:
  """Checks that the autoencoder of the Frechet distance can be kept; ValueError if not."""
  folder = workdirs.check(fad.autoencoders(config), 'data.cache_dir')
  there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
  if not files.is_writable(there) and not list(folder.glob(f'{config.data.name}-*/finished')):
    raise ValueError(
      f'data.cache_dir: {folder} cannot be written, so that no autoencoder can be trained for the '
      'metric fad: take another data.cache_dir, or leave fad out of eval.metrics'
    )


def evaluate(
  config: ConfigDict, workdir: str | pathlib.Path, step: int | str | None = None
) -> dict:
  """Computes `config.eval.metrics` of a checkpoint; writes eval.json and report.html in `workdir`.

  Every figure is {'mean', 'std', 'seeds', 'protocol'}: over `eval.seeds` seeds of all draws. It is
  in eval.json as soon as its first seed is done, and grows seed by seed, so that an evaluation that
  is stopped keeps what it has. Figures of the same weights, versions and machine that are there
  already stay, unless they are computed anew.

  Returns:
    The contents of eval.json.

  Raises:
    ValueError, FileNotFoundError: for an unknown metric or a checkpoint that is not there.
  """
  check(config)
  workdirs.check_writable(workdir, ['pictures'])
  trained = inference.restore(config, workdir, step)
  workdir = trained.workdir
  with distributed.alone(workdir / '.eval.lock'):  # else one's figures would replace another's
    images_of = functools.cache(trained.images)  # read when a metric asks, once
    run = about(trained, images_of('test'))
    results = {'run': run, 'figures': {}, 'seconds': {}, 'missing': {}, 'details': {}}
    earlier = read(workdir / 'eval.json')
    if earlier.get('run') and earlier['run'].items() <= run.items():  # older ones know less of it
      results = results | earlier | {'run': run}
    if 'fad' in config.eval.metrics:
      train_autoencoder(config, images_of)
    made, rasters = take(trained, images_of, results)
    results['compared'] = compared(trained, results)
    save(workdir / 'eval.json', results)
    say_compared(trained, results)
    if jax.process_index() == 0:
      (workdir / 'pictures').mkdir(exist_ok=True)
      for (name, kind), encoded in made.items():
        files.write_bytes(pictures.path(workdir, name, trained.step, kind), encoded)
      report.write(workdir, results, config.to_dict(), writer.read_metrics(workdir), rasters)
      console.say(f'figures are in {workdir}/eval.json, the report is {workdir}/report.html')
  return results


def take(trained: Trained, images_of: Callable[[str], data.Images], results: dict) -> tuple:
  """Takes the metrics into `results`, seed by seed: they share what the model makes of a seed.

  Returns:
    Pictures and rasters for the report, of the first seed.
  """
  shown: tuple = ()
  metrics, seeds = {}, range(trained.config.eval.seeds)
  for name in trained.config.eval.metrics:
    results['seconds'][name] = 0.0
    with timed(results['seconds'], name):
      metrics[name] = METRICS[name](trained, images_of)
  kept: dict[str, list] = {name: [] for name in metrics}
  of = made_of(trained, images_of('test'))
  with progress.bar(total=len(seeds) * len(metrics), unit='metric') as bar:
    for seed in seeds:
      made = Made(trained, *of, seed)
      for name, metric in metrics.items():
        bar.set_description(f'{name}, seed {seed + 1} of {len(seeds)}')
        with timed(results['seconds'], name):
          kept[name].append(metric.measure(made))
        add(results, name, result := metric.result(kept[name]))
        save(trained.workdir / 'eval.json', results)
        if seed == seeds[-1]:
          say(result)
        bar.update()
      if seed == 0:
        bar.set_description('pictures')
        shown = samples.grids(made, images_of('train')), samples.rasters(made)
  return shown


def made_of(trained: Trained, test_images: data.Images) -> tuple[np.ndarray, int]:
  """The test images that the metrics need, and how many generated ones."""
  c = trained.config.eval
  whole, scored = (set(c.metrics) & set(names) for names in (OF_ALL_TEST_IMAGES, LEAST_IMAGES))
  return test_images[: None if whole else c.probe], c.images if scored else min(c.images, c.probe)


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
  """Adds the seconds of what is done inside to those of `name`."""
  begin = time.perf_counter()
  yield
  seconds[name] = round(seconds[name] + time.perf_counter() - begin, 1)


def train_autoencoder(config: ConfigDict, images_of: Callable[[str], data.Images]) -> None:
  """Trains the autoencoder of the Frechet distance, once for each data set.

  Raises:
    signals.Stopped: if a signal came meanwhile.
  """
  if fad.too_few(images_of):
    return
  own, workdir = fad.autoencoder(config, images_of)
  with distributed.alone(workdir.with_name(f'{workdir.name}.lock')):
    if sharding.from_first((workdir / 'finished').exists() and workdirs.has_checkpoints(workdir)):
      return
    if jax.process_index() == 0:  # of one that is gone
      for name in ('finished', 'test_statistics.npz'):
        (workdir / name).unlink(missing_ok=True)
    console.say(f'training the autoencoder of the Frechet distance, once, in {workdir}')
    done, _ = train.train_and_evaluate(own, workdir)
    if not done:
      raise signals.Stopped('while the autoencoder of the Frechet distance was trained')
    if jax.process_index() == 0:
      files.write_text(workdir / 'finished', '')


def read(path: pathlib.Path) -> dict:
  """The contents of an eval.json; {} if there is none, or, with a warning, if it is damaged.

  Figures that version 0.1 left beside the rest are moved below 'figures'.
  """
  try:
    results = files.read_json(path)
  except ValueError as error:
    logging.warning('%s; it is made anew', error)
    return {}
  if results and 'figures' not in results:
    is_figure = lambda value: isinstance(value, dict) and 'protocol' in value
    figures = {name: value for name, value in results.items() if is_figure(value)}
    results = {name: value for name, value in results.items() if name not in figures}
    results['figures'] = figures
  for name in ('run', 'figures', 'seconds', 'missing', 'details'):
    if not isinstance(results.get(name, {}), dict):
      logging.warning('%s is damaged (its %s is %r); it is made anew', path, name, results[name])
      return {}
  return results


def save(path: pathlib.Path, results: dict) -> None:
  """Writes JSON; the file is whole at any moment."""
  if jax.process_index() == 0:
    files.write_text(path, files.to_json(results, 1) + '\n')


def add(results: dict, name: str, result: Result) -> None:
  """Puts a metric's result into the contents of an eval.json."""
  results['figures'] |= {figure: value.summary() for figure, value in result.figures.items()}
  results['details'][name], results['missing'][name] = result.details, result.missing


def say(result: Result) -> None:
  """Prints a metric's figures."""
  for figure, value in result.figures.items():
    s = value.summary()
    spread = '' if s['std'] is None else f' +- {s["std"]:.2g} ({s["seeds"]} seeds)'
    console.say(f'{figure:32s} {s["mean"]:.4g}{spread}')
  if result.missing:
    console.say(f'not computed: {result.missing}')


def say_compared(trained: Trained, results: dict) -> None:
  """Prints the distances of other runs beside the model's."""
  if 'fad' not in results['figures']:
    return
  for folder, theirs in results['compared'].items():
    if 'fad' in theirs['figures']:
      name = f'fad of {pathlib.Path(folder).name}'
      console.say(f'{name:32s} {theirs["figures"]["fad"]["mean"]:.4g}')
  if not results['compared'] and trained.model.record is not None:
    console.say(
      'no ANN VAE to compare with: --config=NAME:ann trains one (mnist:ann for mnist); see '
      'eval.compare'
    )


def about(trained: Trained, test_images: data.Images) -> dict:
  """What was evaluated, with which versions, on what."""
  device = jax.devices()[0]
  versions = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
    'model': trained.config.model.name,
    'data': trained.config.data.name,
    'step': trained.step,
    'test_images': len(test_images),
    'parameters': sum(x.size for x in jax.tree.leaves(trained.variables['params'])),
    'weights': mark(trained.variables),
    'devices': f'{jax.device_count()} x {device.device_kind} ({device.platform})',
    'host': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
    'fsvae_jax': fsvae_jax.__version__,
    'versions': {'python': platform.python_version()}
    | {name: importlib.metadata.version(name) for name in versions},
  }


def mark(variables: Any) -> str:
  """Eight digits that differ for other parameters or statistics."""
  digest = hashlib.sha256()
  for x in jax.tree.leaves(jax.device_get(variables)):
    digest.update(x.tobytes())
  return digest.hexdigest()[:8]


def named_runs(config: ConfigDict) -> list[pathlib.Path]:
  """The folders that `eval.compare` names.

  Raises:
    ValueError, FileNotFoundError: naming one that has no figures, or those of another data set.
  """
  text = config.eval.compare.strip()
  one = text and os.path.isfile(files.expand(text, 'eval.compare') / 'eval.json')  # with commas
  names = [text] if one else filter(None, map(str.strip, text.split(',')))
  folders = [files.expand(name, 'eval.compare') for name in names]
  for folder in folders:
    theirs = read(folder / 'eval.json')
    if not theirs:
      raise FileNotFoundError(
        f'eval.compare names {folder}, which has no eval.json: --mode=eval --workdir={folder} '
        'makes it, or leave that run out'
      )
    their_data = theirs.get('run', {}).get('data')
    if their_data != config.data.name:
      raise ValueError(
        f'eval.compare names {folder}, a run on {their_data}; this one is on {config.data.name}: '
        'leave it out'
      )
  return folders


def compared(trained: Trained, results: dict) -> dict[str, dict]:
  """{folder: {'run', 'figures'}} of the runs in `eval.compare`, or else `<workdir>_ann`, if any.

  Figures that were taken in another way are left out, and runs on other test images.
  """
  protocol = lambda name: results['figures'].get(name, {}).get('protocol')
  same = lambda name, value: value['protocol'] == protocol(name) and value['mean'] is not None
  found = {}
  own = trained.workdir
  if own.name in ('', '..'):  # where this process is, or above
    own = pathlib.Path(os.path.abspath(own))
  for folder in named_runs(trained.config) or [pathlib.Path(f'{own}_ann')]:
    theirs = read(folder / 'eval.json')
    if not workdirs.same_images(own, folder, 'test'):
      logging.warning('%s was evaluated on other test images, and is left out', folder)
    elif theirs.get('run', {}).get('data') == results['run']['data']:
      figures = {name: value for name, value in theirs['figures'].items() if same(name, value)}
      found[str(folder)] = {'run': theirs['run'], 'figures': figures}
  return found

"""Evaluation of a checkpoint: metrics, eval.json, pictures, the report."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, fields, figures, inference, report, samples, train
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
  figures.named_runs(config)


def check_autoencoders(config: ConfigDict) -> None:
  """Checks that the autoencoder of the Frechet distance can be kept; ValueError if not."""
  folder = workdirs.check(fad.autoencoders(config), 'data.cache_dir')
  if not files.is_writable(files.nearest(folder)) and not list(
    folder.glob(f'{config.data.name}-*/finished')
  ):
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
    run = figures.about(trained, images_of('test'))
    results = {'run': run, 'figures': {}, 'seconds': {}, 'missing': {}, 'details': {}}
    earlier = figures.read(workdir / 'eval.json')
    if earlier.get('run') and earlier['run'].items() <= run.items():  # older ones know less of it
      results = results | earlier | {'run': run}
    if 'fad' in config.eval.metrics:
      train_autoencoder(config, images_of)
    made, rasters = take(trained, images_of, results)
    results['compared'] = figures.compared(trained, results)
    figures.save(workdir / 'eval.json', results)
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
        figures.add(results, name, result := metric.result(kept[name]))
        figures.save(trained.workdir / 'eval.json', results)
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
  if fad.missing_for(config, images_of):
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

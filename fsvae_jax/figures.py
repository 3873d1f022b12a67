"""The contents of eval.json: what was evaluated, its figures, and those of runs to compare with."""

import importlib.metadata
import os
import pathlib
import platform

import jax
from absl import logging
from ml_collections import ConfigDict

import fsvae_jax
from fsvae_jax import data, inference
from fsvae_jax.inference import Trained
from fsvae_jax.metrics.result import Result
from fsvae_jax.run import files
from fsvae_jax.run import workdir as workdirs


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


def about(trained: Trained, test_images: data.Images) -> dict:
  """What was evaluated, with which versions, on what."""
  device = jax.devices()[0]
  versions = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
    'model': trained.config.model.name,
    'data': trained.config.data.name,
    'step': trained.step,
    'test_images': len(test_images),
    'image_shape': list(test_images.shape[1:]),
    'parameters': sum(x.size for x in jax.tree.leaves(trained.variables['params'])),
    'weights': inference.mark(trained.variables),
    'devices': f'{jax.device_count()} x {device.device_kind} ({device.platform})',
    'host': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
    'fsvae_jax': fsvae_jax.__version__,
    'versions': {'python': platform.python_version()}
    | {name: importlib.metadata.version(name) for name in versions},
  }


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

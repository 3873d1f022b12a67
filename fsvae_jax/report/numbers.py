"""What a run's figures and pictures are beside: other runs', the paper's, its own floor."""

import pathlib
from typing import NamedTuple

from fsvae_jax.report.names import (
  CAPTIONS,
  IMAGE_SHAPES,
  NUMBERS,
  PUBLISHED,
  PUBLISHED_NAMES,
  TEST_IMAGES,
)
from fsvae_jax.run import pictures


class Column(NamedTuple):
  """What stands under one header: figures {name: {'mean', 'std'}} and pictures {name: bytes}."""

  header: str
  figures: dict[str, dict]
  pictures: dict[str, bytes]


def columns(workdir: pathlib.Path, results: dict) -> list[Column]:
  """This run, those that it is compared with, and the paper's figures.

  A column of others without any of this run's figures is left out.
  """
  run, ours = results['run'], results['figures']
  made = []
  names = [pathlib.Path(folder).name for folder in results['compared']]
  for folder, theirs in results['compared'].items():
    other, is_ann = pathlib.Path(folder), theirs['run']['model'] == 'ann_vae'
    name = other.name if names.count(other.name) == 1 else folder
    header = f'ANN VAE {name}' if is_ann else name
    made.append(Column(header, theirs['figures'], pictures.found(other, theirs['run']['step'])))
  for model, values in published(run).items():
    figures = {n: {'mean': x, 'std': None} for n, x in zip(PUBLISHED_NAMES, values, strict=True)}
    made.append(Column(f'paper: {model}', figures, {}))
  shown = [column for column in made if column.pictures or ours.keys() & column.figures.keys()]
  return [Column('this run', ours, pictures.found(workdir, run['step'])), *shown]


def published(run: dict) -> dict[str, tuple[float, ...]]:
  """{model: the paper's figures}; {} for a run on other images than the paper's."""
  ours = run.get('test_images'), run.get('image_shape')  # None of an older run
  theirs = TEST_IMAGES.get(run['data']), IMAGE_SHAPES.get(run['data'])
  same = all(own in (None, other) for own, other in zip(ours, theirs, strict=True))
  return PUBLISHED.get(run['data'], {}) if same else {}


def captions(shown: dict[str, bytes]) -> dict[str, str]:
  """{name: caption} of pictures, in the order in which they are shown."""
  order = [name for name in CAPTIONS if name in shown] + sorted(shown.keys() - CAPTIONS.keys())
  return {name: CAPTIONS.get(name, name.replace('_', ' ').capitalize()) for name in order}


def headline(columns: list[Column], missing: dict[str, str]) -> list[dict]:
  """What the report opens with: title, text, and bars, or why there are none."""
  made, ours = [], columns[0].figures
  for metric, title, text, choices in NUMBERS:
    why = missing.get(metric, f'{metric} is not in eval.metrics') or 'this model has none'
    rows: list[tuple[str, dict]] = []
    if name := next((name for name in choices if name in ours), None):
      rows = [(c.header, c.figures[name]) for c in columns if name in c.figures]
      rows += [(label, ours[other]) for other, label in choices[name].items() if other in ours]
      rows = [(label, figure) for label, figure in rows if figure['mean'] is not None]
    made.append({'title': title, 'text': text, 'missing': why, 'bars': bars(rows)})
  return made


def bars(rows: list[tuple[str, dict]]) -> list[dict]:
  """Labelled figures with the lengths of their bars and of their spread, in percent."""
  top = max((f['mean'] + (f['std'] or 0) for _, f in rows), default=0) or 1
  percent = lambda x: 100 * max(0, x) / top
  made = []
  for label, figure in rows:
    mean, std = figure['mean'], figure['std'] or 0
    bar = {'label': label, 'mean': mean, 'std': std, 'width': percent(mean)}
    made.append(bar | {'spread': (percent(mean - std), percent(mean + std) - percent(mean - std))})
  return made

"""The card of exported weights: README.md with the front matter that hubs of models read."""

import jax

import fsvae_jax
from fsvae_jax import configuration, inference
from fsvae_jax.inference import Trained
from fsvae_jax.report import page
from fsvae_jax.run import files, writer

_CARD = """---
library_name: fsvae_jax
license: mit
pipeline_tag: unconditional-image-generation
datasets: [{data}]
tags: [jax, spiking-neural-networks, variational-autoencoder]
metrics: {metrics}
---

# {model} on {data}

{parameters:,} parameters; images {size} in [-1, 1]. fsvae_jax is a JAX implementation of the Fully
Spiking Variational Autoencoder ([arXiv 2110.00375](https://arxiv.org/abs/2110.00375)).

    import fsvae_jax

    model = fsvae_jax.load('FOLDER')  # with these files
    images = model.generate(64)

Step {step}, seed {seed}, fsvae_jax {version}{time}:

    {command}

{figures}
"""


def text(trained: Trained) -> str:
  """The card of a run, with what its eval.json and metrics.jsonl say, if they are there.

  Raises:
    ValueError: for a file that is damaged.
  """
  config, model = trained.config, trained.config.model
  try:
    evaluated = files.read_json(trained.workdir / 'eval.json')
  except ValueError as error:
    raise ValueError(f'{error}; --mode=eval writes it anew') from error
  run, weights = evaluated.get('run', {}), inference.mark(trained.variables)
  is_of_these = run.get('step') == trained.step and run.get('weights', weights) == weights
  figures = evaluated.get('figures', {}) if is_of_these else {}
  rows = [row for row in writer.read_metrics(trained.workdir) if row['step'] <= trained.step]
  seconds = page.training_seconds(rows, config.train.batch_size)
  return _CARD.format(
    data=config.data.name,
    metrics=files.to_json(list(figures)),
    model=model.name,
    parameters=sum(x.size for x in jax.tree.leaves(trained.variables['params'])),
    size=f'[{model.image_size}, {model.image_size}, {model.channels}]',
    step=trained.step,
    seed=config.seed,
    version=fsvae_jax.__version__,
    time=f', {seconds / 60:.0f} minutes of training steps' if seconds else '',
    command=configuration.command(config),
    figures=_table(figures) if figures else 'These weights were not evaluated.',
  )


def _table(figures):
  lines = ['| figure | mean | standard deviation | protocol |', '|---|---|---|---|']
  for name, value in figures.items():
    spread = '' if value['std'] is None else f'{value["std"]:.2g} ({value["seeds"]} seeds)'
    mean = 'not finite' if value['mean'] is None else f'{value["mean"]:.4g}'
    lines.append(f'| {name} | {mean} | {spread} | {value["protocol"]} |')
  return '\n'.join(lines)

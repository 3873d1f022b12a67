"""The page: one HTML file that needs nothing else, for a desk and for a phone.

page.html says what stands where; here are its charts and numbers.
"""

import base64
import json
import pathlib

import jinja2
import numpy as np

from fsvae_jax.report import charts, numbers
from fsvae_jax.report.names import LABELS, NUMBERS
from fsvae_jax.run import files


def write(
  workdir: pathlib.Path,
  results: dict,
  config: dict,
  metrics: list[dict],
  rasters: dict[str, np.ndarray],
) -> None:
  """Writes `<workdir>/report.html`; pictures are those of the step in `<workdir>/pictures/`.

  Args:
    workdir: path of the run.
    results: the contents of eval.json.
    config: dict, the run's configuration.
    metrics: rows of metrics.jsonl.
    rasters: {layer: [T, neurons] spikes of one test image}; {} for a model without spikes.
  """
  spikes, robustness = (results['details'].get(name) for name in ('spikes', 'robustness'))
  columns = numbers.columns(workdir, results)
  text = template().render(
    results,
    labels=LABELS,
    timesteps=config['model'].get('timesteps'),
    columns=columns,
    captions=numbers.captions(columns[0].pictures),
    numbers=numbers.headline(columns, results['missing']),
    headline_metrics=[metric for metric, *_ in NUMBERS],
    published=bool(numbers.published(results['run'])),
    training_charts=training_charts(metrics, config),
    raster_charts=rasters and raster_charts(rasters),
    spikes=spikes,
    energy_charts=spikes and energy_charts(spikes),
    robustness_charts=robustness and robustness_charts(robustness['curves']),
    facts=facts(results, config, metrics),
    config=json.dumps(config, indent=1),
  )
  files.write_text(workdir / 'report.html', text)


def template() -> jinja2.Template:
  """page.html: all text that it is given is escaped, and a name that is not there is an error."""
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, ''),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters['number'] = number
  environment.filters['base64'] = lambda data: base64.b64encode(data).decode()
  environment.filters['kind'] = kind
  return environment.get_template('page.html')


def kind(data: bytes) -> str:
  """What kind of picture it is, as an address of data names it."""
  return 'gif' if data.startswith(b'GIF8') else 'png' if data.startswith(b'\x89PNG') else 'svg+xml'


def training_charts(metrics: list[dict], config: dict) -> dict[str, bytes]:
  """{caption: SVG} of the curves in metrics.jsonl; {} if there are none."""
  distance = config['model'].get('distance', 'KL divergence')
  drawn = {
    'Reconstruction error during training': ('reconstruction', 'squared error'),
    'Distance of posterior and prior during training': ('distance', distance),
  }
  made = {caption: charts.training(metrics, *curve) for caption, curve in drawn.items()}
  return {caption: svg for caption, svg in made.items() if svg}


def raster_charts(rasters: dict[str, np.ndarray]) -> dict[str, bytes]:
  """{caption: SVG} of one image's way through the layers, in the order of `rasters`."""
  shown = {name: spikes for name, spikes in rasters.items() if not name.startswith('prior/')}
  networks = ', '.join(dict.fromkeys(name.split('/')[0] for name in shown))
  caption = f'Spikes of one test image through {" and ".join(networks.rsplit(", ", 1))}: at most '
  caption += f'{charts.MOST} neurons of a layer to the right, time runs down'
  latent = charts.raster(rasters['latent/z'], 'latent channel')
  return {caption: charts.rasters(shown), 'Its latent z: all that the decoder gets': latent}


def energy_charts(spikes: dict) -> dict[str, bytes]:
  """{caption: SVG} of the firing rates and the energy of every layer."""
  layers = spikes['layers']
  fired = [row for row in layers['reconstruct'] if 'firing_rate' in row]
  rates = charts.bars(fired, {'': ('firing_rate', charts.BLUE)}, 'spikes a neuron and step')
  drawn = {'Firing rate of each layer during reconstruction': rates}
  columns = {'spikes': ('energy_uj', charts.BLUE), 'ANN': ('ann_energy_uj', charts.GREY)}
  for path, what in (('reconstruct', 'a reconstruction'), ('generate', 'a sample')):
    caption = f'Energy of {what}: spikes, and the ANN of the same shape'
    drawn[caption] = charts.bars(layers[path], columns, 'µJ an image')
  use = charts.sorted_rates(spikes['latent_rates'])
  return drawn | {'Use of the latent: how often each channel fires': use}


def robustness_charts(curves: dict) -> dict[str, bytes]:
  """{caption: SVG} of the error against perturbation, and against the number of steps."""
  labels = {
    'dropout': 'share of latent spikes lost',
    'flip': 'share of latent entries flipped',
    'steps': 'time steps after which the decoder stops',
  }
  levels = {
    'nothing changed': dict(curves['dropout'])[0.0],
    'steps in random order': dict(curves['shuffle'])[1],
  }
  return {
    f'Reconstruction error: {label}': charts.robustness(curves[name], label, levels)
    for name, label in labels.items()
  }


def facts(results: dict, config: dict, metrics: list[dict]) -> dict[str, str]:
  """{what: value} of the run: cost and versions."""
  run = results['run']
  told = {'evaluated on': f'{run["devices"]}, {run["host"]}'}
  if speed := [row['images_per_s'] for row in metrics if 'images_per_s' in row]:
    seconds = training_seconds(metrics, config['train']['batch_size'])
    told['training, images/s (median)'] = number(float(np.median(speed)))
    told['training, minutes (steps alone)'] = number(seconds / 60)
  memory = [row['peak_memory_gb'] for row in metrics if 'peak_memory_gb' in row]
  told['peak memory of training, GB'] = number(max(memory)) if memory else 'not recorded'
  told['evaluation, s'] = ', '.join(f'{k} {v:g}' for k, v in results['seconds'].items())
  return told | run['versions']


def training_seconds(metrics: list[dict], batch_size: int) -> float:
  """Seconds that the training steps took, by the speeds in the log."""
  seconds, before = 0.0, 0
  for row in metrics:
    if 'images_per_s' in row:
      seconds += (row['step'] - before) * batch_size / row['images_per_s']
    before = row['step']
  return seconds


def number(value: float | None, digits: int = 3) -> str:
  """A number for people; '' for None."""
  if value is None:
    return ''
  if 1e5 <= abs(value) < 1e9:
    return f'{value / 1e6:.{digits}g} M'
  if abs(value) >= min(1000, 10**digits - 0.5):  # from there on, `g` has exponents
    return f'{value:,.0f}' if abs(value) < 1e5 else f'{value:.1e}'
  return f'{value:.{digits}g}' if value == 0 or abs(value) >= 1e-4 else f'{value:.1g}'

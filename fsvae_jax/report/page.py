"""The page: one HTML file that needs nothing else, for a desk and for a phone."""

import base64
import html
import importlib.resources
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fsvae_jax.report import charts
from fsvae_jax.report.names import CAPTIONS, LABELS, PUBLISHED, PUBLISHED_NAMES
from fsvae_jax.run import files


def write(
  workdir: pathlib.Path,
  results: dict,
  config: dict,
  metrics: list[dict],
  pictures: dict[str, bytes],
  rasters: dict[str, np.ndarray],
) -> None:
  """Writes `<workdir>/report.html`.

  Args:
    workdir: path of the run.
    results: the contents of eval.json.
    config: dict, the run's configuration.
    metrics: rows of metrics.jsonl.
    pictures: {name: bytes of a PNG}.
    rasters: {layer: [T, neurons] spikes of one test image}; {} for a model without spikes.
  """
  run = results['run']
  parts = [heading(run, results), cards(results), figures_table(results)]
  parts += [pictures_section(pictures), training_section(metrics, config)]
  details = results['details']
  if rasters:
    parts.append(spikes_section(rasters))
  if details.get('spikes'):
    parts.append(energy_section(details['spikes']))
  if details.get('robustness'):
    parts.append(robustness_section(details['robustness']['curves']))
  parts.append(run_section(run, results, config, metrics))
  style = importlib.resources.files(__package__).joinpath('style.css').read_text('utf-8')
  title = f'{run["model"]} on {run["data"]}'
  page = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{escape(title)}</title><style>{style}</style></head><body>{"".join(parts)}</body></html>'
  )
  files.write_text(workdir / 'report.html', page)


def heading(run: dict, results: dict) -> str:
  """What this is."""
  missing = ''.join(
    f'<p class="quiet">Not computed: {escape(text)}.</p>'
    for text in results['missing'].values()
    if text
  )
  return (
    f'<h1>{escape(run["model"])} on {escape(run["data"])}</h1>'
    f'<p>Checkpoint of step {run["step"]:,}; {run["parameters"]:,} parameters. Means over sampling '
    'seeds of this one trained model, with their standard deviation.</p>' + missing
  )


def cards(results: dict) -> str:
  """The chief figures."""
  chosen = ('reconstruction_mse', 'fad', 'fid', 'firing_rate', 'energy_uj_reconstruct')
  items = [
    f'<div class="card"><b>{number(results[name]["mean"])}</b>{escape(LABELS[name])}</div>'
    for name in chosen
    if name in results
  ]
  return f'<div class="cards">{"".join(items)}</div>'


def figures_table(results: dict) -> str:
  """All figures, the ANN VAE's and the published ones beside them."""
  run = results['run']
  paper = {
    model: dict(zip(PUBLISHED_NAMES, values, strict=True))
    for model, values in PUBLISHED.get(run['data'], {}).items()
  }
  rows = []
  for name, value in results.items():
    if not isinstance(value, dict) or 'mean' not in value:
      continue
    seeds = f' ({value["seeds"]} seeds)' if value['seeds'] > 1 else ''
    spread = '' if value['std'] is None else f'± {number(value["std"], 2)}'
    rows.append(
      [
        (LABELS.get(name, name.replace('_', ' ')), value['protocol'] + seeds),
        (number(value['mean'], 4), spread),
        number(results['ann'].get(name, {}).get('mean'), 4),
        *(number(paper.get(model, {}).get(name), 4) for model in ('fsvae', 'ann_vae')),
      ]
    )
  header = ['', 'this run', 'ANN VAE here', 'paper: FSVAE', 'paper: ANN VAE']
  keep = [i for i in range(5) if any(row[i] for row in rows)]
  shown = table([header[i] for i in keep], [[row[i] for i in keep] for row in rows])
  note = ''
  if paper:
    note += (
      '<p class="quiet">Paper: arXiv 2110.00375, table 1, after 150 epochs. Distances in the own '
      'code compare with their floor and with the ANN VAE here; the paper has another code.</p>'
    )
  if not results['ann'] and run['model'] == 'fsvae':
    note += '<p class="quiet">No ANN VAE was evaluated beside this run.</p>'
  return f'<h2>Figures</h2>{shown}{note}'


def pictures_section(pictures: dict[str, bytes]) -> str:
  """The grids."""
  first, *others = (
    picture(data, 'png', CAPTIONS[name], pixels=True) for name, data in pictures.items()
  )
  return f'<h2>Images</h2>{first}<div class="charts">{"".join(others)}</div>'


def training_section(metrics: list[dict], config: dict) -> str:
  """Curves of metrics.jsonl."""
  distance = config['model'].get('distance', 'KL divergence')
  drawn = {
    'Reconstruction error during training': charts.training(
      metrics, 'reconstruction', 'squared error'
    ),
    'Distance of posterior and prior during training': charts.training(
      metrics, 'distance', distance
    ),
  }
  shown = [picture(svg, 'svg+xml', caption) for caption, svg in drawn.items() if svg]
  none = '<p class="quiet">There is no metrics.jsonl: the checkpoint was imported.</p>'
  return f'<h2>Training</h2><div class="charts">{"".join(shown) or none}</div>'


def spikes_section(rasters: dict[str, np.ndarray]) -> str:
  """One image's way through the layers."""
  order = [name for name in rasters if name.startswith(('encoder/', 'posterior/'))]
  order += ['latent/z', 'decoder/dense']
  order += [name for name in rasters if name.startswith('decoder/conv')]
  layers = charts.rasters({name: rasters[name] for name in order})
  caption = 'Spikes of one test image through encoder, posterior, latent and decoder: at most 96 '
  caption += 'neurons of a layer to the right, time runs down'
  latent = charts.raster(rasters['latent/z'], 'latent channel')
  shown = picture(layers, 'svg+xml', caption) + picture(latent, 'svg+xml', 'Its latent z')
  return f'<h2>Spikes</h2><div class="charts">{shown}</div>'


def energy_section(spikes: dict) -> str:
  """Firing rates, operations and energy of every layer."""
  fired = [row for row in spikes['layers']['reconstruct'] if 'firing_rate' in row]
  rates = charts.bars(fired, {'': ('firing_rate', charts.BLUE)}, 'spikes a neuron and step')
  shown = picture(rates, 'svg+xml', 'Firing rate of each layer during reconstruction')
  tables = ''
  columns = {'spikes': ('energy_uj', charts.BLUE), 'ANN': ('ann_energy_uj', charts.GREY)}
  for path, what in (('reconstruct', 'a reconstruction'), ('generate', 'a sample')):
    rows, total = spikes['layers'][path], spikes['totals'][path]
    caption = f'Energy of {what}: spikes, and the ANN of the same shape'
    shown += picture(charts.bars(rows, columns, 'µJ an image'), 'svg+xml', caption)
    tables += f'<h3>Operations of {what}</h3>' + operations_table(rows, total)
  use = charts.sorted_rates(spikes['latent_rates'])
  shown += picture(use, 'svg+xml', 'Use of the latent: how often each channel fires')
  return (
    f'<h2>Firing rates and energy</h2><div class="charts">{shown}</div>{tables}'
    f'{energy_note(spikes)}'
  )


def operations_table(rows: list, total: dict) -> str:
  """The layers of one path, and their sum."""
  header = ('layer', 'rate', 'dead', 'accumulates', 'MACs', 'µJ', 'ANN MACs', 'ANN µJ')
  names = 'accumulates multiply_accumulates energy_uj ann_multiply_accumulates ann_energy_uj'
  body = [
    [
      row['layer'],
      number(row.get('firing_rate')),
      f'{row["dead_channels"]}/{row["channels"]}' if 'channels' in row else '',
      *(number(row[name]) for name in names.split()),
    ]
    for row in rows
  ]
  body.append(['sum', number(total['firing_rate']), '', *(number(total[n]) for n in names.split())])
  return table(header, body, last='sum')


def energy_note(spikes: dict) -> str:
  """How it was counted, and what other rules would give."""
  nominal, events = spikes['totals_nominal'], spikes['totals']
  rule, pj = spikes['reference_table'], spikes['pj']
  updates = events['reconstruct']['neuron_updates']
  return (
    f'<p class="quiet">Synapses only: an accumulate {pj["accumulate"]} pJ, a multiply-accumulate '
    f'{pj["multiply_accumulate"]} pJ (32 bits, 45 nm). A spike counts its existing targets; the '
    'constant first layer counts once; tdBN is part of the weights. Not in the sums: '
    f'{number(updates)} neuron updates of a reconstruction, '
    f'{number(updates * pj["multiply_accumulate"] * 1e-6)} µJ if each costs a multiply-accumulate. '
    'Counted whole at the borders, as counters of FLOPs do, a reconstruction would be '
    f"{number(nominal['reconstruct']['energy_uj'])} µJ and the ANN's "
    f'{number(nominal["reconstruct"]["ann_energy_uj"])} µJ. By the counting rules of the published '
    f'table (a batch of 250, with their errors): {rule["additions"]:.1e} additions, '
    f'{rule["multiplications"]:.1e} multiplications; published for MNIST: 5.0e10 and 5.6e8. '
    'A dead channel never fired on any probed image.</p>'
  )


def robustness_section(curves: dict) -> str:
  """Error against perturbation, and against the number of steps."""
  titles = {
    'dropout': 'share of latent spikes lost',
    'flip': 'share of latent entries flipped',
    'steps': 'steps run',
  }
  levels = {
    'nothing changed': dict(curves['dropout'])[0.0],
    'steps in random order': dict(curves['shuffle'])[1],
  }
  shown = ''.join(
    picture(
      charts.robustness(curves[name], label, levels),
      'svg+xml',
      f'Reconstruction error: {label}',
    )
    for name, label in titles.items()
  )
  return f'<h2>Robustness</h2><div class="charts">{shown}</div>'


def run_section(run: dict, results: dict, config: dict, metrics: list[dict]) -> str:
  """Cost, versions and configuration."""
  speed = [row['images_per_s'] for row in metrics if 'images_per_s' in row]
  rows = [('evaluated on', f'{run["devices"]}, {run["host"]}')]
  if speed:
    seconds = training_seconds(metrics, config['train']['batch_size'])
    rows.append(('training, images/s (median)', number(float(np.median(speed)))))
    rows.append(('training, minutes (steps alone)', number(seconds / 60)))
  memory = [row['peak_memory_gb'] for row in metrics if 'peak_memory_gb' in row]
  rows.append(('peak memory of training, GB', number(max(memory)) if memory else 'not recorded'))
  rows.append(('evaluation, s', ', '.join(f'{k} {v:g}' for k, v in results['seconds'].items())))
  rows += list(run['versions'].items())
  cells = ''.join(
    f'<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>' for name, value in rows
  )
  return (
    f'<h2>The run</h2><table class="told">{cells}</table>'
    '<details><summary>configuration</summary>'
    f'<pre>{escape(json.dumps(config, indent=1))}</pre></details>'
  )


def training_seconds(metrics: list[dict], batch_size: int) -> float:
  """Seconds that the training steps took, by the speeds in the log."""
  seconds, before = 0.0, 0
  for row in metrics:
    if 'images_per_s' in row:
      seconds += (row['step'] - before) * batch_size / row['images_per_s']
    before = row['step']
  return seconds


def table(header: Sequence[str], rows: list, last: str = '') -> str:
  """An HTML table that scrolls sideways by itself. A cell is text, or (text, note under it); `last`
  is the class of the last row."""
  head = ''.join(f'<th>{escape(cell)}</th>' for cell in header)
  body = ''
  for i, row in enumerate(rows):
    kind = last if i == len(rows) - 1 else ''
    body += f'<tr class="{kind}">{"".join(f"<td>{noted(cell)}</td>" for cell in row)}</tr>'
  return (
    f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
  )


def noted(cell: Any) -> str:
  """A cell's text, with its note."""
  if isinstance(cell, tuple):
    return f'{escape(cell[0])}<small>{escape(cell[1])}</small>'
  return escape(cell)


def number(value: float | None, digits: int = 3) -> str:
  """A number for people; '' for None."""
  if value is None:
    return ''
  if 1e5 <= abs(value) < 1e9:
    return f'{value / 1e6:.{digits}g} M'
  if abs(value) >= 1000:
    return f'{value:,.0f}' if abs(value) < 1e5 else f'{value:.1e}'
  return f'{value:.{digits}g}' if value == 0 or abs(value) >= 1e-4 else f'{value:.1g}'


def escape(value: Any) -> str:
  """Text for HTML."""
  return html.escape(str(value))


def picture(data: bytes, kind: str, caption: str, pixels: bool = False) -> str:
  """A figure with its bytes inside; `kind` is png or svg+xml."""
  source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  style = ' class="pixels"' if pixels else ''
  alt = escape(caption)
  return f'<figure><img{style} src="{source}" alt="{alt}"><figcaption>{alt}</figcaption></figure>'

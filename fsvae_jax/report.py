"""The report of a run: one HTML file that needs nothing else, for a desk and for a phone."""

import base64
import html
import io
import json

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = '#2563a8', '#d97a1c', '#9aa0a6'
STYLE = {'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}

# arXiv 2110.00375, table 1: after 150 epochs. Its Inception score is not the standard one.
PUBLISHED = {
  'mnist': {'fsvae': (0.031, 97.06, 35.54), 'ann_vae': (0.048, 112.5, 17.09)},
  'fashion_mnist': {'fsvae': (0.031, 90.12, 15.75), 'ann_vae': (0.050, 123.7, 18.08)},
  'cifar10': {'fsvae': (0.066, 175.5, 133.9), 'ann_vae': (0.105, 229.6, 196.9)},
  'celeb_a': {'fsvae': (0.051, 101.6, 112.9), 'ann_vae': (0.059, 92.53, 156.9)},
}
PUBLISHED_NAMES = ('reconstruction_mse', 'fid', 'fad_authors')

LABELS = {
  'reconstruction_mse': 'reconstruction error',
  'psnr': 'PSNR, dB',
  'ssim': 'SSIM',
  'fad': 'FAD, own code',
  'fad_floor': 'its floor: real images',
  'fad_authors': "FAD, authors' code",
  'fad_floor_authors': 'its floor: real images',
  'fid': 'FID',
  'kid': 'KID',
  'inception_score': 'Inception score',
  'firing_rate': 'firing rate',
  'firing_rate_generate': 'firing rate, generation',
  'rate_by_targets_reconstruct': 'rate by targets, reconstruction',
  'rate_by_targets_generate': 'rate by targets, generation',
  'energy_uj_reconstruct': 'energy of a reconstruction, uJ',
  'energy_uj_reconstruct_ann': 'the same, ANN',
  'energy_uj_generate': 'energy of a sample, uJ',
  'energy_uj_generate_ann': 'the same, ANN',
  'break_even_rate_reconstruct': 'break-even rate, reconstruction',
  'break_even_rate_generate': 'break-even rate, generation',
  'latent_never_fires': 'latent channels that never fire',
  'latent_always_fires': 'latent channels that always fire',
  'mse_unperturbed': 'error, latent unchanged',
  'mse_dropout_10': 'error, 10 % of spikes lost',
  'mse_flip_5': 'error, 5 % of entries flipped',
  'mse_shuffled': 'error, steps in random order',
  'mse_half_time': 'error after half of the steps',
}

CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1e21; background: #fff;
  margin: 0 auto; padding: 16px; max-width: 1080px; }
h1 { font-size: 1.5rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { max-width: 70ch; margin: .4rem 0; } .quiet { color: #5f6368; font-size: .87rem; }
.cards { display: flex; flex-wrap: wrap; gap: 10px; margin: 12px 0; }
.card { border: 1px solid #dadce0; border-radius: 8px; padding: 8px 14px; flex: 1 1 130px; }
.card b { display: block; font-size: 1.35rem; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 20px; align-items: start; }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; }
figure img.pixels { image-rendering: pixelated; width: auto; max-width: 100%; }
figcaption { color: #5f6368; font-size: .87rem; margin-top: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px 3px 0; text-align: right; border-bottom: 1px solid #ebedf0;
  white-space: nowrap; }
th:first-child, td:first-child, .told td { text-align: left; white-space: normal; }
td { vertical-align: top; }
small { display: block; color: #5f6368; max-width: 46ch; min-width: 120px; line-height: 1.3; }
tr.sum td { font-weight: 600; border-top: 2px solid #9aa0a6; }
pre { background: #f6f7f8; padding: 10px; overflow-x: auto; font-size: .8rem; }
summary { cursor: pointer; }
"""


def write(workdir, told, config, metrics, pictures, rasters):
  """Writes `<workdir>/report.html`.

  Args:
    workdir: path of the run.
    told: the contents of eval.json.
    config: dict, the run's configuration.
    metrics: rows of metrics.jsonl.
    pictures: {name: bytes of a PNG}.
    rasters: {layer: [T, neurons] spikes of one test image}; {} for a model without spikes.
  """
  run = told['run']
  parts = [heading(run, told), cards(told), figures_table(told)]
  parts += [pictures_section(pictures), training_section(metrics, config)]
  details = told['details']
  if rasters:
    parts.append(spikes_section(rasters))
  if 'spikes' in details:
    parts.append(energy_section(details['spikes']))
  if 'robustness' in details:
    parts.append(robustness_section(details['robustness']['curves']))
  parts.append(run_section(run, told, config, metrics))
  title = f'{run["model"]} on {run["data"]}'
  page = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{escape(title)}</title><style>{CSS}</style></head><body>{"".join(parts)}</body></html>'
  )
  partial = workdir / 'report.partial'
  partial.write_text(page)
  partial.replace(workdir / 'report.html')


def escape(value):
  """Text for HTML."""
  return html.escape(str(value))


def number(value, digits=3):
  """A number for people; '' for None."""
  if value is None:
    return ''
  if value == 0 or 1e-3 <= abs(value) < 1e5:
    return f'{value:.{digits}g}' if abs(value) < 1000 else f'{value:,.0f}'
  return f'{value:.{digits - 1}e}'


def table(header, rows, last=''):
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


def noted(cell):
  """A cell's text, with its note."""
  if isinstance(cell, tuple):
    return f'{escape(cell[0])}<small>{escape(cell[1])}</small>'
  return escape(cell)


def picture(data, kind, caption, pixels=False):
  """A figure with its bytes inside; `kind` is png or svg+xml."""
  source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  style = ' class="pixels"' if pixels else ''
  alt = escape(caption)
  return f'<figure><img{style} src="{source}" alt="{alt}"><figcaption>{alt}</figcaption></figure>'


def chart(caption, draw, height=2.6, panels=1):
  """A matplotlib chart as inline SVG: `draw(*axes)`, one below the other."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(4.8, height), layout='constrained')
    axes = figure.subplots(panels, squeeze=False)[:, 0]
    draw(*axes)
    out = io.BytesIO()
    figure.savefig(out, format='svg', metadata={'Date': None})
  return picture(out.getvalue(), 'svg+xml', caption)


def heading(run, told):
  """What this is."""
  missing = ''.join(
    f'<p class="quiet">Not computed: {escape(text)}.</p>' for text in told['missing'].values()
  )
  return (
    f'<h1>{escape(run["model"])} on {escape(run["data"])}</h1>'
    f'<p>Checkpoint of step {run["step"]:,}; {run["parameters"]:,} parameters. Means over sampling '
    'seeds of this one trained model, with their standard deviation.</p>' + missing
  )


def cards(told):
  """The chief figures."""
  chosen = ('reconstruction_mse', 'fad', 'fid', 'firing_rate', 'energy_uj_reconstruct')
  items = [
    f'<div class="card"><b>{number(told[name]["mean"])}</b>{escape(LABELS[name])}</div>'
    for name in chosen
    if name in told
  ]
  return f'<div class="cards">{"".join(items)}</div>'


def figures_table(told):
  """All figures, the conventional VAE's and the published ones beside them."""
  run = told['run']
  paper = {
    model: dict(zip(PUBLISHED_NAMES, values, strict=True))
    for model, values in PUBLISHED.get(run['data'], {}).items()
  }
  rows = []
  for name, value in told.items():
    if not isinstance(value, dict) or 'mean' not in value:
      continue
    seeds = f' ({value["seeds"]} seeds)' if value['seeds'] > 1 else ''
    rows.append(
      [
        (LABELS.get(name, name.replace('_', ' ')), value['protocol'] + seeds),
        number(value['mean'], 4),
        '' if value['std'] is None else f'± {number(value["std"], 2)}',
        number(told['twin'].get(name, {}).get('mean'), 4),
        *(number(paper.get(model, {}).get(name), 4) for model in ('fsvae', 'ann_vae')),
      ]
    )
  header = ['', 'this run', '', 'ANN VAE here', 'paper: FSVAE', 'paper: ANN VAE']
  empty = [i for i in range(3, 6) if not any(row[i] for row in rows)]
  keep = [i for i in range(6) if i not in empty]
  shown = table([header[i] for i in keep], [[row[i] for i in keep] for row in rows])
  note = ''
  if paper:
    note += (
      '<p class="quiet">Paper: arXiv 2110.00375, table 1, after 150 epochs. Distances in the own '
      'code compare with their floor and with the ANN VAE here; the paper has another code.</p>'
    )
  if not told['twin'] and run['model'] == 'fsvae':
    note += '<p class="quiet">No conventional VAE was evaluated beside this run.</p>'
  return f'<h2>Figures</h2>{shown}{note}'


CAPTIONS = {
  'reconstructions': 'Test images, and below them their reconstructions',
  'samples': 'Samples of the prior',
  'interpolation': 'From one test image to another, through the latent; one pair a row',
}


def pictures_section(pictures):
  """The grids."""
  first, *others = (
    picture(data, 'png', CAPTIONS[name], pixels=True) for name, data in pictures.items()
  )
  return f'<h2>Images</h2>{first}<div class="charts">{"".join(others)}</div>'


def training_section(metrics, config):
  """Curves of metrics.jsonl."""
  if not metrics:
    return '<h2>Training</h2><p class="quiet">No metrics.jsonl: the checkpoint was imported.</p>'

  def curve(axis, name, **style):
    rows = [(row['step'], row[name]) for row in metrics if name in row]
    if rows:
      axis.plot(*zip(*rows, strict=True), **style)

  def errors(axis):
    curve(axis, 'train/reconstruction', color=BLUE, label='training')
    curve(axis, 'test/reconstruction', color=ORANGE, marker='o', ms=3, label='test')
    axis.set(xlabel='step', ylabel='squared error', yscale='log')
    axis.legend(frameon=False)

  def distances(axis):
    curve(axis, 'train/distance', color=BLUE, label='training')
    curve(axis, 'test/distance', color=ORANGE, marker='o', ms=3, label='test')
    axis.set(xlabel='step', ylabel=config['model'].get('distance', 'KL divergence'))
    axis.legend(frameon=False)

  charts = chart('Reconstruction error during training', errors)
  if any('train/distance' in row for row in metrics):
    charts += chart('Distance of posterior and prior during training', distances)
  return f'<h2>Training</h2><div class="charts">{charts}</div>'


def spikes_section(rasters, most=96):
  """Rasters of one image's way through the layers."""
  order = [name for name in rasters if name.startswith(('encoder/', 'posterior/'))]
  order += ['latent/z', 'decoder/dense']
  order += [name for name in rasters if name.startswith('decoder/conv')]

  def draw(*axes):
    for axis, name in zip(axes, order, strict=True):
      spikes_TN = rasters[name]
      chosen = np.linspace(0, spikes_TN.shape[1] - 1, min(most, spikes_TN.shape[1])).astype(int)
      axis.imshow(spikes_TN[:, chosen], cmap='Greys', aspect='auto', interpolation='nearest')
      axis.set_ylabel(name, rotation=0, ha='right', va='center')
      axis.set(xticks=[], yticks=[])
    axes[-1].set_xlabel(f'neurons (at most {most} of a layer, evenly chosen); time runs down')

  caption = 'Spikes of one test image through encoder, posterior, latent and decoder'
  latent = chart(
    'Its latent z: channels to the right, time down',
    lambda axis: (
      axis.imshow(rasters['latent/z'], cmap='Greys', aspect='auto', interpolation='nearest'),
      axis.set(xlabel='latent channel', ylabel='step'),
    ),
    height=2.2,
  )
  raster = chart(caption, draw, height=0.45 * len(order) + 0.4, panels=len(order))
  return f'<h2>Spikes</h2><div class="charts">{raster}{latent}</div>'


def energy_section(spikes):
  """Firing rates, operations and energy of every layer."""
  charts, tables = '', ''
  titles = {'reconstruct': 'a reconstruction', 'generate': 'a sample'}
  for path, rows in spikes['layers'].items():
    charts += chart(
      f'Energy of {titles[path]}, uJ an image: spikes, and the ANN of the same shape',
      lambda axis, rows=rows: bars(
        axis, rows, {'spikes': ('energy_uj', BLUE), 'ANN': ('ann_energy_uj', GREY)}, 'uJ'
      ),
      height=0.26 * len(rows) + 0.9,
    )
    tables += f'<h3>Operations of {titles[path]}, one image</h3>' + operations_table(
      rows, spikes['totals']['events'][path]
    )
  fired = [row for row in spikes['layers']['reconstruct'] if 'firing_rate' in row]
  rates = chart(
    'Firing rate of each layer, spikes a neuron and step, during reconstruction',
    lambda axis: bars(axis, fired, {'': ('firing_rate', BLUE)}, 'rate'),
    height=0.26 * len(fired) + 0.7,
  )
  latent = chart(
    'Use of the latent: firing rate of each channel, sorted',
    lambda axis: (
      axis.plot(np.sort(spikes['latent_rates']), color=BLUE),
      axis.set(xlabel='latent channels', ylabel='rate', ylim=(0, 1)),
    ),
  )
  return (
    f'<h2>Firing rates and energy</h2><div class="charts">{rates}{charts}{latent}</div>'
    f'{tables}{energy_note(spikes)}'
  )


def bars(axis, rows, columns, unit):
  """Horizontal bars, one group a layer, first layer on top."""
  y, width = np.arange(len(rows)), 0.8 / len(columns)
  for i, (label, (name, color)) in enumerate(columns.items()):
    values = [row[name] for row in rows]
    axis.barh(y + i * width, values, width, color=color, label=label)
  axis.set_yticks(y + 0.4 - width / 2, [row['layer'] for row in rows])
  axis.invert_yaxis()
  axis.set_xlabel(unit)
  if len(columns) > 1:
    axis.legend(frameon=False)


def operations_table(rows, total):
  """The layers of one path, and their sum."""
  header = ('layer', 'rate', 'dead', 'accumulates', 'MACs', 'uJ', 'ANN MACs', 'ANN uJ')
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


def energy_note(spikes):
  """How it was counted, and what other rules would give."""
  nominal, events = spikes['totals']['nominal'], spikes['totals']['events']
  rule, pj = spikes['reference_table'], spikes['pj']
  updates = events['reconstruct']['neuron_updates']
  return (
    f'<p class="quiet">Synapses only: an accumulate {pj["accumulate"]} pJ, a multiply-accumulate '
    f'{pj["multiply_accumulate"]} pJ (32 bits, 45 nm). A spike counts its existing targets; the '
    'constant first layer counts once; tdBN is part of the weights. Not in the sums: '
    f'{number(updates)} neuron updates of a reconstruction, '
    f'{number(updates * pj["multiply_accumulate"] * 1e-6)} uJ if each costs a multiply-accumulate. '
    'Counted whole at the borders, as counters of FLOPs do, a reconstruction would be '
    f"{number(nominal['reconstruct']['energy_uj'])} uJ and the ANN's "
    f'{number(nominal["reconstruct"]["ann_energy_uj"])} uJ. By the counting rules of the published '
    f'table (a batch of 250, with their errors): {number(rule["additions"])} additions, '
    f'{number(rule["multiplications"])} multiplications; published for MNIST: 5.0e10 and 5.6e8. '
    'A dead channel never fired on any probed image.</p>'
  )


def robustness_section(curves):
  """Error against perturbation, and against the number of steps."""
  titles = {
    'dropout': 'latent spikes lost, share',
    'flip': 'latent entries flipped, share',
    'steps': 'steps run',
  }
  base = curves['dropout'].get('0.0', curves['dropout'].get(0.0))
  shuffled = next(iter(curves['shuffle'].values()))
  charts = ''
  for name, label in titles.items():
    points = sorted((float(level), error) for level, error in curves[name].items())

    def draw(axis, points=points, label=label):
      axis.plot(*zip(*points, strict=True), color=BLUE, marker='o', ms=3)
      axis.axhline(base, color=GREY, lw=1, ls='--', label='nothing changed')
      axis.axhline(shuffled, color=ORANGE, lw=1, ls=':', label='steps in random order')
      axis.set(xlabel=label, ylabel='squared error', ylim=(0, None))
      axis.legend(frameon=False)

    charts += chart(f'Reconstruction error: {label}', draw)
  return f'<h2>Robustness</h2><div class="charts">{charts}</div>'


def run_section(run, told, config, metrics):
  """Cost, versions and configuration."""
  speed = [row['images_per_s'] for row in metrics if 'images_per_s' in row]
  rows = [('devices', run['devices']), ('host', run['host'])]
  if speed:
    seconds = training_seconds(metrics, config['train']['batch_size'])
    rows.append(('training, images/s (median)', number(float(np.median(speed)))))
    rows.append(('training, minutes (steps alone)', number(seconds / 60)))
  memory = [row['peak_memory_gb'] for row in metrics if 'peak_memory_gb' in row]
  rows.append(('peak memory of training, GB', number(max(memory)) if memory else 'not recorded'))
  rows.append(('evaluation, s', ', '.join(f'{k} {v:g}' for k, v in told['seconds'].items())))
  rows += list(run['versions'].items())
  cells = ''.join(
    f'<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>' for name, value in rows
  )
  return (
    f'<h2>The run</h2><table class="told">{cells}</table><details><summary>configuration</summary>'
    f'<pre>{escape(json.dumps(config, indent=1))}</pre></details>'
  )


def training_seconds(metrics, batch_size):
  """Seconds that the training steps took, by the speeds in the log."""
  seconds, before = 0.0, 0
  for row in metrics:
    if 'images_per_s' in row:
      seconds += (row['step'] - before) * batch_size / row['images_per_s']
    before = row['step']
  return seconds

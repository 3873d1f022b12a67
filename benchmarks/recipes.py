"""Studies: named recipes trained at one budget, a line a finished run, and tables of them.

    python -m benchmarks.recipes --budget epochs --amount 1 --seeds 3            # every variant
    python -m benchmarks.recipes --budget minutes --amount 20 --only strong T=4  # some, equal time
    R='--results benchmarks/results/recipes.jsonl'                               # those committed
    python -m benchmarks.recipes $R --page docs/explanation/recipes.md           # trains nothing
    python -m benchmarks.recipes --picture samples.png    # of the budget's finished runs; neither

The protocol: every tenth training image is held out and ranks the variants, by its reconstruction
error; the test set is reported. Figures on the authors' features (`eval.fad_reference=DIR`) are
reported, never chosen by. A run goes on where it stopped; a finished one, in `--results`, is not
run again. A budget in minutes is turned into steps by the rate of a short run of the same variant.
"""

import collections
import itertools
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys

from PIL import Image, ImageDraw

from benchmarks import fields
from fsvae_jax import configuration, data
from fsvae_jax.run import files, pictures, signals, writer

PROBE_STEPS = 40
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
COMMON = {
  'data.validation': 10,
  'train.log_every': 20,
  'train.test_every': 0,
  'train.checkpoint_every': 100,
  'test.images': 1000,
  'eval.metrics': ('reconstruction', 'fad', 'spikes'),
  'eval.seeds': 1,
}
# Of any configuration a study takes the data and the networks' sizes alone; the recipe is here.
PUBLISHED = {
  'model.surrogate': 'reference_rectangle',
  'model.surrogate_width': 1.0,
  'model.timesteps': 16,
  'model.draws': 20,
  'model.latent': 'bernoulli',
  'model.distance_weight': -1.0,
  'model.variance': 'fixed',
  'train.batch_size': 250,
  'train.optimizer': 'adamw',
  'train.learning_rate': 1e-3,
  'train.schedule': 'constant',
  'train.warmup_steps': 0,
  'train.ema_decay': 0.0,
}
SMALL_BATCH = PUBLISHED | {'train.batch_size': 50}
# The recipe of all the variants below: that of configs/mnist_best.py, without the mixture.
STRONG = SMALL_BATCH | {
  'model.surrogate': 'triangle',
  'model.surrogate_width': 1.5,
  'model.timesteps': 8,
  'model.draws': 5,
  'train.optimizer': 'muon',
  'train.learning_rate': 1e-2,
  'train.schedule': 'cosine',
  'train.warmup_steps': 50,
  'train.ema_decay': 0.98,
}
ADAMW = STRONG | {'train.optimizer': 'adamw', 'train.learning_rate': 1e-3}
RATE = {name: x for name, x in STRONG.items() if name != 'model.draws'} | {'model.latent': 'rate'}
VARIANTS = {
  'published': PUBLISHED,
  'small batch': SMALL_BATCH,
  'strong': STRONG,
  'mixture': STRONG | {'model.latent': 'mixture'},
  **{f'T={t}': STRONG | {'model.timesteps': t} for t in (2, 4, 16)},
  **{f'K={k}': STRONG | {'model.draws': k} for k in (1, 2, 10, 20)},
  **{f'D={d}': STRONG | {'model.latent_dim': d} for d in (64, 192, 256)},
  'D=192, K=2': STRONG | {'model.latent_dim': 192, 'model.draws': 2},
  'D=256, K=2': STRONG | {'model.latent_dim': 256, 'model.draws': 2},
  **{
    name: STRONG | {'model.surrogate': name}
    for name in ('reference_rectangle', 'paper_rectangle', 'arctan', 'sigmoid', 'fast_sigmoid')
  },
  'no EMA': STRONG | {'train.ema_decay': 0.0},
  'constant rate': STRONG | {'train.schedule': 'constant'},
  **{f'width {w:g}': STRONG | {'model.surrogate_width': w} for w in (1.0, 2.0, 3.0)},
  'AdamW': ADAMW,
  'AdamW, rate 2e-3': ADAMW | {'train.learning_rate': 2e-3},
  **{f'rate {r}': STRONG | {'train.learning_rate': float(r)} for r in ('5e-3', '2e-2')},
  'batch 25': STRONG | {'train.batch_size': 25},
  'batch 100': STRONG | {'train.batch_size': 100},
  **{f'distance x{w}': STRONG | {'model.distance_weight': float(w)} for w in (2, 4)},
  'KLD': STRONG | {'model.distance': 'kld', 'model.distance_weight': 1e-3},
  'KLD, likelihood': STRONG
  | {'model.distance': 'kld', 'model.distance_weight': 1.0, 'model.variance': 'error'},
  'mean of K': STRONG | {'model.pick_gradient': 'mean'},
  'learned neurons': STRONG | {'model.learned': ('tau', 'v_th')},
  'learned read-out': STRONG | {'model.readout': 'learned'},
  'TAID': STRONG | {'model.readout': 'attention'},
  'ESVAE': RATE | {'model.latent_dim': 32},
  'ESVAE, D=128': RATE,
}
SECTION = '## Studies'
COLUMNS = {  # heading -> field of a finished run
  'held-out error': 'validation',
  'error': 'reconstruction_mse',
  'FAD': 'fad',
  "FAD, authors'": 'fad_authors',
  'FAD of reconstructions': 'fad_reconstruction',
  'recall': 'recall',
  'SOP rate': 'sop_rate_reconstruct',
  'µJ a sample': 'energy_uj_generate',
  'parameters': 'parameters',
  'images/s': 'images_per_s',
  'minutes': 'minutes',
}


def changed(variant, args):
  """{field: value} of what a variant's run has other than its configuration."""
  return COMMON | VARIANTS[variant] | fields.parsed(args.fields)


class Unfinished(Exception):
  """A run that has no figures to report."""


def ended(command):
  """The exit code of a process, which is told of the signals that come to this one."""
  process = subprocess.Popen(command, process_group=0)  # a terminal tells this one alone
  tell = lambda number, _: process.send_signal(number)
  before = {number: signal.signal(number, tell) for number in SIGNALS}
  code = process.wait()
  for number, handler in before.items():
    signal.signal(number, handler)
  return code


def train(variant, seed, steps, args, workdir, **more):
  """Trains, and evaluates if all is done, as a process; its flags are those of fsvae_jax.main."""
  flags = fields.flags(changed(variant, args) | more)
  flags += [f'--config.seed={seed}', f'--config.train.steps={steps}']
  command = [sys.executable, '-m', 'fsvae_jax.main', f'--config={args.config}']
  code = ended([*command, f'--workdir={workdir}', *flags])
  if code in (signals.STOPPED, *(-number for number in SIGNALS)):
    sys.exit(signals.STOPPED)
  if code:
    raise Unfinished(f'{workdir} ended with {code}')


def rate(workdir):
  """Median images/s of the lines of a run's metrics.jsonl."""
  lines = writer.read_metrics(workdir)
  return statistics.median(line['images_per_s'] for line in lines if 'images_per_s' in line)


def workdir_of(group, variant, seed):
  return group / variant.replace(' ', '_') / str(seed)


def batch_size(variant, args):
  return changed(variant, args)['train.batch_size']


def epoch(args):
  """How many images are trained on: those of the data that are not held out."""
  config = configuration.load(args.config)
  config.update_from_flattened_dict(COMMON | fields.parsed(args.fields))
  images = data.load(config.data, config.model.image_size, config.model.channels, 'train')
  return len(data.hold_out(images, config.data.validation)[0])


def steps_of(variant, args, folder):
  """How many steps the budget has for a variant."""
  if args.budget == 'epochs':
    images = args.amount * epoch(args)
  else:
    train(variant, 0, PROBE_STEPS, args, folder / 'probe', **{'eval.metrics': ()})
    images = args.amount * 60 * rate(folder / 'probe')
  return max(1, round(images / batch_size(variant, args)))


def run(variant, seed, args, workdir):
  """The line of a run that is begun, or goes on, and ends."""
  started = files.read_json(workdir / 'config.json')
  steps = started['train']['steps'] if started else steps_of(variant, args, workdir.parent)
  train(variant, seed, steps, args, workdir)
  return finished(variant, seed, args, workdir)


def finished(variant, seed, args, workdir):
  """The line of a finished run: what it was, what it cost, its figures."""
  evaluated = files.read_json(workdir / 'eval.json')
  last = writer.read_metrics(workdir)[-1]
  images = last['step'] * batch_size(variant, args)
  return {
    'config': fields.named(args.config, args.fields),
    'budget': f'{args.amount:g} {args.budget}',
    'variant': variant,
    'seed': seed,
    'steps': last['step'],
    'images': images,
    'images_per_s': round(rate(workdir), 1),
    'minutes': round(images / rate(workdir) / 60, 1),
    'validation': last['validation/reconstruction'],
    'fsvae_jax': evaluated['run'].get('fsvae_jax'),
    'parameters': evaluated['run']['parameters'],
  } | {name: figure['mean'] for name, figure in evaluated['figures'].items()}


def read(path):
  """The lines of finished runs, oldest first."""
  lines = path.read_text('utf-8').splitlines() if path.exists() else []
  try:
    return [json.loads(line) for line in lines]
  except ValueError as error:
    number = next(i for i, line in enumerate(lines, 1) if error.doc == line)
    sys.exit(f'{path}, line {number} is damaged ({error}): take it out, and start again')


def add(path, row):
  """Adds a line to those that are there by now: another study may have added some."""
  with files.locked(path.with_name(f'.{path.name}.lock')):
    files.write_text(path, ''.join(f'{json.dumps(r)}\n' for r in [*read(path), row]))


def page(rows):
  """Tables of all finished runs, one a configuration and budget, in the held-out error's order."""
  tables = []
  for (config, budget), runs in grouped(rows).items():
    shown = {
      h: name for h, name in COLUMNS.items() if any(name in r for v in runs.values() for r in v)
    }
    lines = [' | '.join(cell(own, name) for name in shown.values()) for own in runs.values()]
    head = ['| variant (seeds) | ' + ' | '.join(shown) + ' |', '|---' * (len(shown) + 1) + '|']
    body = [f'| {v} ({len(runs[v])}) | {line} |' for v, line in zip(runs, lines, strict=True)]
    tables.append('\n'.join([f'### {config}, {budget}', '', *head, *body]))
  return '\n\n'.join(tables) + '\n'


def grouped(rows):
  """{(config, budget): {variant: its rows}}, variants in the order of their held-out error."""
  groups = collections.defaultdict(lambda: collections.defaultdict(list))
  for row in rows:
    groups[row['config'], row['budget']][row['variant']].append(row)
  error = lambda item: statistics.mean(row['validation'] for row in item[1])
  return {group: dict(sorted(runs.items(), key=error)) for group, runs in groups.items()}


def cell(runs, name):
  """Mean of the runs' figure, with their standard deviation if there are several."""
  values = [run[name] for run in runs if run.get(name) is not None]
  if not values:
    return ''
  mean = statistics.mean(values)
  mean = f'{mean:,.0f}' if mean >= 1e4 else f'{mean:.4g}'
  spread = len(values) > 1 and name != 'parameters'  # of which all have equally many
  return f'{mean} ± {statistics.stdev(values):.2g}' if spread else mean


def picture(strips, columns=2):
  """{name: a picture} as one, names beside, from the top of the first column down."""
  label, pad = 130, 4
  width, height = max(strip.width for strip in strips.values()), next(iter(strips.values())).height
  rows = -(-len(strips) // columns)
  whole = Image.new('RGB', (columns * (label + width + pad), rows * (height + pad)), 'white')
  draw = ImageDraw.Draw(whole)
  for i, (name, strip) in enumerate(strips.items()):
    left, top = i // rows * (label + width + pad), i % rows * (height + pad)
    draw.text((left + pad, top + height // 2), name, 'black', anchor='lm', font_size=13)
    whole.paste(strip, (left + label, top))
  return whole


def first_row(workdir, steps):
  """The first of the eight rows of samples that a run's last picture has, half as large."""
  samples = Image.open(pictures.path(workdir, 'samples', steps))
  return samples.crop((0, 0, samples.width, samples.height // 8)).reduce(2)


def write_page(path, rows):
  """Puts the tables into the page's last section, SECTION; all before it stays."""
  text = path.read_text('utf-8') if path.exists() else '# Recipes\n'
  own = text.split(f'\n{SECTION}\n')[0].rstrip()
  files.write_text(path, f'{own}\n\n{SECTION}\n\n{page(rows)}')


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--config', default='mnist')
  parser.add_argument('--budget', choices=('epochs', 'minutes'), default='epochs')
  parser.add_argument('--amount', type=float, default=1.0, help='of epochs or minutes a run')
  parser.add_argument('--seeds', type=int, default=3, help='trainings of a variant')
  parser.add_argument('--only', nargs='+', choices=VARIANTS, default=list(VARIANTS))
  parser.add_argument('--results', type=fields.new_file, default='runs/recipes/results.jsonl')
  parser.add_argument('--runs', type=pathlib.Path, default='runs/recipes', help='their workdirs')
  parser.add_argument('--page', type=pathlib.Path, help='write the tables there; train nothing')
  parser.add_argument('--picture', type=pathlib.Path, help='samples side by side; train nothing')
  args = parser.parse_args()
  if args.page:
    write_page(args.page, read(args.results))
    return
  if not (COMMON | fields.parsed(args.fields))['data.validation']:
    parser.error('data.validation is 0, but images held out rank the variants: leave it out')
  named, budget = fields.named(args.config, args.fields), f'{args.amount:g} {args.budget}'
  group = args.runs / re.sub(r'[^\w.,=+-]', '_', f'{named} {budget}')
  if args.picture:
    runs = grouped(read(args.results)).get((named, budget))
    if not runs:
      parser.error(f'{args.results} has no finished run of {named}, {budget}')
    of = lambda variant: first_row(workdir_of(group, variant, 0), runs[variant][0]['steps'])
    picture({variant: of(variant) for variant in runs}).save(args.picture)
    return
  failed = []
  for seed, variant in itertools.product(range(args.seeds), args.only):
    rows = read(args.results)
    done = {(row['config'], row['budget'], row['variant'], row['seed']) for row in rows}
    if (named, budget, variant, seed) not in done:
      try:
        row = run(variant, seed, args, workdir_of(group, variant, seed))
      except Unfinished as error:
        failed.append(f'{variant}, seed {seed}: {error}')
        continue
      print(json.dumps(row), flush=True)
      add(args.results, row)
  print(page(read(args.results)))
  if failed:
    sys.exit('\n'.join(['not finished:', *failed]))


if __name__ == '__main__':
  main()

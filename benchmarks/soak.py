"""python -m benchmarks.soak --workdir DIR [--steps 500] [--kills 20] [--seed 0] [--config FILE]

Trains twice with a checkpoint every 10 steps: once undisturbed, watching memory, and once killed
(SIGKILL) at random moments and started again. Both must end with the same parameters, bit by bit.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

from benchmarks import fields
from fsvae_jax.run import writer


def newest(workdir):
  """Number of the newest checkpoint; 0 if there is none."""
  found = (workdir / 'checkpoints').glob('*')
  return max((int(path.name) for path in found if path.name.isdigit()), default=0)


def disturb(start, workdir, kills, rng, within):
  """Starts a run and kills it, `kills` times; then lets it end.

  Every second kill comes up to `within` seconds after a new checkpoint, the others up to 4 times
  `within` after the start, which may be while it still sets up.

  Args:
    start: -> subprocess.Popen of the run.
    workdir: its workdir.

  Returns:
    {'killed': how many, 'while_saving': how many of them left an unfinished save, 'steps': newest
    checkpoint after each}.
  """
  killed = {'killed': 0, 'while_saving': 0, 'steps': []}
  for i in range(kills):
    before, process = newest(workdir), start()
    while i % 2 and process.poll() is None and newest(workdir) == before:
      time.sleep(0.01)
    time.sleep(rng.uniform(0, within if i % 2 else 4 * within))
    if process.poll() is not None:  # it ended before
      break
    process.kill()
    process.communicate()
    killed['killed'] += 1
    killed['while_saving'] += any((workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*'))
    killed['steps'].append(newest(workdir))
  last = start()
  printed, _ = last.communicate()
  assert last.returncode == 0, printed
  return killed


def resident_gb(pid):
  """Memory of a process that is in RAM (Linux)."""
  pages = int(pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1])
  return pages * os.sysconf('SC_PAGE_SIZE') / 1e9


def watch(start, workdir):
  """[(newest checkpoint, GB)] every half second until the process that `start()` gives ends."""
  if not pathlib.Path('/proc/self/statm').exists():
    raise OSError('memory is watched in /proc, which this system does not have')
  process, seen = start(), []
  while process.poll() is None:
    try:
      seen.append((newest(workdir), resident_gb(process.pid)))
    except (FileNotFoundError, IndexError):  # it ended just now
      break
    time.sleep(0.5)
  assert process.wait() == 0
  return seen


def parameters(workdir):
  """All arrays of the newest checkpoint."""
  import jax
  from orbax.checkpoint import v1 as ocp

  tree = ocp.load(workdir.absolute() / 'checkpoints' / str(newest(workdir)))
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(tree)}


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--workdir', required=True, type=pathlib.Path)
  parser.add_argument('--config', default='digits')
  parser.add_argument('--steps', type=int, default=500)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()

  def start(workdir):
    changed = {'train.steps': args.steps, 'train.checkpoint_every': 10, 'train.log_every': 10}
    changed |= {'train.test_every': 0, 'eval.metrics': (), **fields.parsed(args.fields)}
    command = [sys.executable, '-m', 'fsvae_jax.main', f'--config={args.config}']
    command += [f'--workdir={workdir}', *fields.flags(changed)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

  whole, cut = args.workdir / 'whole', args.workdir / 'cut'
  if whole.exists() or cut.exists():
    parser.error(f'{args.workdir} has runs already: name another folder')
  memory = watch(lambda: start(whole), whole)
  rng = random.Random(args.seed)
  result = disturb(lambda: start(cut), cut, args.kills, rng, within=10)
  want, got = parameters(whole), parameters(cut)
  differing = [name for name in want if not np.array_equal(want[name], got[name])]
  trained = [gb for step, gb in memory if 0 < step < args.steps]
  fifth = len(trained) // 5
  result |= {
    'steps_of_both': [newest(whole), newest(cut)],
    'arrays': len(want),
    'differing_arrays': differing,
    'lines_lost_or_double': steps_logged(whole) != steps_logged(cut),
    'resident_gb_of_each_fifth': [
      round(float(np.median(trained[i * fifth : (i + 1) * fifth])), 3) for i in range(5)
    ],
  }
  print(json.dumps(result, indent=1))


def steps_logged(workdir):
  """Steps of the lines of metrics.jsonl."""
  return [row['step'] for row in writer.read_metrics(workdir)]


if __name__ == '__main__':
  main()

"""python -m benchmarks.scaling [--out FILE.json] [--images 16]

Weak scaling: what a training step of the MNIST model sends between devices, what that predicts for
8 to 4,096 of them, and what N processes on this machine reach, each with its share of the cores and
`--images` images a step, beside one process that has all cores and does the same work. Last, memory
and speed with micro-batches and rematerialisation.
"""

import functools
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from benchmarks import ahead, fields
from benchmarks.run import GFLOP_PER_TRAINED_IMAGE
from fsvae_jax.run import files, writer

# Assumed: FLOP/s that training reaches, links of a device (bytes/s) and time of a small all-reduce
# (s, inside a group of `near` devices and across groups). Links are the vendors' figures.
MACHINES = {
  'TPU v5e': {
    'flops': 40e12,
    'near': 256,  # a slice; ICI within, data-centre network across
    'link': 100e9,
    'far': 12.5e9,
    'latency': (15e-6, 60e-6),
  },
  'H200': {
    'flops': 10.2e12,  # measured on one, batch 250
    'near': 8,  # a node; NVLink within, 400 Gb/s a device across
    'link': 450e9,
    'far': 50e9,
    'latency': (20e-6, 50e-6),
  },
}


# What saves memory at batch 250.
SAVING = {
  'neither': {},
  'remat': {'model.remat': True},
  'micro_batches=5': {'train.micro_batches': 5},
  'micro_batches=25': {'train.micro_batches': 25},
}


def collectives(text):
  """All-reduces of a compiled step, each counted once: {'all_reduces', 'gradient_bytes', ...}.

  Arrays of two or more axes are gradients of kernels; the others are tdBN's statistics and their
  gradients, its parameters' gradients, and metrics. A CPU repeats some in loops over chunks.
  """
  found = {'all_reduces': 0, 'gradient_bytes': 0, 'other_bytes': 0}
  for shapes in re.findall(r'= (.*?) all-reduce(?:-start)?\(', text):
    found['all_reduces'] += 1
    for dims in re.findall(r'f32\[([\d,]*)\]', shapes):
      axes = [int(n) for n in dims.split(',') if n]
      found['gradient_bytes' if len(axes) > 1 else 'other_bytes'] += 4 * math.prod(axes)
  others = re.findall(r'(all-gather|all-to-all|collective-permute|reduce-scatter)\(', text)
  return found | {'other_collectives': len(others)}


def predicted(sent, machine, devices, images):
  """Share of a step that is arithmetic, if all that is sent is waited for."""
  compute = images * GFLOP_PER_TRAINED_IMAGE * 1e9 / machine['flops']
  near = min(devices, machine['near'])
  across = devices > machine['near']
  size = sent['gradient_bytes'] + sent['other_bytes']
  ring = lambda n, link: 2 * (n - 1) / n * size / link
  wait = ring(near, machine['link']) + (ring(devices / near, machine['far']) if across else 0)
  wait += sent['all_reduces'] * machine['latency'][across]
  return compute / (compute + wait)


def measured(processes, batch_size, changed):
  """(images per second, peak GB of process 0) of a run on this machine."""
  root = pathlib.Path(__file__).parent.parent
  run_fields = {'data.name': 'digits', 'train.batch_size': batch_size, 'train.steps': 1000}
  run_fields |= {'train.log_every': 1, 'train.test_every': 0, 'train.checkpoint_every': 0}
  run_fields |= {'test.batch_size': processes, 'test.samples': processes, **changed}
  with tempfile.TemporaryDirectory() as workdir:
    command = ['launch/local.sh', f'--processes={processes}', '--config=mnist']
    command += [*fields.flags(run_fields), f'--workdir={workdir}']
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    own = os.environ | {'PYTHON': sys.executable}
    run = subprocess.Popen(command, cwd=root, env=own, **pipes)
    metrics = functools.partial(writer.read_metrics, pathlib.Path(workdir))
    while run.poll() is None and len(metrics()) < 10:
      time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    printed, _ = run.communicate()
    assert run.returncode == 75, printed.decode()
    rows = metrics()
  speeds = [row['images_per_s'] for row in rows[2:-1] if 'images_per_s' in row]
  return float(np.median(speeds)), rows[-1]['peak_memory_gb']


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--out', type=fields.new_file)
  parser.add_argument('--images', type=int, default=16)
  args = parser.parse_args()

  changed, devices = fields.parsed(args.fields), jax.devices()  # simulated ones
  if len(devices) < 2:
    parser.error('one device sends nothing: JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=4')
  sent = collectives(ahead.lowered_step(devices, 8 * len(devices), changed).compile().as_text())
  result = {'sent': sent, 'predicted': {}, 'measured': [], 'memory': {}}
  for name, machine in MACHINES.items():
    for images in (4, 32, 250):
      row = {n: round(predicted(sent, machine, n, images), 3) for n in (8, 64, 512, 4096)}
      result['predicted'][f'{name}, {images} images a device'] = row
  for processes in (1, 2, 4):
    batch_size = processes * args.images
    (alone, _), (together, _) = (measured(n, batch_size, changed) for n in (1, processes))
    row = {'processes': processes, 'together': together, 'alone': alone, 'ratio': together / alone}
    result['measured'].append({name: round(value, 3) for name, value in row.items()})
  for name, saving in SAVING.items():
    speed, peak = measured(1, 250, changed | saving)
    result['memory'][name] = {'images_per_s': round(speed, 1), 'peak_gb': round(peak, 2)}
  text = json.dumps(result, indent=1)
  print(text)
  if args.out:
    files.write_text(args.out, text + '\n')


if __name__ == '__main__':
  jax.config.update('jax_platforms', 'cpu')  # here; what it starts takes what there is
  jax.config.update('jax_num_cpu_devices', 4)
  main()

"""Speed and memory of the MNIST model: training, generation, reconstruction, compilation.

    python -m benchmarks.run --out=benchmarks/results/cpu.json            # all of it, half an hour
    python -m benchmarks.run --only train --batches 32                    # a part of it
    python -m benchmarks.run --only train sample overhead --dtype bfloat16 --batches 250 1000  # GPU

Every figure comes from a process of its own, so that its peak memory is its own; the ratios that
matter (techniques, huge pages, T, batch) are between processes of one run. Times are medians of
`--repetitions` calls or more, for `--seconds`, after two to warm up; on CPUs, speed is that of
three processes, since other programs disturb for seconds, or minutes. `plain` turns the techniques
of docs/explanation/performance.md off.
"""

import argparse
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import fields, plain
from benchmarks.tables import header, row
from fsvae_jax import data, models, train, training_step
from fsvae_jax.compute import linear
from fsvae_jax.configs import mnist
from fsvae_jax.run import files, memory, sharding, states

GFLOP_PER_TRAINED_IMAGE = 1.31  # T = 16, all products forward and backward, both sampling passes
HUGE_PAGES = 'glibc.malloc.hugetlb=1'
MNIST_IMAGES = 60_000


def timed(function, repetitions, at_least):
  """Median seconds of `function()`, which returns arrays to wait for; over `at_least` seconds."""
  seconds = []
  while len(seconds) < repetitions + 2 or sum(seconds) < at_least:
    begin = time.perf_counter()
    jax.block_until_ready(function())
    seconds.append(time.perf_counter() - begin)
  return statistics.median(seconds[2:])


def rates(dtype, repetitions, seconds):
  """What a device's own products and copies reach: {'device', 'gflops', 'copy_gb_per_s'}."""
  n = 4096 if jax.default_backend() == 'cpu' else 16384
  a = jnp.ones((n, n), dtype)
  product = jax.jit(lambda a: jnp.matmul(a, a, precision=linear.EXACT))
  copy = jax.jit(lambda a: a + 1)
  return {
    'device': jax.devices()[0].device_kind,
    'gflops': 2 * n**3 / timed(lambda: product(a), repetitions, seconds) / 1e9,
    'copy_gb_per_s': 2 * a.nbytes / timed(lambda: copy(a), repetitions, seconds) / 1e9,
  }


def prepare(what, config, mesh, batch):
  """The function of one call, its arguments, and which of them is donated."""
  model = models.make(config.model)
  init = jax.jit(model.init, out_shardings=sharding.replicated(mesh))
  variables, key = init(jax.random.key(0)), jax.random.key(1)
  images = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 1), np.uint8)
  images = sharding.spread(mesh, images)
  if what == 'train':
    optimizer = states.make_optimizer(config.train, 1000)
    function = functools.partial(training_step.train_step, model, optimizer, config, 1000)
    return function, [states.create(variables, optimizer, 0.0), {'image': images}, key], (0,)
  if what == 'generate':
    return functools.partial(model.generate, count=batch), [variables, key], ()
  return model.reconstruct, [variables, data.normalize(images), key], ()


def measure(
  what, batch=32, timesteps=16, off=(), dtype='float32', repetitions=5, seconds=8, changed=None
):
  """One measurement, in this process: {name: number}."""
  if what == 'rates':
    return rates(dtype, repetitions, seconds)
  if what == 'overhead':
    return overhead(batch, dtype, changed)
  config = mnist.get_config()
  config.model.update(timesteps=timesteps, dtype=dtype)
  config.update_from_flattened_dict(changed or {})
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh), contextlib.ExitStack() as stack:
    for technique in off:
      plain.turn_off(technique, stack)
    function, arguments, donated = prepare(what, config, mesh, batch)
    begin = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
    compile_s = time.perf_counter() - begin
    memory.trim()  # as train.py does

    def call():
      result = compiled(*arguments)
      if what == 'train':
        arguments[0] = result[0]
      return result

    taken = timed(call, repetitions, seconds)
  return {
    'images_per_s': batch / taken,
    'compile_s': compile_s,
    'peak_memory_gb': memory.peak_gb(),
  }


def overhead(batch, dtype, changed=None, window=5, windows=8):
  """Seconds of train_and_evaluate for so many windows of steps, and of as many bare ones.

  Windows of both take turns, so that a machine's slow moments meet both. The former have data
  loading, metrics, log lines and one checkpoint; the latter are steps on one fixed batch.
  """
  steps = window * windows
  config = mnist.get_config()
  config.model.dtype = dtype
  config.train.update(batch_size=batch, steps=steps + 2, test_every=0, log_every=window)
  config.train.checkpoint_every = steps // 2 + 1  # once in these windows
  config.test.update(images=batch, batch_size=batch)
  config.update_from_flattened_dict(changed or {})
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    function, arguments, donated = prepare('train', config, mesh, batch)
    step = jax.jit(function, donate_argnums=donated)
    bare = {'state': step(*arguments)[0]}
  seconds, batches = {'loop': 0.0, 'bare': 0.0}, data.batches

  def finished():
    for array in jax.live_arrays():
      with contextlib.suppress(RuntimeError):  # it was donated to a step
        array.block_until_ready()
    return time.perf_counter()

  def bare_window():
    begin = finished()
    for _ in range(window):
      bare['state'], _ = step(bare['state'], *arguments[1:])
    seconds['bare'] += finished() - begin

  def taking_turns(*args):
    begin = None  # the first step is not counted
    for i, rows in enumerate(batches(*args)):
      if i % window == 1:
        if begin:
          seconds['loop'] += finished() - begin
          bare_window()
        begin = finished()
      yield rows

  with tempfile.TemporaryDirectory() as folder:
    images = np.random.default_rng(0).integers(0, 256, (batch * steps, 32, 32), np.uint8)
    np.savez(f'{folder}/images.npz', train=images, test=images[:batch])
    config.data.update(path=f'{folder}/images.npz', cache_dir=f'{folder}/cache')
    with contextlib.redirect_stdout(sys.stderr), mock.patch.object(data, 'batches', taking_turns):
      train.train_and_evaluate(config, f'{folder}/run')
  return {
    'loop_s': seconds['loop'],
    'bare_s': seconds['bare'],
    'overhead': seconds['loop'] / seconds['bare'] - 1,
  }


def median(results):
  """Medians of dicts with the same names."""
  return {name: statistics.median(result[name] for result in results) for name in results[0]}


def apart(what, huge_pages=True, cache=None, processes=1, **kwargs):
  """`measure` in a process of its own, or medians of several."""
  if processes > 1:
    return median([apart(what, huge_pages, cache, **kwargs) for _ in range(processes)])
  environment = dict(os.environ)
  environment.pop('GLIBC_TUNABLES', None)
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  if huge_pages:
    environment['GLIBC_TUNABLES'] = HUGE_PAGES
  if cache:
    environment['JAX_COMPILATION_CACHE_DIR'] = cache
  command = [sys.executable, '-m', 'benchmarks.run', '--measure', json.dumps([what, kwargs])]
  output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
  result = json.loads(output.stdout.splitlines()[-1])
  print(f'{what} {kwargs}{"" if huge_pages else " plain pages"}: {result}', file=sys.stderr)
  return result


def run(only, batches, **kwargs):
  """All measurements, as tables on the way and as one dict; kwargs are those of `measure`."""
  go, dtype = functools.partial(apart, **kwargs), kwargs['dtype']
  machine = go('rates')
  on_cpu = machine['device'] == 'cpu'
  processes = 3 if on_cpu else 1
  results = {'device': machine['device'], 'dtype': dtype, 'matmul_gflops': machine['gflops']}
  results['copy_gb_per_s'] = machine['copy_gb_per_s']
  ceiling = machine['gflops'] / GFLOP_PER_TRAINED_IMAGE
  print(
    f'{machine["device"]}, {dtype} matrix products: {machine["gflops"]:.0f} GFLOP/s, copies '
    f'{machine["copy_gb_per_s"]:.0f} GB/s; ceiling {ceiling:.0f} images/s'
  )
  if 'train' in only:
    header('training, batch', 'images/s', 'GFLOP/s', 'of the ceiling', 'peak GB', 'epoch, s')
    results |= {'train_images_per_s': {}, 'peak_memory_gb': {}}
    for batch in batches:
      result = go('train', batch=batch, processes=processes)
      speed, peak_gb = result['images_per_s'], result['peak_memory_gb']
      results['train_images_per_s'][batch] = speed
      results['peak_memory_gb'][batch] = peak_gb
      reached = speed * GFLOP_PER_TRAINED_IMAGE, f'{speed / ceiling:.0%}'
      if any(name.startswith('model.') for name in kwargs.get('changed') or ()):
        reached = '-', '-'  # GFLOP are the published model's
      row(batch, speed, *reached, peak_gb, MNIST_IMAGES / speed)
  if 'train' in only and on_cpu:
    header('training on plain pages, batch', 'images/s')
    results['train_images_per_s_plain_pages'] = {}
    for batch in batches:
      speed = go('train', huge_pages=False, batch=batch, processes=processes)['images_per_s']
      results['train_images_per_s_plain_pages'][batch] = speed
      row(batch, speed)
  if 'sample' in only:
    header(f'batch {batches[-1]}', 'images/s', 'peak GB', '50,000 images, s')
    for what in ('generate', 'reconstruct'):
      result = go(what, batch=batches[-1], processes=processes)
      speed = result['images_per_s']
      results[f'{what}_images_per_s'] = {batches[-1]: speed}
      row(what, speed, result['peak_memory_gb'], 50_000 / speed)
  if 'overhead' in only:
    result = go('overhead', batch=batches[-1])
    results['overhead'] = result['overhead']
    header(f'40 steps of batch {batches[-1]}', 'seconds')
    row('bare steps on one batch', result['bare_s'])
    row('train_and_evaluate: data, metrics, log, a checkpoint', result['loop_s'])
    row('overhead', f'{result["overhead"]:.1%}')
  if 'compile' in only:
    starts = []
    for _ in range(processes):
      with tempfile.TemporaryDirectory() as cache:
        first, second = (go('train', cache=cache)['compile_s'] for _ in range(2))
      starts.append({'compile_s': first, 'compile_cached_s': second})
    results |= median(starts)
    header('compilation of the training step', 'seconds')
    row('first start', results['compile_s'])
    row('second start', results['compile_cached_s'])
  if 'timesteps' in only:
    header('T, batch 32', 'ms an image', 'ms an image and step')
    results['train_ms_per_image'] = {}
    for steps in (4, 8, 16, 32, 64):
      ms = 1e3 / go('train', timesteps=steps)['images_per_s']
      results['train_ms_per_image'][steps] = ms
      row(steps, ms, ms / steps)
  if 'techniques' in only:
    header('technique, batch 32', 'images/s', 'times', 'compile s', 'peak GB')
    results['techniques'] = {}
    before = None
    for i in range(len(plain.TECHNIQUES) + 2):
      name = ('plain', *plain.TECHNIQUES, 'huge pages')[i]
      huge = i > len(plain.TECHNIQUES)
      result = go('train', huge_pages=huge, off=plain.TECHNIQUES[i:])
      speed = result['images_per_s']
      results['techniques'][name] = speed
      gain = speed / before if before else 1.0
      row(f'+ {name}' if i else name, speed, gain, result['compile_s'], result['peak_memory_gb'])
      before = speed
  return results


PARTS = ('train', 'sample', 'overhead', 'compile', 'timesteps', 'techniques')


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--out', type=fields.new_file)
  parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
  parser.add_argument('--batches', type=int, nargs='+', default=[32, 128, 250])
  parser.add_argument('--dtype', default='float32', help='as --config.model.dtype')
  parser.add_argument('--repetitions', type=int, default=5)
  parser.add_argument('--seconds', type=float, default=8, help='of each measurement, at least')
  parser.add_argument('--measure', help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.measure:
    what, kwargs = json.loads(args.measure)
    print(json.dumps(measure(what, **kwargs)))
    return
  changed = fields.parsed(args.fields)
  instead = {'model.dtype': '--dtype', 'train.batch_size': '--batches'}
  if 'timesteps' in args.only:
    instead['model.timesteps'] = '--only without timesteps'
  for name in changed.keys() & instead:
    parser.error(f'{name} is what this measures: give {instead[name]}')
  kwargs = {'dtype': args.dtype, 'repetitions': args.repetitions, 'seconds': args.seconds}
  results = run(args.only, args.batches, changed=changed, **kwargs)
  if args.out:
    files.write_text(args.out, files.to_json(results, 1) + '\n')


if __name__ == '__main__':
  main()

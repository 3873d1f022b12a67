"""Speed and memory of the MNIST model: training, generation, reconstruction, compilation.

    python -m benchmarks.run --out=benchmarks/results/cpu.json       # all of it, about 20 minutes
    python -m benchmarks.run --only=train --batches 32                   # a part of it

Every figure comes from a process of its own, so that its peak memory is its own; the ratios that
matter (techniques, huge pages, T, batch) are between processes of one run. Times are medians of
`--repetitions` calls after two to warm up. `plain` turns the techniques of docs/performance.md off.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

GFLOP_PER_TRAINED_IMAGE = 1.31  # T = 16, all products forward and backward, both sampling passes
HUGE_PAGES = 'glibc.malloc.hugetlb=1'
TECHNIQUES = ('products', 'linear_time', 'fused_neurons', 'matmul_backward')


def plain(technique, stack):
  """Replaces one technique of the package by the formulation that a first port would have."""
  import jax
  import jax.numpy as jnp
  from jax import lax

  from benchmarks import fidelity
  from fsvae_jax.models import fsvae
  from fsvae_jax.spiking import conv, layout, linear, neurons, surrogate

  def put(module, name, function):
    stack.enter_context(mock.patch.object(module, name, function))

  def stored_lif(neuron, x_BTF, gain_C, offset_C, residue_BF):
    derivative = surrogate.SURROGATES[neuron.surrogate]

    @jax.custom_jvp
    def spike(u):
      return (u > neuron.v_th).astype(u.dtype)

    spike.defjvp(lambda u, du: (spike(*u), derivative(*u, neuron.v_th) * du[0]))

    def step(residue, x):
      u = residue + x
      o = spike(u)
      return neuron.tau * u * (1 - o), o

    drive = gain_C * x_BTF + offset_C
    residue_BF, spikes = lax.scan(step, residue_BF, jnp.moveaxis(drive, 1, 0))
    return jnp.moveaxis(spikes, 0, 1), residue_BF

  def stored_readout(neuron, x_BTF, gain_C, offset_C, weight_T):
    spikes, _ = stored_lif(neuron, x_BTF, gain_C, offset_C, neurons.rest(x_BTF))
    return jnp.tensordot(weight_T, spikes, (0, 1))

  if technique == 'products':
    put(conv, '_conv_patches', conv._conv_native)
    transpose = lambda x, kernel: layout.deinterleave(conv._transpose_native(x, kernel))
    put(conv, '_transpose_phases', transpose)
    put(conv, '_stride1_shifts', conv._stride1_native)
  elif technique == 'linear_time':
    put(fsvae, 'sample_posterior', fidelity.detached(fidelity.prefix))
  elif technique == 'fused_neurons':
    put(neurons, 'lif', stored_lif)
    put(neurons, 'lif_readout', stored_readout)
  elif technique == 'matmul_backward':
    put(linear, '_matmul', lambda x, kernel: x @ kernel)
  else:
    raise ValueError(f'unknown technique {technique!r}; known: {", ".join(TECHNIQUES)}')


def timed(function, repetitions):
  """Median seconds of `function()`, which returns arrays to wait for."""
  import jax

  seconds = []
  for _ in range(repetitions + 2):
    begin = time.perf_counter()
    jax.block_until_ready(function())
    seconds.append(time.perf_counter() - begin)
  return statistics.median(seconds[2:])


def measure(what, batch=32, timesteps=16, off=(), repetitions=5):
  """One measurement, in this process: {name: number}."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from configs import mnist
  from fsvae_jax import data, models, sharding, states, train

  if what == 'matmul':
    a = jnp.ones((4096, 4096))
    product = jax.jit(lambda a: a @ a)
    return {'gflops': 2 * 4096**3 / timed(lambda: product(a), repetitions) / 1e9}

  config = mnist.get_config()
  config.model.timesteps = timesteps
  model = models.make(config.model)
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh), contextlib.ExitStack() as stack:
    for technique in off:
      plain(technique, stack)
    init = jax.jit(model.init, out_shardings=sharding.replicated(mesh))
    variables = init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 1), np.uint8)
    images = sharding.spread(mesh, images)
    key = jax.random.key(1)
    if what == 'train':
      optimizer = states.make_optimizer(config.train, 1000)
      arguments = [states.create(variables, optimizer, 0.0), images, key]
      function = functools.partial(train.train_step, model, optimizer, config, 1000)
    elif what == 'generate':
      arguments, function = [variables, key], functools.partial(model.generate, count=batch)
    else:
      arguments = [variables, data.normalize(images), key]
      function = model.reconstruct
    begin = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=0 if what == 'train' else ()).lower(*arguments)
    compiled = compiled.compile()
    compile_s = time.perf_counter() - begin

    def call():
      result = compiled(*arguments)
      if what == 'train':
        arguments[0] = result[0]
      return result

    seconds = timed(call, repetitions)
  return {
    'images_per_s': batch / seconds,
    'compile_s': compile_s,
    'peak_memory_gb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
  }


def apart(what, huge_pages=True, cache=None, **kwargs):
  """`measure` in a process of its own."""
  environment = dict(os.environ)
  environment.pop('GLIBC_TUNABLES', None)
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  if huge_pages:
    environment['GLIBC_TUNABLES'] = HUGE_PAGES
  if cache:
    environment['JAX_COMPILATION_CACHE_DIR'] = cache
  command = [sys.executable, '-m', 'benchmarks.run', '--measure', json.dumps([what, kwargs])]
  output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
  result = json.loads(output.stdout.splitlines()[-1])
  print(f'{what} {kwargs}{"" if huge_pages else " plain pages"}: {result}', file=sys.stderr)
  return result


def row(*cells):
  """Prints a line of a Markdown table."""
  print('| ' + ' | '.join(f'{c:.4g}' if isinstance(c, float) else str(c) for c in cells) + ' |')


def header(*cells):
  print()
  row(*cells)
  row(*['---'] * len(cells))


def run(only, batches, repetitions):
  """All measurements, as tables on the way and as one dict."""
  go = functools.partial(apart, repetitions=repetitions)
  results = {'matmul_gflops': go('matmul')['gflops']}
  ceiling = results['matmul_gflops'] / GFLOP_PER_TRAINED_IMAGE
  print(f'matrix products: {results["matmul_gflops"]:.0f} GFLOP/s; ceiling {ceiling:.0f} images/s')
  if 'train' in only:
    header('training, batch', 'images/s', 'plain pages', 'GFLOP/s', 'of the ceiling', 'peak GB')
    results |= {
      'train_images_per_s': {},
      'train_images_per_s_plain_pages': {},
      'peak_memory_gb': {},
    }
    for batch in batches:
      huge, small = (go('train', huge_pages=huge, batch=batch) for huge in (True, False))
      speed = huge['images_per_s']
      results['train_images_per_s'][batch] = speed
      results['train_images_per_s_plain_pages'][batch] = small['images_per_s']
      results['peak_memory_gb'][batch] = huge['peak_memory_gb']
      row(
        batch,
        speed,
        small['images_per_s'],
        speed * GFLOP_PER_TRAINED_IMAGE,
        f'{speed / ceiling:.0%}',
        huge['peak_memory_gb'],
      )
  if 'sample' in only:
    header('batch 250', 'images/s', 'peak GB')
    for what in ('generate', 'reconstruct'):
      result = go(what, batch=250)
      results[f'{what}_images_per_s'] = {250: result['images_per_s']}
      row(what, result['images_per_s'], result['peak_memory_gb'])
  if 'compile' in only:
    with tempfile.TemporaryDirectory() as cache:
      results['compile_s'], results['compile_cached_s'] = (
        go('train', cache=cache)['compile_s'] for _ in range(2)
      )
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
    for i in range(len(TECHNIQUES) + 2):
      name = ('plain', *TECHNIQUES, 'huge pages')[i]
      huge = i > len(TECHNIQUES)
      result = go('train', huge_pages=huge, off=TECHNIQUES[i:])
      speed = result['images_per_s']
      results['techniques'][name] = speed
      gain = speed / before if before else 1.0
      row(f'+ {name}' if i else name, speed, gain, result['compile_s'], result['peak_memory_gb'])
      before = speed
  return results


PARTS = ('train', 'sample', 'compile', 'timesteps', 'techniques')


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
  parser.add_argument('--batches', type=int, nargs='+', default=[32, 128, 250])
  parser.add_argument('--repetitions', type=int, default=5)
  parser.add_argument('--measure', help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.measure:
    what, kwargs = json.loads(args.measure)
    print(json.dumps(measure(what, **kwargs)))
    return
  results = run(args.only, args.batches, args.repetitions)
  if args.out:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
  main()

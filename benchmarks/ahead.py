"""The training step compiled for accelerators that this machine lacks: what it needs of them.

    pip install libtpu;         python -m benchmarks.ahead --target v5e:2x2 --batch 1000
    pip install 'jax[cuda12]';  python -m benchmarks.ahead --target h200 model.remat=True

Compilers of TPUs and GPUs run on any machine. They say how much memory a device will take; a GPU's,
into how many kernels it cut the step (each takes microseconds to start, whatever it computes); a
TPU's, how many cycles it expects.
"""

import functools
import os
import re
import time

from benchmarks import fields

# A GPU's compiler asks the driver for these; without one, they are told it.
H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 4800000000000 device_memory_size: 151397597184 l2_cache_size: 52428800
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H200"
"""

NO_KERNELS = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'iota'}


def devices(target):
  """Devices that can be compiled for: 'h200', or a TPU topology such as 'v5e:2x2'."""
  from jax.experimental import topologies

  if target == 'h200':
    options = {'platform': 'cuda', 'target_config': H200, 'topology': '1x1x1'}
    return topologies.get_topology_desc(**options).devices
  return topologies.get_topology_desc(target, 'tpu').devices


def lowered_step(on, batch, changed):
  """The lowered training step of MNIST, some fields changed, for the devices `on`."""
  import jax
  import numpy as np

  from fsvae_jax import models, training_step
  from fsvae_jax.configs import mnist
  from fsvae_jax.run import sharding, states

  config = mnist.get_config()
  config.update_from_flattened_dict(changed)
  model, optimizer = models.make(config.model), states.make_optimizer(config.train, 1000)
  mesh = sharding.make_mesh(on)
  key = jax.eval_shape(lambda: jax.random.key(0))
  create = lambda key: states.create(model.init(key), optimizer, config.train.ema_decay)
  with jax.set_mesh(mesh):
    state, key = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding.replicated(mesh)),
      (jax.eval_shape(create, key), key),
    )
    images = jax.ShapeDtypeStruct((batch, 32, 32, 1), np.uint8, sharding=sharding.split(mesh))
    step = functools.partial(training_step.train_step, model, optimizer, config, 1000)
    return jax.jit(step, donate_argnums=0).lower(state, {'image': images}, key)


def total(text, weigh):
  """Sum of `weigh(operation, line)` over all that one call of a program (its HLO text) runs.

  Loops of unknown length count once.
  """
  bodies, name = {}, None
  for line in text.splitlines():
    if start := re.match(r'(ENTRY )?%?([\w.\-]+) .*\{$', line):
      name = 'ENTRY' if start[1] else start[2]
      bodies[name] = []
    elif instruction := re.match(r'\s+(?:ROOT )?%[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(', line):
      bodies[name].append((instruction[1], line))

  def of(name):
    result = 0
    for operation, line in bodies[name]:
      if operation == 'while':
        passes = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        body = re.search(r'body=%([\w.\-]+)', line)[1]
        result += of(body) * (int(passes[1]) if passes else 1)
      else:
        result += weigh(operation, line)
    return result

  return of('ENTRY')


def kernels(operation, line):
  """Of a GPU's operation: one, or none."""
  return operation not in NO_KERNELS


def cycles(operation, line):
  """Of a TPU's operation, as its compiler expects."""
  expected = re.search(r'"estimated_cycles":"(\d+)"', line)
  return int(expected[1]) if expected else 0


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--target', default='h200', help='h200, or a TPU topology as v5e:2x2')
  parser.add_argument('--batch', type=int, default=250, help='of all devices together')
  args = parser.parse_args()
  # There is no such device to ask: neither for its way of computing, nor for its surroundings.
  os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_gpu_autotune_level=0'
  os.environ |= {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1'}
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  from fsvae_jax.compute import platform

  changed = {'model.dtype': 'bfloat16'} | fields.parsed(args.fields)
  with platform.for_any():
    lowered = lowered_step(devices(args.target), args.batch, changed)
  begin = time.perf_counter()
  compiled = lowered.compile()
  seconds = time.perf_counter() - begin
  memory = compiled.memory_analysis()
  print(f'{args.target}, training step of batch {args.batch}, {changed}:')
  print(f'  compiled in {seconds:.0f} s')
  print(f'  parameters and optimizer: {memory.argument_size_in_bytes / 1e9:.2f} GB a device')
  print(f'  beside them: {memory.temp_size_in_bytes / 1e9:.2f} GB a device')
  if args.target == 'h200':
    print(f'  kernels: {total(compiled.as_text(), kernels)}')
  else:
    print(f'  million cycles: {total(compiled.as_text(), cycles) / 1e6:.0f}')


if __name__ == '__main__':
  main()

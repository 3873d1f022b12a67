"""The smallest run that has every part of a real one, in this process or as processes of its own.

python -m tests.smoke WORKDIR CACHE FIELDS MODEL_OF [COORDINATOR PROCESSES PROCESS]
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax

ROOT = pathlib.Path(__file__).parent.parent
# Programs are compiled in one piece, not in 32 at once: the workers have all cores at work already.
QUICK = '--xla_cpu_parallel_codegen_split_count=1'
if jax.__version_info__[:2] == (0, 10):  # its loops take XLA twice as long; 0.12 has one way
  QUICK += ' --xla_cpu_use_fusion_emitters=false'


def xla_flags(devices):
  """XLA_FLAGS of a process of the tests, with so many simulated devices."""
  return f'--xla_force_host_platform_device_count={devices} {QUICK}'


def config(cache, **fields):
  """Digits at 8x8 pixels, one convolution, T = 3, six steps; `fields` as 'section.field'."""
  from fsvae_jax.configs import digits

  c = digits.get_config()
  c.data.cache_dir = str(cache)
  c.model.update(image_size=8, features=(6,), timesteps=3, latent_dim=6, draws=3)
  c.model.latent = 'bernoulli'  # the published one
  c.train.update(
    batch_size=8,
    steps=6,
    warmup_steps=0,
    optimizer='adamw',  # Muon takes longer to compile than such a model takes to train
    learning_rate=2e-3,
    log_every=2,
    test_every=3,
    checkpoint_every=2,
    ema_decay=0.9,
  )
  c.test.update(batch_size=8, images=18, samples=4)
  c.update_from_flattened_dict(fields)
  return c


def ann_config(cache):
  """The smallest run of the ANN, which compiles in a quarter of the time: for what is of any run's
  files, signals and checkpoints, whatever it computes."""
  from fsvae_jax.configs import default

  c = config(cache)
  c.update(default.of_kind(c, 'ann', batches=10))
  return c


def start(workdir, cache, fields, model_of='', *, devices=1, group=()):
  """Starts `main` below as a process; `group` is (coordinator, processes, process)."""
  command = [sys.executable, '-m', 'tests.smoke', workdir, cache, json.dumps(fields), model_of]
  environment = {'XLA_FLAGS': xla_flags(devices)}
  return subprocess.Popen(
    list(map(str, (*command, *group))),
    cwd=ROOT,
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def start_group(workdirs, *args, devices=2):
  """Starts the processes of one run, one for each workdir, which should be the same."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    coordinator = f'localhost:{free.getsockname()[1]}'
  return [
    start(workdir, *args, devices=devices, group=(coordinator, len(workdirs), process))
    for process, workdir in enumerate(workdirs)
  ]


def main(workdir, cache, fields, model_of, coordinator=None, processes=None, process=None):
  """Trains; keeps the variables, and eight images of this model or of the one in `model_of`."""
  import numpy as np
  from absl import logging
  from flax import traverse_util

  from fsvae_jax import inference, train
  from fsvae_jax.run import distributed

  logging.set_verbosity(logging.WARNING)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_disable_most_optimizations', True)
  with distributed.joined(coordinator, processes and int(processes), process and int(process)):
    c = config(cache, **json.loads(fields))
    finished, _ = train.train_and_evaluate(c, workdir)
    if finished:
      trained = inference.restore(c, workdir)
      arrays = traverse_util.flatten_dict(jax.device_get(trained.variables), sep='/')
      arrays['samples'] = inference.restore(c, model_of or workdir).generate(8)
      if jax.process_index() == 0:
        np.savez(f'{workdir}/end.npz', **arrays)


if __name__ == '__main__':
  main(*sys.argv[1:])

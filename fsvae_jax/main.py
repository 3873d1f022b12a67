"""python -m fsvae_jax.main --config=configs/mnist.py [--workdir=DIR] [--config.FIELD=VALUE ...]
[--mode=train|eval|generate|reconstruct] [--step=N] [--count=N] [--seed=N]
"""

import pathlib
import platform
import runpy
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from fsvae_jax import distributed, evaluate, train

_CONFIG = config_flags.DEFINE_config_file('config', 'configs/digits.py', 'The configuration file.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run is kept; default runs/<config>.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'generate', 'reconstruct'],
  'train: train, then evaluate; eval: metrics and report; generate, reconstruct: write images.',
)
_STEP = flags.DEFINE_string('step', None, "A checkpoint's number, or best, if not the newest.")
_COUNT = flags.DEFINE_integer('count', 64, 'How many images to generate or reconstruct.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the draws of generated or reconstructed images.')
_COORDINATOR = flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0 of several.')
_PROCESSES = flags.DEFINE_integer('processes', None, 'How many processes share this run.')
_PROCESS = flags.DEFINE_integer('process', None, 'Which of them this is, from 0.')


# Exit code of a training that was stopped before its end (sysexits.h: "temporary failure; user is
# invited to retry"): to a scheduler it is not done, and the same command goes on.
STOPPED = 75


def main(_):
  """Trains, evaluates or makes images, together with the other processes of the run."""
  logging.set_verbosity(logging.WARNING)
  with distributed.joined(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value):
    finished = run()
  return 0 if finished else STOPPED


def run():
  """What `--mode` says; whether it came to its end."""
  if not jax.config.jax_compilation_cache_dir:  # a second start need not compile again
    cache = pathlib.Path('~/.cache/fsvae_jax/compiled').expanduser() / platform.node()
    jax.config.update('jax_compilation_cache_dir', str(cache))
  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
  config, workdir = _CONFIG.value, _WORKDIR.value or f'runs/{name}'
  step = int(_STEP.value) if (_STEP.value or '').isdigit() else _STEP.value
  if _MODE.value == 'eval':
    evaluate.evaluate(config, workdir, step)
  elif _MODE.value == 'train':
    evaluate.check(config)
    finished, _ = train.train_and_evaluate(config, workdir)
    if not finished:
      return False
    evaluate.evaluate(config, workdir)
  else:
    evaluate.write_images(config, workdir, _MODE.value, _COUNT.value, step, _SEED.value)
  return True


def parse_flags(argv):
  """absl's parser; for an unknown field of the configuration it names the known ones."""
  try:
    return app.parse_flags_with_usage(argv)
  except AttributeError as error:  # what ml_collections raises; its flags hold no value then
    prefix = '--config='
    named = (arg.removeprefix(prefix) for arg in argv if arg.startswith(prefix))
    config = runpy.run_path(next(named, flags.FLAGS['config'].default))['get_config']()
    sections = {name: section for name, section in config.items() if hasattr(section, 'keys')}
    known = [f'{name}.{field}' for name, section in sections.items() for field in section]
    sys.exit(f'unknown field of the configuration: {error}\nknown: seed, {", ".join(known)}')


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)

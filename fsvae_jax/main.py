"""python -m fsvae_jax.main --config=configs/mnist.py [--workdir=DIR] [--config.FIELD=VALUE ...]"""

import pathlib
import platform
import runpy
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from fsvae_jax import train

_CONFIG = config_flags.DEFINE_config_file('config', 'configs/digits.py', 'The configuration file.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the run is kept; default runs/<config>.')


def main(_):
  """Trains."""
  logging.set_verbosity(logging.WARNING)
  if not jax.config.jax_compilation_cache_dir:  # a second start need not compile again
    cache = pathlib.Path('~/.cache/fsvae_jax/compiled').expanduser() / platform.node()
    jax.config.update('jax_compilation_cache_dir', str(cache))
  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
  train.train_and_evaluate(_CONFIG.value, _WORKDIR.value or f'runs/{name}')


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

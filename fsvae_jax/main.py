"""python -m fsvae_jax.main --config=configs/mnist.py [--workdir=DIR] [--config.FIELD=VALUE ...]"""

import pathlib
import platform

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


if __name__ == '__main__':
  app.run(main)

"""python -m fsvae_jax.main --config=configs/mnist.py [--workdir=DIR] [--config.FIELD=VALUE ...]"""

import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from fsvae_jax import train

_CONFIG = config_flags.DEFINE_config_file(
  'config', 'configs/digits.py', 'File with the configuration.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where the run is kept; default runs/<name of the config>.'
)


def main(_):
  """Trains."""
  logging.set_verbosity(logging.WARNING)
  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS['config'])).stem
  train.train_and_evaluate(_CONFIG.value, _WORKDIR.value or f'runs/{name}')


if __name__ == '__main__':
  app.run(main)

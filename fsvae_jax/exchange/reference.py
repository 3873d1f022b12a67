"""Checkpoints of the authors' PyTorch code (kamata1729/FullySpikingVAE) as runs of ours, and back.

python -m fsvae_jax.exchange.reference --checkpoint=FILE --config=configs/mnist.py --workdir=DIR
"""

import contextlib
import pathlib
import sys

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from ml_collections import ConfigDict

from fsvae_jax import configuration, fields, models
from fsvae_jax.exchange import state_dicts
from fsvae_jax.exchange.reference_arrays import check_model, convert, state_dict
from fsvae_jax.inference import Trained
from fsvae_jax.run import checkpoint, console, states
from fsvae_jax.run import workdir as workdirs

# Widths of convolutions, by image size, for which the authors' scripts are written.
_SIZES = {32: (32, 64, 128, 256), 64: (32, 64, 128, 256, 512)}


def import_checkpoint(path: str | pathlib.Path, config: ConfigDict, workdir: str | pathlib.Path):
  """Starts a run in `workdir` from the reference's checkpoint: step 0, a fresh optimizer.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that cannot be read or does not fit
      `config.model`; nothing is written then.
  """
  workdir = workdirs.check_writable(workdir)
  if workdirs.has_checkpoints(workdir):
    raise ValueError(f'{workdir} already holds checkpoints; take another --workdir')
  fields.check_all(config)
  if config.model.name != 'fsvae':
    raise ValueError(f'model.name is {config.model.name!r}; checkpoints of the reference are fsvae')
  check_model(config.model)
  if config.train.get('start'):
    raise ValueError('train.start is given, but this run begins as the checkpoint: leave it empty')
  like = jax.eval_shape(models.make(config.model).init, jax.random.key(0))
  variables = convert(state_dicts.load(path), config.model.features, like)
  variables = jax.tree.map(jnp.asarray, variables)
  optimizer = states.make_optimizer(config.train, total_steps=1)
  with (
    workdirs.claim(workdir),
    contextlib.closing(checkpoint.Checkpoints(workdir, config.train.keep)) as checkpoints,
  ):
    workdirs.write_record(workdir, config, {})
    only = tuple(config.train.get('only', ()))
    checkpoints.save(0, states.create(variables, optimizer, config.train.ema_decay, only))


def export(trained: Trained, folder: pathlib.Path) -> None:
  """Writes `model.pth`, which the authors' scripts load, into `folder`.

  Raises:
    ValueError: as `state_dict` does; ImportError without PyTorch.
  """
  model = trained.config.model
  state_dicts.save(folder / 'model.pth', state_dict(trained.variables, model))
  if tuple(model.features) != _SIZES.get(model.image_size):
    console.say(
      f"the authors' scripts are written for widths {_SIZES} by image size: for {model.features} "
      f'at {model.image_size} theirs have to be changed'
    )
  if model.latent == 'rate':
    console.say("ESVAE's class has two networks that it does not use: load with strict=False")
  if model.latent == 'mixture':
    console.say("the mixture's patterns stay out: there, the prior makes a sample's first steps")


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with the fields of the configuration that `--config` names."""
  if {'--help', '-h'} & set(argv[1:]):
    print(__doc__)
    sys.exit()
  given, rest = configuration.ahead(argv[1:], 'config')
  if given.config is None:
    sys.exit('--config is missing: the configuration that the file was trained with')
  try:
    configuration.parse_flags([argv[0], *rest], configuration.load(given.config))
  except ValueError as error:
    sys.exit(f'{error}')
  return argv


def main(_: list[str]) -> None:
  """Imports what the flags name."""
  logging.set_verbosity(logging.WARNING)
  args = flags.FLAGS
  try:
    import_checkpoint(args.checkpoint, args.config, args.workdir)
  except (ValueError, FileNotFoundError, ImportError) as error:
    sys.exit(f'{error}')
  console.say(f'{args.checkpoint} is now step 0 of the run in {args.workdir}')


if __name__ == '__main__':
  flags.DEFINE_string('checkpoint', None, 'The .pth or .npz file.', required=True)
  flags.DEFINE_string('workdir', None, 'Where to start the run.', required=True)
  app.run(main, flags_parser=parse_flags)

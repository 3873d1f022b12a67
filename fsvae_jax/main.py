"""python -m fsvae_jax.main --config=mnist [--workdir=DIR] [--config.FIELD=VALUE ...]
python -m fsvae_jax.main --mode=eval|generate|reconstruct --workdir=DIR [--step=N] [--count=N]
"""

import argparse
import pathlib
import platform
import sys

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from fsvae_jax import (
  configuration,
  console,
  distributed,
  evaluate,
  fields,
  files,
  signals,
  train,
  workdir,
)

DEFAULT = 'digits'
_HELP = f'One of {", ".join(configuration.names())}, or a file of your own.'

flags.DEFINE_string('workdir', None, 'Where the run is kept; default runs/<config>.')
flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'generate', 'reconstruct'],
  'train: train, then evaluate; eval: metrics and report; generate, reconstruct: write images. '
  "All but train read the run's own configuration from its workdir.",
)
flags.DEFINE_string('step', None, "A checkpoint's number, or best, if not the newest.")
flags.DEFINE_integer('count', 64, 'How many images to generate or reconstruct.', 1)
flags.DEFINE_integer('seed', 0, 'Of the draws of generated or reconstructed images.', 0)
flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0 of several.')
flags.DEFINE_integer('processes', None, 'How many processes share this run.')
flags.DEFINE_integer('process', None, 'Which of them this is, from 0.')


def command() -> None:
  """The console script."""
  app.run(main, flags_parser=parse_flags)


def main(_: list[str]) -> int:
  """Trains, evaluates or makes images, together with the other processes of the run."""
  logging.set_verbosity(logging.WARNING)
  try:
    with signals.raised():
      args = flags.FLAGS
      with distributed.joined(args.coordinator, args.processes, args.process):
        finished = run()
  except signals.Stopped as stopped:
    print(f'stopped {stopped}; the same command goes on', file=sys.stderr)
    finished = False
  console.settle()
  return 0 if finished else signals.STOPPED


def run() -> bool:
  """What `--mode` says; whether it came to its end."""
  args = flags.FLAGS
  config, folder = args.config, args.workdir
  keep_compiled(files.expand(config.data.cache_dir, 'data.cache_dir') / 'compiled')
  step = int(args.step) if (args.step or '').isdigit() else args.step
  if args.mode == 'eval':
    evaluate.evaluate(config, folder, step)
  elif args.mode == 'train':
    evaluate.check(config)
    finished, _ = train.train_and_evaluate(config, folder)
    if not finished:
      return False
    evaluate.evaluate(config, folder)
  else:
    evaluate.write_images(config, folder, args.mode, args.count, step, args.seed)
  return True


def keep_compiled(folder: pathlib.Path) -> None:
  """A second start need not compile again; where nothing can be written, it does."""
  if not jax.config.values['jax_compilation_cache_dir']:
    jax.config.update('jax_compilation_cache_dir', str(folder / platform.node()))


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, for the configuration that `--mode` needs; refuses what it does not know."""
  ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  for name in ('config', 'workdir', 'mode'):
    ahead.add_argument(f'--{name}', f'-{name}')
  given, rest = ahead.parse_known_args(last_of_each(argv[1:]))
  try:
    folder = given.workdir or f'runs/{configuration.run_name(given.config or DEFAULT)}'
    folder = workdir.check(folder)
    of_run = given.mode in ('eval', 'generate', 'reconstruct')
    config = (
      recorded(folder, given.config) if of_run else configuration.load(given.config or DEFAULT)
    )
  except (ValueError, FileNotFoundError) as error:
    sys.exit(f'{error}')
  argv = [argv[0], f'--workdir={folder}', *([f'--mode={given.mode}'] if given.mode else []), *rest]
  before = fields.flatten(config.to_dict())
  try:
    config_flags.DEFINE_config_dict('config', config, _HELP, sys_argv=argv)
    left = app.parse_flags_with_usage(argv)
  except AttributeError as error:  # what ml_collections raises for an unknown field
    sys.exit(f'unknown field of the configuration: {error}\nknown: {", ".join(before)}')
  refuse_left(left[1:])
  if of_run:
    refuse_contradictions(folder, before, config_flags.get_override_values(flags.FLAGS['config']))
  return left


def last_of_each(arguments: list[str]) -> list[str]:
  """The arguments, of `--config.FIELD` given several times only the last.

  ml_collections would join the values of a tuple.
  """
  units, i = [], 0  # [(name or None, arguments)]
  while i < len(arguments):
    name, equals, _ = arguments[i].lstrip('-').partition('=')
    is_field = arguments[i].startswith('-') and name.startswith('config.')
    apart = is_field and not equals and i + 1 < len(arguments) and arguments[i + 1][:1] != '-'
    units.append((name if is_field else None, arguments[i : i + 1 + apart]))
    i += 1 + apart
  last = {name: i for i, (name, _) in enumerate(units)}
  return [a for i, (name, unit) in enumerate(units) if not name or last[name] == i for a in unit]


def recorded(folder: pathlib.Path, text: str | None) -> ConfigDict:
  """The configuration of the run in `folder`, with today's defaults for fields that it lacks.

  Raises:
    ValueError, FileNotFoundError: if there is none, or if `text`, what `--config` says, is of
      another model or data set.
  """
  record = workdir.record(folder)
  if not record:
    raise FileNotFoundError(
      f'{folder} has no config.json, so no run: train there first, or name another --workdir'
    )
  if text:
    said = configuration.load(text)
    for section in ('model', 'data'):
      ours, theirs = said[section].name, record[section]['name']
      if ours != theirs:
        raise ValueError(
          f'--config={text} says {section}.name {ours}; the run in {folder} has {theirs}: leave '
          '--config out, or name another --workdir'
        )
  config = configuration.defaults().to_dict()
  for name, value in record.items():
    whole = name == 'model' or not isinstance(value, dict)  # a model's fields are its own
    config[name] = value if whole else config.get(name, {}) | value
  return ConfigDict(config)


def refuse_left(left: list[str]) -> None:
  """Ends the program if there are arguments that no flag has taken."""
  if left:
    field = left[0].startswith(('config.', 'config='))
    hint = f'did you mean --{left[0]}?' if field else 'did you mean --config=...?'
    sys.exit(f'not understood: {" ".join(left)} ({hint} Flags come before anything else.)')


def refuse_contradictions(folder: pathlib.Path, before: dict, overrides: dict) -> None:
  """Ends the program if the command line says otherwise than the run's config.json."""
  for name, value in overrides.items():
    section = name.split('.')[0]
    free = section in ('eval', 'test') or (section == 'data' and fields.may_change(name))
    if not free and value != before[name]:
      sys.exit(
        f'{name} is {value!r} on the command line, but the run in {folder} has {before[name]!r}; '
        'only eval.*, test.* and where the data lie may be given'
      )


if __name__ == '__main__':
  command()

"""A benchmark's command line, with fields of the configuration on it: `model.timesteps=4`."""

import argparse
import ast
import pathlib

from fsvae_jax.fields import may_change


def parser(doc):
  """A benchmark's parser: its docstring is the help, `parsed` reads its arguments `fields`."""
  made = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  made.add_argument('fields', nargs='*', help='of the configuration, as model.timesteps=4')
  return made


def new_file(text):
  """The path of a file to write, as an argument's type; its folder is made now, not after hours."""
  path = pathlib.Path(text)
  path.parent.mkdir(parents=True, exist_ok=True)
  return path


def parsed(arguments):
  """{'section.field': value} of ['section.field=value', ...]."""
  if strange := [argument for argument in arguments if '=' not in argument]:
    raise SystemExit(f'not understood: {" ".join(strange)}; fields are as model.timesteps=4')
  pairs = dict(argument.split('=', 1) for argument in arguments)
  return {name: _value(text) for name, text in pairs.items()}


def trained(args):
  """The run in `--workdir`; fields say where its data lie."""
  from fsvae_jax import inference, main

  config = main.recorded(args.workdir, None)
  config.update_from_flattened_dict(parsed(args.fields))
  return inference.restore(config, args.workdir)  # which refuses another model


def named(config, arguments):
  """A configuration's name, with the fields that make it another: not those that say where its
  data lie, or the authors' autoencoders."""
  place = lambda name: name.startswith(('data.', 'eval.fad_reference')) and may_change(name)
  return ' '.join([config, *sorted(a for a in arguments if not place(a.split('=')[0]))])


def flags(fields):
  """The fields as flags of fsvae_jax.main."""
  return [f'--config.{name}={value}' for name, value in fields.items()]


def _value(text):
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text

"""Fields of the configuration on a benchmark's command line: `model.timesteps=4 model.draws=5`."""

import ast

from fsvae_jax.fields import may_change


def add_to(parser, default=()):
  """Adds the positional arguments `fields`; `parsed` reads them."""
  parser.add_argument(
    'fields', nargs='*', default=list(default), help='of the configuration, as model.timesteps=4'
  )


def parsed(arguments):
  """{'section.field': value} of ['section.field=value', ...]."""
  pairs = dict(argument.split('=', 1) for argument in arguments)
  return {name: _value(text) for name, text in pairs.items()}


def named(config, arguments):
  """A configuration's name, with the fields that make it another: not those that a run may change
  of its data, as where they lie."""
  place = lambda name: name.startswith('data.') and may_change(name)
  return ' '.join([config, *sorted(a for a in arguments if not place(a.split('=')[0]))])


def flags(fields):
  """The fields as flags of fsvae_jax.main."""
  return [f'--config.{name}={value}' for name, value in fields.items()]


def _value(text):
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text

"""What `--config` takes: a name such as mnist or mnist:ann, or a file of one's own.

A file has a function `get_config()` that returns a ConfigDict. What stands behind a colon is handed
to it: `--config=my.py:wide` is get_config('wide'). It may import files beside it.
"""

import argparse
import contextlib
import inspect
import pathlib
import pkgutil
import re
import runpy
import shlex
import sys
import traceback
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from fsvae_jax import configs, fields
from fsvae_jax.configs import default
from fsvae_jax.run import files, workdir


def names() -> list[str]:
  """The configurations that come with the package."""
  stems = [module.name for module in pkgutil.iter_modules(configs.__path__)]
  stems.remove('default')  # the others start from it
  return [f'{stem}:{kind}' if kind else stem for stem in stems for kind in default.KINDS]


def defaults() -> ConfigDict:
  """Every field of a run, with its default."""
  return default.get_config()


def load(text: str) -> ConfigDict:
  """The configuration that `--config=text` means; it is locked, so that no field can be misspelt.

  A name means a file of the package, in whatever folder this is called; `.py` makes it a path.

  Raises:
    ValueError: naming the known configurations, if it is neither one of them nor a file; for a
      file without get_config(), or whose get_config() returns something else than a ConfigDict
      with every field of a run; and for an argument that it does not take.
  """
  path, argument = _locate(text)
  with _importing_beside(path):
    get_config = runpy.run_path(str(path)).get('get_config')
    if not callable(get_config):
      raise ValueError(f'{path} has no function get_config()')
    arguments = (argument,) if argument else ()
    try:
      inspect.signature(get_config).bind(*arguments)
    except TypeError as error:
      way = 'leave out what is behind the colon' if argument else 'give it behind a colon'
      raise ValueError(
        f'{path}: get_config() does not take --config={text}: {error}; {way}'
      ) from error
    try:
      config = get_config(*arguments)
    except (ValueError, FileNotFoundError) as error:  # of the file's own, which it does not name
      frames = traceback.extract_tb(error.__traceback__)
      lines = [f', line {frame.lineno}' for frame in frames if frame.filename == str(path)]
      raise ValueError(f'{path}{"".join(lines[-1:])}: {error}') from error
  if isinstance(config, FrozenConfigDict):
    config = ConfigDict(config)
  if not isinstance(config, ConfigDict):
    raise ValueError(f'{path}: get_config() returned {type(config).__name__}, not a ConfigDict')
  try:
    files.to_json(config.to_dict())
  except TypeError as error:
    raise ValueError(
      f'{path}: {error}, so that config.json could not keep it; take numbers of Python (int(x), '
      'float(x)), text, True, False, and tuples of these'
    ) from error
  if lacking := _lacking(config):
    raise ValueError(
      f'{path}: the configuration lacks {", ".join(lacking)}; begin with '
      'fsvae_jax.configs.default.get_config(), or that of another of its files, and change it'
    )
  with config.unlocked():
    for name, value in _whole(config.model.to_dict()).items():
      if name not in config.model:
        config.model[name] = value
  return config.lock()


def of_run(folder: pathlib.Path) -> ConfigDict | None:
  """The configuration in `<folder>/config.json`, with today's defaults for fields that it lacks;
  locked.

  None if there is none. Raises ValueError if it is damaged.
  """
  record = workdir.record(folder)
  if not record:
    return None
  if lost := [section for section in ('model', 'data') if section not in record]:
    raise ValueError(
      f'{folder}/config.json is damaged (it has no {" and no ".join(lost)}); the command that '
      'trained writes it anew: give it again, as it was'
    )
  config = defaults().to_dict()
  for name, value in record.items():
    section = name != 'model' and isinstance(value, dict)  # a model's fields are its own
    config[name] = config.get(name, {}) | value if section else value
  return ConfigDict(config | {'model': _whole(config['model'])}).lock()


def command(config: ConfigDict) -> str:
  """The shortest command that trains such a run, wherever data lie and whatever is evaluated."""
  loss = ('eval.ac_pj', 'eval.mac_pj') if config.train.get('energy_weight') else ()
  values, known = (fields.flatten(c.to_dict()) for c in (config, defaults()))
  own = {
    name: value
    for name, value in values.items()
    if (name in known or name.startswith('model.'))  # a file's own fields are no flags
    and not fields.idle(name, values)
    and (name.split('.')[0] not in ('eval', 'test') or name in loss)
    and not (name.startswith('data.') and fields.may_change(name))
  }
  own['train.start'] = pathlib.Path(own.get('train.start', '')).name
  ways = []
  for name in names():
    base = fields.flatten(load(name).to_dict())
    if own.keys() <= base.keys():
      differing = [f'--config.{field}={x}' for field, x in own.items() if base[field] != x]
      ways.append([f'--config={name}', *differing])
  return shlex.join(['python', '-m', 'fsvae_jax.main', *min(ways, key=len, default=())])


def run_name(text: str) -> str:
  """Name of the folder in runs/: mnist, mnist_ann for mnist:ann, my_wide for a/my.py:wide."""
  file, argument = _split(text)
  stem = pathlib.Path(file).stem
  return re.sub(r'[^\w.,=+-]', '_', f'{stem}_{argument}' if argument else stem)


def ahead(argv: list[str], *names: str) -> tuple[argparse.Namespace, list[str]]:
  """Values of flags that must be known before the others can be parsed, and the other arguments."""
  parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  for name in names:
    parser.add_argument(f'--{name}', f'-{name}')
  return parser.parse_known_args(_last_of_each(argv))


def parse_flags(argv: list[str], config: ConfigDict) -> dict[str, Any]:
  """absl's parser, with `config` as the flag `--config` and `--config.FIELD=VALUE` for its fields.

  Ends the program for an unknown field, naming the known ones, and for arguments that are no flags.

  Returns:
    {field: value} of what the arguments set.
  """
  known = fields.flatten(config)
  about = f'One of {", ".join(names())}, or a file of your own.'
  try:
    config_flags.DEFINE_config_dict('config', config, about, sys_argv=argv)
    left = app.parse_flags_with_usage(argv)[1:]
  except (AttributeError, LookupError, TypeError, ValueError) as error:  # of ml_collections
    sys.exit(f'unknown field of the configuration: {error}\nknown: {", ".join(known)}')
  if left:
    is_flag = left[0].startswith(('config.', 'config='))
    hint = f'did you mean --{left[0]}?' if is_flag else 'did you mean --config=...?'
    sys.exit(f'not understood: {" ".join(left)} ({hint} Flags come before anything else.)')
  given = config_flags.get_override_values(flags.FLAGS['config'])
  for name in given.keys() - known.keys():
    sys.exit(f'--config.{name} is a section: give its fields, --config.{name}.FIELD=VALUE')
  return given


def _last_of_each(arguments):
  """The arguments, of `--config.FIELD` given several times only the last.

  ml_collections would join the values of a tuple.
  """
  units, i = [], 0  # [(name or None, arguments)]
  while i < len(arguments):
    name, equals, _ = arguments[i].lstrip('-').partition('=')
    is_field = arguments[i].startswith('-') and name.startswith('config.')
    value = (arguments[i + 1 :] or ['-'])[0]
    apart = is_field and not equals and re.match(r'[^-]|-[\d.]|$', value)  # a number may be below 0
    size = 1 + bool(apart)
    units.append((name if is_field else None, arguments[i : i + size]))
    i += size
  last = {name: i for i, (name, _) in enumerate(units)}
  return [a for i, (name, unit) in enumerate(units) if not name or last[name] == i for a in unit]


@contextlib.contextmanager
def _importing_beside(path):
  """Lets a file import those of its folder, as a script may; all others come first."""
  before = sys.path
  sys.path = [*before, str(path.resolve().parent)]
  try:
    yield
  finally:
    sys.path = before


def _lacking(config):
  """The sections and fields of a run that a configuration has not.

  Of a model, those that all have: the others have defaults where the model is.
  """
  own, of_models = fields.flatten(config), ('model.name', 'model.image_size', 'model.channels')
  section = lambda name: name.partition('.')[0]
  wanted = [n for n in fields.flatten(defaults()) if section(n) != 'model' or n in of_models]
  gone = [n if section(n) in config else section(n) for n in wanted if n not in own]
  return list(dict.fromkeys(gone))


def _whole(model):
  """A model's fields, with defaults for those that it lacks: of the FSVAE's, or of all models'."""
  known = defaults().model.to_dict()
  if model.get('name') != known['name']:
    known = {name: known[name] for name in ('features', 'latent_dim')}
  return known | model


def _split(text):
  file = re.fullmatch(r'(.+?\.py)(?::(.*))?', text, re.DOTALL)
  return (file[1], file[2] or '') if file else text.partition(':')[::2]


def _locate(text):
  file, argument = _split(text)
  if text in names():
    return pathlib.Path(configs.__path__[0], f'{file}.py'), argument
  path = files.expand(file, '--config')
  if not file.endswith('.py') or not path.is_file():
    raise ValueError(f'there is no configuration {text}; known: {", ".join(names())}, or FILE.py')
  return path, argument

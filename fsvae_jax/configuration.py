"""What `--config` takes: a name such as mnist or mnist:ann, or a file of one's own.

A file has a function `get_config()` that returns a ConfigDict. What stands behind a colon is handed
to it: `--config=my.py:wide` is get_config('wide').
"""

import pathlib
import pkgutil
import re
import runpy

from ml_collections import ConfigDict

from fsvae_jax import configs, files
from fsvae_jax.configs import default


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
      file without get_config(), or whose get_config() returns something else than a ConfigDict;
      and for an argument that one of the package's refuses.
  """
  path, argument = _locate(text)
  get_config = runpy.run_path(str(path)).get('get_config')
  if get_config is None:
    raise ValueError(f'{path} has no function get_config()')
  config = get_config(argument) if argument else get_config()
  if not isinstance(config, ConfigDict):
    raise ValueError(f'{path}: get_config() returned {type(config).__name__}, not a ConfigDict')
  return config.lock()


def run_name(text: str) -> str:
  """Name of the folder in runs/: mnist, mnist_ann for mnist:ann, my_wide for a/my.py:wide."""
  file, argument = _split(text)
  stem = pathlib.Path(file).stem
  return re.sub(r'[^\w.,=+-]', '_', f'{stem}_{argument}' if argument else stem)


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

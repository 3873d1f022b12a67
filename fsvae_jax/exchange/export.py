"""A trained run in the formats that others read: `--mode=export --workdir=DIR --format=NAME`."""

import pathlib
import pkgutil
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from fsvae_jax import inference
from fsvae_jax.compute import checks
from fsvae_jax.run import console, files
from fsvae_jax.run import workdir as workdirs


class Format(NamedTuple):
  """A format.

  Attributes:
    function: 'module:name' of a function (Trained, folder) that writes its files into an empty
      folder; imported when it is asked for, since its libraries needn't be installed.
    extra: of this package, with which they are.
  """

  function: str
  extra: str = ''


def write(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  name: str,
  step: int | str | None = None,
  **options: str,
) -> None:
  """Writes the run in `workdir` into `<workdir>/export/<name>`, whole or not at all.

  Args:
    config: the run's.
    name: one of FORMATS.
    step: of the checkpoint; default: the newest.
    options: of NIR files, NIR_OPTIONS.

  Raises:
    ValueError: for an unknown format or option, or a model that the format cannot express.
    FileNotFoundError: without such a checkpoint.
    ImportError: naming the extra whose libraries are missing.
  """
  form = FORMATS[checks.one_of('--format', name, FORMATS)]
  if options and name != 'nir':
    given = ', '.join(f'--{option}={value}' for option, value in options.items())
    raise ValueError(f'{given} is of --format=nir, not of --format={name}')
  workdirs.check_writable(workdir, ['export'])
  trained = inference.restore(config, workdir, step)
  if jax.process_index():
    return
  target = trained.workdir / 'export' / name
  try:
    function = pkgutil.resolve_name(form.function)
    with files.replacing_folder(target) as folder:
      function(trained, folder, **options)
  except ModuleNotFoundError as error:
    if not form.extra:
      raise
    raise ImportError(
      f"--format={name} needs {error.name}: pip install 'fsvae_jax[{form.extra}]'"
    ) from error
  for file in sorted(target.iterdir()):
    console.say(f'{file}  {file.stat().st_size / 1e6:.2f} MB')


NIR_OPTIONS = {
  'discretisation': 'How a simulator of NIR files takes its steps: euler (default), exponential.',
  'readout': 'Who makes the image of a NIR file: host (default), li (a node of the graph).',
  'upsampling': 'Transposed convolutions of a NIR file: affine (default), dilated.',
}

FORMATS = {
  'nir': Format('fsvae_jax.exchange.nir:export', 'nir'),
  'stablehlo': Format('fsvae_jax.exchange.stablehlo:export', 'stablehlo'),
  'safetensors': Format('fsvae_jax.exchange.weights:export'),
  'safetensors16': Format('fsvae_jax.exchange.weights:export_16_bits'),
  'pytorch': Format('fsvae_jax.exchange.reference:export', 'torch'),
}

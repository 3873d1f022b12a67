"""Trained weights as others share them: model.safetensors, config.json and a card, README.md.

    model = fsvae_jax.load('digits')    # or a folder that --mode=export --format=safetensors wrote
    images = model.generate(64)

An array is named by its path in `variables`: params.encoder.conv_0.synapses.kernel. What is in
16 bits is read in 32. A folder in fsvae_jax/weights/ ships with the package, under its name.
"""

import os
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from ml_collections import ConfigDict

import fsvae_jax
from fsvae_jax import configuration, fields, models
from fsvae_jax.exchange import reference_arrays
from fsvae_jax.inference import Trained
from fsvae_jax.run import files, sharding

SHIPPED = pathlib.Path(fsvae_jax.__file__).parent / 'weights'
FILE = 'model.safetensors'
VERSION = 1  # of what the names mean


def names() -> list[str]:
  """The weights that ship with the package."""
  return sorted(file.parent.name for file in SHIPPED.glob(f'*/{FILE}'))


def load(name: str | os.PathLike) -> Trained:
  """A trained model, on all devices.

  Args:
    name: one of `names()`, or a folder.

  Raises:
    FileNotFoundError: if there are no such weights.
    ValueError: for files that are damaged, foreign, too new, or do not fit each other.
  """
  shipped = isinstance(name, str) and name in names()
  folder = SHIPPED / name if shipped else files.expand(os.fspath(name), 'the folder of weights')
  if not (folder / FILE).is_file():
    raise FileNotFoundError(
      f'no weights {str(name)!r}: {", ".join(names())} ship with the package, and '
      f'--mode=export --format=safetensors makes a folder with {FILE} of a run'
    )
  arrays, about = _read(folder / FILE)
  config, model = _model(folder, about)
  mesh = sharding.make_mesh()
  like = jax.eval_shape(model.init, jax.random.key(0))
  table = {
    path: ('.'.join(path), reference_arrays.SAME) for path in traverse_util.flatten_dict(like)
  }
  try:
    variables = reference_arrays.fit(arrays, table, like)
  except ValueError as error:
    raise ValueError(f'{folder}: {error}') from error
  variables = jax.device_put(variables, sharding.replicated(mesh))
  return Trained(config, folder, int(about['step']), model, variables, mesh)


def _model(folder: pathlib.Path, about: Mapping[str, str]) -> tuple[ConfigDict, models.Model]:
  """The configuration in a folder of weights, and its model."""
  try:
    config = configuration.of_run(folder)
  except ValueError as error:
    raise ValueError(
      f'{folder}/config.json is damaged: get it again, or export the run again'
    ) from error
  if not config:
    raise FileNotFoundError(f'{folder} has no config.json, which says of which model {FILE} is')
  try:
    fields.check_all(config)
    return config, models.make(config.model)
  except TypeError as error:  # a field that is not known here
    raise ValueError(
      f'{folder}/config.json is of fsvae_jax {about.get("package")}, this is '
      f'{fsvae_jax.__version__}: {error}'
    ) from error
  except ValueError as error:  # another range, or a part of somebody's own that is not registered
    raise ValueError(f'{folder}/config.json: {error}') from error


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Arrays and metadata of a file of ours."""
  try:
    with safetensors.safe_open(path, 'np') as file:
      about = file.metadata() or {}
      arrays = {name: file.get_tensor(name) for name in file.keys()}
  except (safetensors.SafetensorError, OSError, TypeError) as error:
    raise ValueError(
      f'{path} cannot be read ({error}): it is cut short or damaged, or no safetensors file; is it '
      'a Git LFS pointer? Get it again, or export the run again'
    ) from error
  version, step = about.get('fsvae_jax', ''), about.get('step', '')
  if not (version.isdecimal() and step.isdecimal()):
    raise ValueError(f'{path} holds weights of something else than fsvae_jax')
  if int(version) > VERSION:
    raise ValueError(
      f'{path} is of fsvae_jax {about.get("package")}, in version {version} of the format; this '
      f'is fsvae_jax {fsvae_jax.__version__}, which reads up to {VERSION}: update it'
    )
  return arrays, about


def export(trained: Trained, folder: pathlib.Path) -> None:
  """Writes weights, configuration and card into `folder`: all that `load` needs, and a reader."""
  _write(trained, folder, lambda x: x)


def export_16_bits(trained: Trained, folder: pathlib.Path) -> None:
  """`export` with arrays of two axes or more in 16 bits (kernels, a mixture's patterns), at half
  the size; vectors are few, and stay.

  Raises:
    ValueError: naming a kernel with numbers that 16 bits do not hold.
  """
  _write(trained, folder, lambda x: x.astype(np.float16) if x.ndim > 1 else x)


def _write(trained, folder, narrow):
  from fsvae_jax.exchange import card  # Matplotlib and TensorBoard, which `load` needn't wait for

  arrays = traverse_util.flatten_dict(jax.device_get(trained.variables), sep='.')
  with np.errstate(over='ignore'):
    arrays = {name: np.asarray(narrow(x), order='C') for name, x in arrays.items()}
  if faults := [name for name, x in arrays.items() if not np.isfinite(x).all()]:
    raise ValueError(
      f'not finite, in 16 bits at least: {", ".join(faults)}; export the newest '
      'step that is, by --step, or in 32 bits, by --format=safetensors'
    )
  about = {'fsvae_jax': VERSION, 'package': fsvae_jax.__version__, 'step': trained.step}
  content = safetensors.numpy.save(arrays, {name: str(x) for name, x in about.items()})
  files.write_bytes(folder / FILE, content)
  files.write_text(folder / 'config.json', files.to_json(published(trained.config), 2) + '\n')
  files.write_text(folder / 'README.md', card.text(trained))


def published(config: ConfigDict) -> Mapping:
  """What a configuration says of weights: nothing of places, nor of evaluation.

  `test.batch_size` stays: which images a seed gives depends on it.
  """
  sections = {name: x for name, x in config.to_dict().items() if name != 'eval'}
  data = {name: x for name, x in sections['data'].items() if not fields.may_change(f'data.{name}')}
  return sections | {'data': data, 'train': sections['train'] | {'start': ''}}

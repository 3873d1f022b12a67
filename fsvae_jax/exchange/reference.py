"""Checkpoints of the authors' PyTorch code (kamata1729/FullySpikingVAE), turned into ours.

    python -m fsvae_jax.exchange.reference --checkpoint=FILE --config=configs/mnist.py --workdir=DIR

The reference's arrays are channels-first and its convolution kernels carry a trailing time axis of
one. `.pth` needs PyTorch (`pip install 'fsvae_jax[torch]'`); an `.npz` holds the same names.
A file is only read, as tensors, and never run, as pickled modules would be.
"""

import contextlib
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from flax import traverse_util
from ml_collections import ConfigDict

from fsvae_jax import configuration, models
from fsvae_jax.models import ann
from fsvae_jax.run import checkpoint, console, files, states
from fsvae_jax.run import workdir as workdirs

_PYTORCH = (b'PK', b'\x80')  # how files of torch.save begin: zip, and once pickle


def load_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """{name: array} of a `.pth` or an `.npz` file, under the names of the bare model.

  A `.pth` file may hold the state dict beside other entries (epoch, optimizer), and either may name
  it as wrappers do: `module.`, `_orig_mod.`. Floating-point numbers of any width become float32.

  Raises:
    ValueError: for a file that cannot be read, or holds no state dict, or several.
    FileNotFoundError: if it is not there.
    ImportError: if it needs PyTorch, which is not installed.
  """
  path = files.expand(path, '--checkpoint')
  if path.is_dir():
    raise ValueError(f'{path} is a folder; --checkpoint must be a file')
  if not path.is_file():
    raise FileNotFoundError(f'no checkpoint at {path}')
  if not os.access(path, os.R_OK):
    raise ValueError(f'{path} may not be read: see who may')
  state = _load_npz(path) if path.suffix.lower() == '.npz' else _load_pth(path)
  bare = _bare_names(state)
  if len(set(bare)) < len(bare):
    twice = next(name for name in bare if bare.count(name) > 1)
    raise ValueError(f'{path} holds {twice} twice, with and without a prefix: save one model alone')
  return {name: _float32(array) for name, array in zip(bare, state.values(), strict=True)}


def _load_npz(path):
  try:
    with np.lib.npyio.NpzFile(path.open('rb'), own_fid=True) as arrays:
      return {name: np.asarray(arrays[name]) for name in arrays}
  except Exception as error:  # whatever zipfile, zlib and NumPy raise, which advises to unpickle
    raise ValueError(
      f'{path} cannot be read as an .npz file of numbers ({type(error).__name__}): it is cut short '
      'or damaged, or holds Python objects; save the arrays of its state_dict() with numpy.savez'
    ) from None


def _load_pth(path):
  with path.open('rb') as file:
    begin = file.read(16)
  if not begin.startswith(_PYTORCH):
    found = f'begins with {begin!r}' if begin else 'is empty'
    raise ValueError(
      f'{path} {found}, which is nothing that PyTorch saves (is it a web page, or a Git LFS '
      'pointer?): get the checkpoint itself, and save its state_dict()'
    )
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      f'reading {path} needs PyTorch: pip install "fsvae_jax[torch]", or save its arrays as .npz'
    ) from error
  try:
    saved = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # of all kinds; PyTorch's advice, to run what the file says, is none
    raise ValueError(
      f'{path} cannot be read as tensors ({type(error).__name__}): it is cut short or damaged, or '
      'holds Python objects, as a whole module is; save its state_dict() alone, with torch.save'
    ) from None
  is_state = lambda x: _is_named(x) and all(map(torch.is_tensor, x.values()))
  dicts = {way: x for way, x in _within('', saved) if is_state(x) and any('.' in n for n in x)}
  if len(dicts) != 1:
    held = f'several state dicts ({", ".join(dicts)})' if dicts else 'no state dict of tensors'
    raise ValueError(f'{path} holds {held}: save the state_dict() of the model alone')
  return {name: _numpy(path, name, tensor) for name, tensor in dicts.popitem()[1].items()}


def _is_named(x):
  return isinstance(x, dict) and bool(x) and all(isinstance(name, str) for name in x)


def _within(way, x):
  """(name, x) and of everything in it that is named; an optimizer numbers what it holds."""
  yield way, x
  if _is_named(x):
    for name, inner in x.items():
      yield from _within(f'{way}/{name}'.lstrip('/'), inner)


def _numpy(path, name, tensor):
  tensor = tensor.detach()
  try:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
  except Exception as error:  # sparse, quantized, or without content
    raise ValueError(
      f'{path}: {name} cannot be read as an array ({tensor.layout}, {tensor.dtype})'
    ) from error


def _bare_names(names):
  """Without `module.` and `_orig_mod.` anywhere, and without a first part that all have."""
  wrappers = ('module', '_orig_mod')
  split = [[part for part in name.split('.') if part not in wrappers] for name in names]
  while split and len({parts[0] for parts in split if parts}) == 1 and min(map(len, split)) > 1:
    split = [parts[1:] for parts in split]
  return ['.'.join(parts) for parts in split]


def _float32(array):
  """Floating-point numbers in our width; others stay as they are, and do not fit."""
  with np.errstate(over='ignore'):  # what was finite and is not any more does not fit either
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


# The reference's buffers that are no parameters of ours.
_IGNORED = ('num_batches_tracked', 'initial_input', 'membrane_output_layer.coef', 'n_averaged')
_UNUSED = ('prior.', 'posterior.')  # networks that the authors' ESVAE makes and never runs


def _channels_last(array, channels):
  """Reorders a first axis that flattens [C, S, S] into one that flattens [S, S, C]."""
  side = math.isqrt(array.shape[0] // channels)
  return np.moveaxis(array.reshape(channels, side, side, -1), 0, 2).reshape(array.shape)


def _layers(features, latent):
  """(network, layer, the reference's name, its kernel in our layout, its vectors in our layout)."""
  widest = features[-1]

  def same(vector):
    return vector

  def flat(array):
    return _channels_last(array, widest)

  def conv(kernel):
    return np.moveaxis(kernel[..., 0], (0, 1), (3, 2))

  def transposed(kernel):
    return np.moveaxis(kernel[..., 0], (0, 1), (2, 3))

  last = len(features) - 1
  for i in range(last + 1):
    yield 'encoder', f'conv_{i}', f'encoder.{i}', conv, same
  yield 'encoder', 'dense', 'before_latent_layer', lambda kernel: flat(kernel.T), same
  for net in ('posterior', 'prior') if latent == 'bernoulli' else ():
    for i in range(3):
      yield net, f'dense_{i}', f'{net}.layers.{i}', np.transpose, same
  yield 'decoder', 'dense', 'decoder_input', lambda kernel: flat(kernel).T, flat
  for i in range(last):
    yield 'decoder', f'conv_{i}', f'decoder.{i}', transposed, same
  yield 'decoder', f'conv_{last}', 'final_layer.0', transposed, same
  yield 'decoder', 'pixels', 'final_layer.1', transposed, same


def leaves(features: Sequence[int], latent: str = 'bernoulli') -> dict:
  """{path in `variables`: (the reference's name, function from its array to ours)}.

  Args:
    latent: 'bernoulli', of the authors of FSVAE, or 'rate', of those of ESVAE.
  """
  table: dict[tuple[str, ...], Any] = {}
  if latent == 'rate':
    table['params', 'prior', 'dense', 'kernel'] = 'sample_layer.0.weight', np.transpose
    table['params', 'prior', 'dense', 'bias'] = 'sample_layer.0.bias', lambda vector: vector
  for net, layer, name, kernel, vector in _layers(features, latent):
    path = (net, layer) if layer == 'pixels' else (net, layer, 'synapses')
    table['params', *path, 'kernel'] = f'{name}.weight', kernel
    table['params', *path, 'bias'] = f'{name}.bias', vector
    if layer != 'pixels':
      table['params', net, layer, 'norm', 'scale'] = f'{name}.bn.weight', vector
      table['params', net, layer, 'norm', 'bias'] = f'{name}.bn.bias', vector
      table['batch_stats', net, layer, 'norm', 'mean'] = f'{name}.bn.running_mean', vector
      table['batch_stats', net, layer, 'norm', 'var'] = f'{name}.bn.running_var', vector
  return table


def convert(state: dict[str, np.ndarray], features: Sequence[int], like: Any) -> Any:
  """`variables` of fsvae.py from the reference's state dict.

  Args:
    state: {name: array}, floating-point numbers of any width.
    features: the model's convolution widths.
    like: `variables` of the model, as arrays or shapes.

  Raises:
    ValueError: naming every tensor that is missing, surplus, of the wrong shape or type, or not
      finite.
  """
  if 'posterior' in like['params']:
    return _convert(state, leaves(features), like)
  used = {name: x for name, x in state.items() if not name.startswith(_UNUSED)}
  return _convert(used, leaves(features, 'rate'), like)


def _convert(state, table, like):
  """The arrays of a state dict under our names, by a table like that of `leaves`."""
  expected = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(like).items()}
  names = {name for name, _ in table.values()}
  faults = [f'missing: {name}' for name in sorted(names - set(state))]
  faults += [
    f'surplus: {name} {np.shape(state[name])}'
    for name in sorted(set(state) - names)
    if not name.endswith(_IGNORED)
  ]
  converted = {}
  for path, (name, change) in table.items():
    if name not in state:
      continue
    array = _float32(np.asarray(state[name]))
    try:
      converted[path] = change(array)
      fits = converted[path].shape == expected[path] and array.dtype == np.float32
    except (ValueError, IndexError):  # not even of the rank that the change expects
      fits = False
    if not fits:
      faults.append(
        f'{name} is {array.dtype}{array.shape}, which does not fit float32{expected[path]} (ours)'
      )
    elif not np.isfinite(array).all():
      faults.append(f'{name} holds numbers that are not finite')
  if faults:
    raise ValueError('the checkpoint does not fit the configured model:\n  ' + '\n  '.join(faults))
  tree = traverse_util.unflatten_dict(converted)
  return {part: {n: tree[part].get(n, {}) for n in networks} for part, networks in like.items()}


def convert_autoencoder(
  state: dict[str, np.ndarray],
  features: Sequence[int],
  image_size: int,
  channels: int,
  outputs: int,
) -> Any:
  """`variables` of ann.Encoder from the state dict of the authors' autoencoder; its decoder goes.

  Raises:
    ValueError: naming every tensor of the encoder that is missing, of the wrong shape, or not
      finite.
  """
  like = jax.eval_shape(
    ann.Encoder(tuple(features), outputs).init,
    jax.random.key(0),
    jnp.zeros((1, image_size, image_size, channels)),
  )
  same = lambda vector: vector
  conv = lambda kernel: np.moveaxis(kernel, (0, 1), (3, 2))
  table = {}
  for i in range(len(features)):
    norm = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
    for ours, theirs in norm.items():
      part = 'params' if ours in ('scale', 'bias') else 'batch_stats'
      table[part, f'conv_{i}', 'norm', ours] = f'encoder.{i}.1.{theirs}', same
    table['params', f'conv_{i}', 'synapses', 'kernel'] = f'encoder.{i}.0.weight', conv
    table['params', f'conv_{i}', 'synapses', 'bias'] = f'encoder.{i}.0.bias', same
  flat = lambda kernel: _channels_last(kernel.T, features[-1])
  table['params', 'dense', 'synapses', 'kernel'] = 'latent_layer.weight', flat
  table['params', 'dense', 'synapses', 'bias'] = 'latent_layer.bias', same
  encoder = {k: v for k, v in state.items() if k.startswith(('encoder.', 'latent_layer.'))}
  return _convert(encoder, table, like)


def import_checkpoint(path: str | pathlib.Path, config: ConfigDict, workdir: str | pathlib.Path):
  """Starts a run in `workdir` from the reference's checkpoint: step 0, a fresh optimizer.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that cannot be read or does not fit
      `config.model`; nothing is written then.
  """
  workdir = workdirs.check(workdir)
  if config.model.name != 'fsvae':
    raise ValueError(f'model.name is {config.model.name!r}; checkpoints of the reference are fsvae')
  like = jax.eval_shape(models.make(config.model).init, jax.random.key(0))
  variables = convert(load_state_dict(path), config.model.features, like)
  variables = jax.tree.map(jnp.asarray, variables)
  optimizer = states.make_optimizer(config.train, total_steps=1)
  if (workdir / 'checkpoints').exists():
    raise ValueError(f'{workdir} already holds checkpoints; take another --workdir')
  with (
    workdirs.claim(workdir, config, {}),
    contextlib.closing(checkpoint.Checkpoints(workdir, config.train.keep)) as checkpoints,
  ):
    checkpoints.save(0, states.create(variables, optimizer, config.train.ema_decay))


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with the fields of the configuration that `--config` names."""
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

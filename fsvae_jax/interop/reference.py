"""Checkpoints of the authors' PyTorch code (kamata1729/FullySpikingVAE), turned into ours.

    python -m fsvae_jax.interop.reference --checkpoint=FILE --config=configs/mnist.py --workdir=DIR

The reference's arrays are channels-first and its convolution kernels carry a trailing time axis of
one. `.pth` needs PyTorch (`pip install 'fsvae_jax[torch]'`); an `.npz` holds the same names.
"""

import contextlib
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from flax import traverse_util
from ml_collections import config_flags

from fsvae_jax import checkpoint, models, states
from fsvae_jax import workdir as workdirs
from fsvae_jax.models import ann


def load_state_dict(path):
  """{name: array} of a `.pth` state dict or an `.npz` file."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'no checkpoint at {path}')
  if path.suffix == '.npz':
    with np.load(path) as arrays:
      return dict(arrays)
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      f'reading {path} needs PyTorch: pip install "fsvae_jax[torch]", or save its arrays as .npz'
    ) from error
  state = torch.load(path, map_location='cpu', weights_only=True)
  if not isinstance(state, dict) or not all(torch.is_tensor(x) for x in state.values()):
    raise ValueError(f'{path} holds {type(state).__name__}, not a state dict of tensors')
  return {name: tensor.numpy() for name, tensor in state.items()}


# The reference's buffers that are no parameters of ours.
_IGNORED = ('num_batches_tracked', 'initial_input', 'membrane_output_layer.coef')


def _channels_last(array, channels):
  """Reorders a first axis that flattens [C, S, S] into one that flattens [S, S, C]."""
  side = math.isqrt(array.shape[0] // channels)
  return np.moveaxis(array.reshape(channels, side, side, -1), 0, 2).reshape(array.shape)


def _layers(features):
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
  for net in ('posterior', 'prior'):
    for i in range(3):
      yield net, f'dense_{i}', f'{net}.layers.{i}', np.transpose, same
  yield 'decoder', 'dense', 'decoder_input', lambda kernel: flat(kernel).T, flat
  for i in range(last):
    yield 'decoder', f'conv_{i}', f'decoder.{i}', transposed, same
  yield 'decoder', f'conv_{last}', 'final_layer.0', transposed, same
  yield 'decoder', 'pixels', 'final_layer.1', transposed, same


def leaves(features):
  """{path in `variables`: (the reference's name, function from its array to ours)}."""
  table = {}
  for net, layer, name, kernel, vector in _layers(features):
    path = (net, layer) if layer == 'pixels' else (net, layer, 'synapses')
    table['params', *path, 'kernel'] = f'{name}.weight', kernel
    table['params', *path, 'bias'] = f'{name}.bias', vector
    if layer != 'pixels':
      table['params', net, layer, 'norm', 'scale'] = f'{name}.bn.weight', vector
      table['params', net, layer, 'norm', 'bias'] = f'{name}.bn.bias', vector
      table['batch_stats', net, layer, 'norm', 'mean'] = f'{name}.bn.running_mean', vector
      table['batch_stats', net, layer, 'norm', 'var'] = f'{name}.bn.running_var', vector
  return table


def convert(state, features, like):
  """`variables` of fsvae.py from the reference's state dict.

  Args:
    state: {name: array}, float32.
    features: the model's convolution widths.
    like: `variables` of the model, as arrays or shapes.

  Raises:
    ValueError: naming every tensor that is missing, surplus, or of the wrong shape or type.
  """
  return _convert(state, leaves(features), like)


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
    array = state[name]
    try:
      converted[path] = change(array)
      fits = converted[path].shape == expected[path] and array.dtype == np.float32
    except (ValueError, IndexError):  # not even of the rank that the change expects
      fits = False
    if not fits:
      faults.append(
        f'{name} is {array.dtype}{array.shape}, which does not fit float32{expected[path]} (ours)'
      )
  if faults:
    raise ValueError('the checkpoint does not fit the configured model:\n  ' + '\n  '.join(faults))
  return traverse_util.unflatten_dict(converted)


def convert_autoencoder(state, features, image_size, channels, outputs):
  """`variables` of ann.Encoder from the state dict of the authors' autoencoder; its decoder goes.

  Raises:
    ValueError: naming every tensor of the encoder that is missing or of the wrong shape.
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


def import_checkpoint(path, config, workdir):
  """Starts a run in `workdir` from the reference's checkpoint: step 0, a fresh optimizer.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that cannot be read or does not fit
      `config.model`; nothing is written then.
  """
  if config.model.name != 'fsvae':
    raise ValueError(f'model.name is {config.model.name!r}; checkpoints of the reference are fsvae')
  like = jax.eval_shape(models.make(config.model).init, jax.random.key(0))
  variables = convert(load_state_dict(path), config.model.features, like)
  variables = jax.tree.map(jnp.asarray, variables)
  optimizer = states.make_optimizer(config.train, total_steps=1)
  if (pathlib.Path(workdir) / 'checkpoints').exists():
    raise ValueError(f'{workdir} already holds checkpoints; take another --workdir')
  with (
    workdirs.claim(pathlib.Path(workdir), config, {}),
    contextlib.closing(checkpoint.Checkpoints(workdir, config.train.keep)) as checkpoints,
  ):
    checkpoints.save(0, states.create(variables, optimizer, config.train.ema_decay))


def main(_):
  logging.set_verbosity(logging.WARNING)
  args = flags.FLAGS
  import_checkpoint(args.checkpoint, args.config, args.workdir)
  print(f'{args.checkpoint} is now step 0 of the run in {args.workdir}')


if __name__ == '__main__':
  flags.DEFINE_string('checkpoint', None, 'The .pth or .npz file.', required=True)
  flags.DEFINE_string('workdir', None, 'Where to start the run.', required=True)
  config_flags.DEFINE_config_file('config', None, 'Configuration that the file was trained with.')
  flags.mark_flag_as_required('config')
  app.run(main)

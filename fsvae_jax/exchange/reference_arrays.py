"""Arrays of the authors' PyTorch code (kamata1729/FullySpikingVAE) as ours, and ours as theirs.

The reference's arrays are channels-first and its convolution kernels carry a trailing time axis of
one. One table, `leaves`, says both directions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fsvae_jax.exchange import state_dicts
from fsvae_jax.models import ann
from fsvae_jax.spiking import filters

# The reference's buffers that are no parameters of ours.
_IGNORED = ('num_batches_tracked', 'initial_input', 'membrane_output_layer.coef', 'n_averaged')
_PATTERNS = 'patterns'  # a mixture's, which theirs does not have: zeros leave them unfitted
_UNUSED = ('prior.', 'posterior.')  # networks that the authors' ESVAE makes and never runs


class Change(NamedTuple):
  """How an array of the reference becomes `ours`, and ours `theirs`."""

  ours: Callable[[np.ndarray], np.ndarray]
  theirs: Callable[[np.ndarray], np.ndarray]


def _flat(channels: int) -> Change:
  """Of a first axis that flattens [C, S, S] there, [S, S, C] here."""

  def swapped(x, outer):
    return x.reshape(outer, x.shape[0] // outer, -1).swapaxes(0, 1).reshape(x.shape)

  return Change(lambda x: swapped(x, channels), lambda x: swapped(x, x.shape[0] // channels))


def _kernel(outputs: int, inputs: int) -> Change:
  """Of a convolution whose axes of channels lie there; here they are the last, inputs first."""
  there, here = (outputs, inputs), (3, 2)
  return Change(lambda x: np.moveaxis(x, there, here), lambda x: np.moveaxis(x, here, there))


def _after(first: Change, then: Change) -> Change:
  """`first`, then `then`, on the way to ours."""
  return Change(lambda x: then.ours(first.ours(x)), lambda x: first.theirs(then.theirs(x)))


SAME = Change(lambda x: x, lambda x: x)
_TURNED = Change(np.transpose, np.transpose)
_CONVOLUTION, _TRANSPOSED = _kernel(0, 1), _kernel(1, 0)
_OF_ONE_STEP = Change(lambda x: x[..., 0], lambda x: x[..., None])  # the kernel's trailing time


def _layers(features, latent):
  """(network, layer, the reference's name, `Change` of its kernel, `Change` of its vectors)."""
  flat, last = _flat(features[-1]), len(features) - 1
  convolution, transposed = (_after(_OF_ONE_STEP, way) for way in (_CONVOLUTION, _TRANSPOSED))
  for i in range(last + 1):
    yield 'encoder', f'conv_{i}', f'encoder.{i}', convolution, SAME
  yield 'encoder', 'dense', 'before_latent_layer', _after(_TURNED, flat), SAME
  for net in ('posterior', 'prior') if latent != 'rate' else ():
    for i in range(3):
      yield net, f'dense_{i}', f'{net}.layers.{i}', _TURNED, SAME
  yield 'decoder', 'dense', 'decoder_input', _after(flat, _TURNED), flat
  for i in range(last):
    yield 'decoder', f'conv_{i}', f'decoder.{i}', transposed, SAME
  yield 'decoder', f'conv_{last}', 'final_layer.0', transposed, SAME
  yield 'decoder', 'pixels', 'final_layer.1', transposed, SAME


Table = dict[tuple[str, ...], tuple[str, Change]]


def leaves(features: Sequence[int], latent: str = 'bernoulli') -> Table:
  """{path in `variables`: (the reference's name, `Change` of the array)}.

  Args:
    latent: 'rate', of the authors of ESVAE, or another one, of those of FSVAE.
  """
  table: Table = {}
  if latent == 'rate':
    table['params', 'prior', 'dense', 'kernel'] = 'sample_layer.0.weight', _TURNED
    table['params', 'prior', 'dense', 'bias'] = 'sample_layer.0.bias', SAME
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
    return fit(state, leaves(features), like)
  used = {name: x for name, x in state.items() if not name.startswith(_UNUSED)}
  return fit(used, leaves(features, 'rate'), like)


def fit(state: Mapping[str, np.ndarray], table: Table, like: Any) -> Any:
  """`variables` like `like` from arrays under other names, by a table like that of `leaves`.

  Raises:
    ValueError: as `convert` does.
  """
  expected = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(like).items()}
  names = {name for name, _ in table.values()}
  faults = [f'missing: {name}' for name in sorted(names - set(state))]
  faults += [
    f'surplus: {name} {np.shape(state[name])}'
    for name in sorted(set(state) - names)
    if not name.endswith(_IGNORED)
  ]
  ours_alone = expected.keys() - table.keys()
  faults += [f'not there: {"/".join(path)}' for path in sorted(ours_alone) if path[1] != _PATTERNS]
  converted = {path: np.zeros(expected[path], np.float32) for path in ours_alone}
  for path, (name, change) in table.items():
    if name not in state:
      continue
    array = state_dicts.float32(np.asarray(state[name]))
    try:
      converted[path] = change.ours(array)
      fits = converted[path].shape == expected[path] and array.dtype == np.float32
    except (ValueError, IndexError):  # not even of the rank that the change expects
      fits = False
    if not fits:
      wanted = change.theirs(np.zeros(expected[path], np.float32)).shape
      faults.append(f'{name} is {array.dtype}{array.shape}; of this model it is float32{wanted}')
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
  table: Table = {}
  for i in range(len(features)):
    norm = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
    for ours, theirs in norm.items():
      part = 'params' if ours in ('scale', 'bias') else 'batch_stats'
      table[part, f'conv_{i}', 'norm', ours] = f'encoder.{i}.1.{theirs}', SAME
    table['params', f'conv_{i}', 'synapses', 'kernel'] = f'encoder.{i}.0.weight', _CONVOLUTION
    table['params', f'conv_{i}', 'synapses', 'bias'] = f'encoder.{i}.0.bias', SAME
  flat = _after(_TURNED, _flat(features[-1]))
  table['params', 'dense', 'synapses', 'kernel'] = 'latent_layer.weight', flat
  table['params', 'dense', 'synapses', 'bias'] = 'latent_layer.bias', SAME
  encoder = {k: v for k, v in state.items() if k.startswith(('encoder.', 'latent_layer.'))}
  return fit(encoder, table, like)


def state_dict(variables: Any, model: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """The reference's state dict of `variables`, with its buffers, of which ours have none.

  A mixture's patterns stay out: there, the prior's network makes a sample's first steps.

  Args:
    model: fields of the configuration, `config.model`.

  Raises:
    ValueError: naming every field whose value the reference's code does not have.
  """
  check_model(model)
  arrays = traverse_util.flatten_dict(variables)
  state = {
    name: np.ascontiguousarray(change.theirs(np.asarray(arrays[path])))
    for path, (name, change) in leaves(model['features'], model['latent']).items()
  }
  norms = [name for name in state if name.endswith('running_mean')]
  state |= {
    name.replace('running_mean', 'num_batches_tracked'): np.array(0, np.int64) for name in norms
  }
  if model['latent'] != 'rate':
    start = np.zeros((1, model['latent_dim'], 1), np.float32)
    state |= {'posterior.initial_input': start, 'prior.initial_input': start}
  coef_T = filters.readout_weights(model['timesteps'])
  return state | {'membrane_output_layer.coef': coef_T.reshape(1, 1, 1, 1, -1)}


def check_model(model: Mapping[str, Any]) -> None:
  """Raises ValueError, naming every field of `config.model` whose value the reference's code does
  not have."""
  faults = [
    f'model.{name} is {model[name]!r}; there it is {there!r}'
    for name, there in _FIXED.items()
    if model.get(name, there) != there
  ]
  latent = model.get('latent', 'bernoulli')  # the ANN has none, and is a fault by its name
  if latent not in ('bernoulli', 'mixture', 'rate'):
    faults.append(f"model.latent is {latent!r}; there it is 'bernoulli' or 'rate'")
  if faults:
    raise ValueError("the authors' code has no such model:\n  " + '\n  '.join(faults))


# What the reference's code has no field for.
_FIXED = {
  'name': 'fsvae',
  'tau': 0.25,
  'v_th': 0.2,
  'learned': (),
  'readout': 'leaky',
  'classes': 0,
}

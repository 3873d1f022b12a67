"""Checkpoints of the reference: both sizes, both file types, and files that do not fit."""

import functools

import jax
import numpy as np
import pytest

from fsvae_jax import checkpoint, sharding, states
from fsvae_jax.configs import celeba, mnist
from fsvae_jax.interop import reference
from fsvae_jax.models import fsvae
from tests import golden

pytestmark = pytest.mark.usefixtures('quick_compilation')

STATE = golden.group(golden.load('fsvae_small'), 'state')


def small(config):
  config.model.update(timesteps=6, latent_dim=8, draws=4)
  return config


def shapes(config):
  fields = {k: v for k, v in config.model.items() if k != 'name'}
  nets = fsvae.build(fsvae.FSVAEConfig(**fields))
  return jax.eval_shape(functools.partial(fsvae.init, nets), jax.random.key(0))


def large_state(latent_dim=8, draws=4, channels=3, widths=(32, 64, 128, 256, 512)):
  """A state dict of the 64x64 model in the reference's own shapes, filled with random numbers."""
  d, flat = latent_dim, widths[-1] * 4
  kernels = {f'encoder.{i}': (w, i and widths[i - 1] or channels) for i, w in enumerate(widths)}
  kernels['before_latent_layer'] = (d, flat)
  for net, inputs in (('posterior', 2 * d), ('prior', d)):
    sizes = (inputs, 2 * d, 4 * d, draws * d)
    kernels |= {f'{net}.layers.{i}': (sizes[i + 1], sizes[i]) for i in range(3)}
  kernels['decoder_input'] = (flat, d)
  down = widths[::-1]
  kernels |= {f'decoder.{i}': (down[i], down[i + 1]) for i in range(len(down) - 1)}
  kernels |= {'final_layer.0': (down[-1], down[-1]), 'final_layer.1': (down[-1], channels)}
  state = {}
  for name, (first, second) in kernels.items():
    convolution = name.startswith(('encoder', 'decoder.', 'final'))
    state[f'{name}.weight'] = np.zeros((first, second, *((3, 3, 1) if convolution else ())), 'f')
    outputs = second if name.startswith(('decoder.', 'final')) else first
    vectors = ['bias', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var']
    for vector in vectors if name != 'final_layer.1' else vectors[:1]:
      state[f'{name}.{vector}'] = np.zeros(outputs, 'f')
  return {
    name: np.random.default_rng(i).normal(size=x.shape).astype('f')
    for i, (name, x) in enumerate(state.items())
  }


def test_the_large_model_converts_with_its_flattening_reordered():
  config = small(celeba.get_config())
  state = large_state()
  variables = reference.convert(state, config.model.features, shapes(config))
  kernel = variables['params']['encoder']['dense']['synapses']['kernel'].reshape(2, 2, 512, 8)
  np.testing.assert_array_equal(
    kernel[1, 0, 7], state['before_latent_layer.weight'].reshape(8, 512, 2, 2)[:, 7, 1, 0]
  )
  bias = variables['params']['decoder']['dense']['synapses']['bias'].reshape(2, 2, 512)
  np.testing.assert_array_equal(bias[0, 1], state['decoder_input.bias'].reshape(512, 2, 2)[:, 0, 1])
  pixels = variables['params']['decoder']['pixels']['kernel']
  np.testing.assert_array_equal(pixels[2, 0], state['final_layer.1.weight'][:, :, 2, 0, 0])


@pytest.mark.parametrize('suffix', ['npz', 'pth'])
def test_a_file_becomes_step_0_of_a_run(tmp_path, suffix):
  file = tmp_path / f'reference.{suffix}'
  if suffix == 'npz':
    np.savez(file, **STATE)
  else:
    torch = pytest.importorskip('torch')
    tensors = {name: torch.from_numpy(x) for name, x in STATE.items()}
    torch.save(tensors | {'encoder.0.bn.num_batches_tracked': torch.tensor(3)}, file)
  config = small(mnist.get_config())
  reference.import_checkpoint(file, config, tmp_path / 'run')

  want = reference.convert(STATE, config.model.features, shapes(config))
  optimizer = states.make_optimizer(config.train, 1)
  whole = sharding.replicated(sharding.make_mesh())
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
    jax.eval_shape(lambda v: states.create(v, optimizer, 0.0), want),
  )
  state = checkpoint.Checkpoints(tmp_path / 'run', keep=1).restore(like)
  assert int(state.step) == 0
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.variables), want)


def test_a_file_that_does_not_fit_says_what_is_wrong(tmp_path):
  state = dict(STATE)
  del state['prior.layers.1.bias']
  state['prior.layers.3.weight'] = np.zeros((3, 3), np.float32)
  state['encoder.1.weight'] = state['encoder.1.weight'][:5]
  state['encoder.0.bias'] = state['encoder.0.bias'].astype(np.float64)
  np.savez(tmp_path / 'odd.npz', **state)
  with pytest.raises(ValueError) as error:
    reference.import_checkpoint(tmp_path / 'odd.npz', small(mnist.get_config()), tmp_path / 'run')
  for fault in (
    'missing: prior.layers.1.bias',
    'surplus: prior.layers.3.weight (3, 3)',
    'encoder.1.weight is float32(5, 32, 3, 3, 1)',
    'encoder.0.bias is float64(32,)',
  ):
    assert fault in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no checkpoint at .*nowhere.pth'):
    reference.load_state_dict(tmp_path / 'nowhere.pth')

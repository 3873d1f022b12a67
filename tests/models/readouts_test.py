"""Read-outs against recorded arrays, against plain loops, and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from fsvae_jax.models import fsvae, readouts
from tests import golden

pytestmark = pytest.mark.usefixtures('quick_compilation')

SIZES = {'image_size': 8, 'features': (4,), 'timesteps': 5, 'latent_dim': 6, 'draws': 3}
IMAGE = jax.random.uniform(jax.random.key(3), (4, 8, 8, 1), minval=-1)


def test_attention_gives_the_recorded_images_and_gradients():
  recorded = golden.group(golden.load('family'), 'attention')
  y_BTHWC = jnp.asarray(golden.video(recorded['y']))
  matrix_TS = jnp.asarray(recorded['weight'][..., 0])
  cotangent = jnp.asarray(golden.image(recorded['cotangent']))
  image, pull = jax.vjp(lambda *args: jnp.tanh(readouts.attend(*args)), y_BTHWC, matrix_TS)
  np.testing.assert_allclose(image, golden.image(recorded['out']), rtol=1e-5, atol=1e-6)
  grad_y, grad_matrix = pull(cotangent)
  np.testing.assert_allclose(grad_y, golden.video(recorded['grad_y']), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(grad_matrix, recorded['grad_weight'][..., 0], rtol=1e-4, atol=1e-6)


def begun(readout):
  """A model with that read-out, and variables with which its neurons fire outside of training."""
  model = fsvae.make(**SIZES, readout=readout)
  variables = model.init(jax.random.key(0))
  return model, {
    **variables,
    'batch_stats': jax.tree.map(lambda x: 0.1 * x, variables['batch_stats']),
  }


def reconstructed(readout):
  """(images, loss gradients by path) of an untrained model with that read-out."""
  model, variables = begun(readout)

  def loss(params):
    batch, draws = {'image': IMAGE}, model.draw(jax.random.key(1), len(IMAGE))
    return model.loss({**variables, 'params': params}, batch, draws)[0]

  grads = jax.jit(jax.grad(loss))(variables['params'])
  images = jax.jit(model.reconstruct)(variables, IMAGE, jax.random.key(1))
  return images, traverse_util.flatten_dict(grads, sep='/')


@pytest.fixture(scope='module')
def leaky():
  return reconstructed('leaky')


def test_learned_weights_start_as_the_leaky_ones_and_have_a_gradient(leaky):
  images, grads = reconstructed('learned')
  np.testing.assert_allclose(images, leaky[0], atol=1e-6)
  assert grads['decoder/readout'].shape == (5,) and np.all(grads['decoder/readout'] != 0)
  for name, grad in leaky[1].items():
    np.testing.assert_allclose(grads[name], grad, rtol=1e-3, atol=1e-6, err_msg=name)


def test_attention_in_a_model_gives_other_images_and_a_gradient_of_its_matrix(leaky):
  images, grads = reconstructed('attention')
  assert images.shape == leaky[0].shape and np.abs(images - leaky[0]).max() > 1e-3
  assert grads['decoder/attention'].shape == (5, 5) and np.any(grads['decoder/attention'] != 0)
  assert np.abs(images).max() < 1  # tanh does not start saturated


def test_learned_constants_start_as_the_fixed_ones_and_have_a_gradient_in_every_layer(leaky):
  model = fsvae.make(**SIZES, learned=('tau', 'v_th'), surrogate='triangle')
  fixed = fsvae.make(**SIZES, surrogate='triangle')
  variables = model.init(jax.random.key(0))
  flat = traverse_util.flatten_dict(variables['params'], sep='/')
  own = {name for name in flat if name.endswith(('/tau', '/v_th'))}
  assert len(own) == 2 * (2 + 3 + 3 + 2)
  without = traverse_util.unflatten_dict({k: x for k, x in flat.items() if k not in own}, sep='/')
  batch, draws = {'image': IMAGE}, model.draw(jax.random.key(1), len(IMAGE))

  def loss(model):
    stats = variables['batch_stats']
    return lambda params: model.loss({'params': params, 'batch_stats': stats}, batch, draws)[0]

  value, grads = jax.jit(jax.value_and_grad(loss(model)))(variables['params'])
  np.testing.assert_allclose(value, jax.jit(loss(fixed))(without), rtol=1e-5)
  grads = traverse_util.flatten_dict(grads, sep='/')
  assert all(np.abs(grads[name]) > 0 for name in own)


def of_steps(readout):
  """A model with that read-out, its variables, latents of five steps, and its decoder."""
  model, variables = begun(readout)
  z_BTD = jax.random.bernoulli(jax.random.key(1), 0.5, (2, 5, 6)).astype(jnp.float32)
  return model, variables, z_BTD, jax.jit(model.decode)


@pytest.mark.parametrize('readout', ['leaky', 'learned'])
def test_an_image_unfolds_as_if_the_decoder_stopped_after_each_step(readout):
  model, variables, z_BTD, decode = of_steps(readout)
  unfolded = jax.jit(model.unfold)(variables, z_BTD)
  assert unfolded.shape == (2, 5, 8, 8, 1)
  for steps in (3, 5):
    stopped = decode(variables, z_BTD[:, :steps])
    np.testing.assert_allclose(unfolded[:, steps - 1], stopped, atol=1e-6)
  shorter = jax.jit(model.unfold)(variables, z_BTD[:, :3])
  np.testing.assert_allclose(shorter[:, -1], decode(variables, z_BTD[:, :3]), atol=1e-6)
  assert np.abs(unfolded[:, 2] - unfolded[:, 4]).max() > 1e-3
  assert np.abs(unfolded[0] - unfolded[1]).max() > 1e-3  # neurons fire, it is not the bias alone


def test_attention_may_stop_early_but_has_nothing_to_show_before_the_last_step():
  model, variables, z_BTD, decode = of_steps('attention')
  assert model.unfold is None
  early, late = (decode(variables, z_BTD[:, :steps]) for steps in (3, 5))
  assert np.abs(late[0] - late[1]).max() > 1e-3  # neurons fire, it is not the bias alone
  assert early.shape == late.shape and np.abs(early - late).max() > 1e-3
  with pytest.raises(ValueError, match=r'matrix_TS .*\(5, 5\); it must be \(6, 6\)'):
    decode(variables, jnp.concatenate([z_BTD, z_BTD[:, :1]], axis=1))

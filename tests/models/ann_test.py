"""The conventional networks: the published baseline's size, its loss, and its latent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.models import ann

pytestmark = pytest.mark.usefixtures('quick_compilation')

SMALL = {'image_size': 8, 'features': (4, 8), 'latent_dim': 6}
IMAGE = jax.random.uniform(jax.random.key(1), (8, 8, 8, 1), minval=-1)


def parameters(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0))['params']
  return sum(np.prod(x.shape) for x in jax.tree.leaves(shapes))


def test_the_vae_has_the_published_baselines_parameters():
  widths, flat, d = (1, 32, 64, 128, 256), 1024, 128
  encoder = sum(9 * a * b + 3 * b for a, b in zip(widths, widths[1:], strict=False))
  down = (256, 128, 64, 32, 32)
  decoder = sum(9 * a * b + 3 * b for a, b in zip(down, down[1:], strict=False)) + 9 * 32 + 1
  dense = 2 * (flat * d + d) + (d * flat + flat)
  assert parameters(ann.make_vae()) == encoder + decoder + dense


def test_kl_of_a_standard_normal_is_zero_and_of_another_its_closed_form():
  assert float(ann.kl(jnp.zeros((4, 6)))) == 0
  moments = jnp.concatenate([jnp.full((4, 3), 2.0), jnp.full((4, 3), jnp.log(0.25))], axis=1)
  np.testing.assert_allclose(ann.kl(moments), 3 * 0.5 * (4 + 0.25 - 1 - np.log(0.25)), rtol=1e-6)


def test_samples_of_the_latent_have_its_mean_and_deviation():
  moments = jnp.concatenate([jnp.full((4000, 2), 2.0), jnp.full((4000, 2), jnp.log(0.25))], axis=1)
  z_BD = ann.reparameterize(moments, ann.normal(jax.random.key(0), 4000, 2))
  np.testing.assert_allclose([z_BD.mean(), z_BD.std()], [2, 0.5], rtol=0.03)


@pytest.mark.parametrize('make', [ann.make_vae, ann.make_autoencoder])
def test_training_lowers_the_loss_and_moves_the_statistics(make):
  model = make(**SMALL)
  variables = model.init(jax.random.key(0))

  @jax.jit
  def step(variables):
    batch, draws = {'image': IMAGE}, model.draw(jax.random.key(2), len(IMAGE))
    loss = lambda params: model.loss({**variables, 'params': params}, batch, draws)
    (value, (stats, _)), grads = jax.value_and_grad(loss, has_aux=True)(variables['params'])
    params = jax.tree.map(lambda p, g: p - 0.1 * g, variables['params'], grads)
    return value, {'params': params, 'batch_stats': stats}

  losses = []
  for _ in range(20):
    value, moved = step(variables)
    losses.append(float(value))
    variables = moved
  assert losses[-1] < losses[0]
  assert np.abs(variables['batch_stats']['encoder']['conv_0']['norm']['mean']).max() > 1e-4


def test_an_image_size_that_does_not_halve_is_an_error():
  with pytest.raises(ValueError, match='image_size 10 is not a multiple of 4'):
    ann.make_vae(image_size=10, features=(4, 8))

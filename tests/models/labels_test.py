"""Labels: what a model with classes is told, and that it does without as well."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.models import fsvae

pytestmark = pytest.mark.usefixtures('quick_compilation')

SIZES = {'image_size': 4, 'features': (4,), 'latent_dim': 5, 'timesteps': 3, 'draws': 3}
FIRST = {'posterior': 'dense_0', 'decoder': 'dense'}  # layer of each network that is told
PRIOR = {'bernoulli': ('dense_0', 'synapses'), 'rate': ('dense',)}
KEY = jax.random.key(2)
IMAGE = np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1)).astype(np.float32)
LABEL = np.array([0, 0, 0, 0, 2, 2, 2, 2], np.int32)
BATCH = {'image': IMAGE, 'label': LABEL}


@functools.cache
def models(latent):
  """A model of three classes and its variables, and one without, on the same other parameters."""
  told, plain = (fsvae.make(**SIZES, latent=latent, classes=classes) for classes in (3, 0))
  variables = told.init(jax.random.key(0))
  # Large enough that running statistics of no training let neurons fire.
  variables['params'] = jax.tree.map(lambda x: x * 3, variables['params'])
  like = jax.eval_shape(plain.init, jax.random.key(0))
  others = jax.tree.map(lambda x, want: x[tuple(map(slice, want.shape))], variables, like)
  return told, variables, plain, others


latents = pytest.mark.parametrize('latent', PRIOR)


@latents
def test_an_image_without_a_label_is_one_of_a_model_without_classes(latent):
  told, variables, plain, others = models(latent)

  def both(variables, others):
    draws = {**told.draw(KEY, 8), 'told': np.zeros(8, bool)}
    ours = told.loss(variables, BATCH, draws)[1][1], told.generate(variables, KEY, 8)
    theirs = plain.loss(others, BATCH, draws['latent'])[1][1], plain.generate(others, KEY, 8)
    return ours, theirs

  ours, theirs = jax.jit(both)(variables, others)
  chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)
  assert 0 < ours[0]['rate/z'] < 1


@latents
def test_every_network_but_the_encoder_learns_from_the_labels_that_are_told(latent):
  told, variables, _, _ = models(latent)
  draws = {**told.draw(KEY, 8), 'told': LABEL == 2}
  loss = lambda params: told.loss({**variables, 'params': params}, BATCH, draws)[0]
  grads = jax.jit(jax.grad(loss))(variables['params'])
  layers = {name: (layer, 'synapses') for name, layer in FIRST.items() if name in grads}
  for network, path in {**layers, 'prior': PRIOR[latent]}.items():
    kernel = functools.reduce(lambda tree, name: tree[name], path, grads[network])['kernel']
    np.testing.assert_array_equal(kernel[-3:-1], 0, network)  # of classes of which nobody is told
    assert jnp.abs(kernel[-1]).max() > 0, network


@latents
def test_another_label_makes_other_images_of_the_same_draws(latent):
  told, variables, _, _ = models(latent)

  @jax.jit
  def made(label):
    return told.generate(variables, KEY, 8, label), told.reconstruct(variables, IMAGE, KEY, label)

  for zero, mixed in zip(made(np.zeros(8, np.int32)), made(LABEL), strict=True):
    np.testing.assert_array_equal(zero[:4], mixed[:4])
    assert np.abs(zero[4:] - mixed[4:]).max() > 1e-3


def test_one_label_in_ten_is_kept_from_the_model():
  told = models('bernoulli')[0].draw(KEY, 4000)['told']
  assert 0.08 < 1 - np.mean(told) < 0.12


WRONG = {
  'label is 3; the classes of this model are 0 to 2': lambda m, v: m.generate(v, KEY, 8, 3),
  'label is float32': lambda m, v: m.generate(v, KEY, 8, 0.5),
  r'label has the shape \(5,\)': lambda m, v: m.reconstruct(v, IMAGE, KEY, LABEL[:5]),
  'label is a NoneType': lambda m, v: m.loss(v, {'image': IMAGE}, m.draw(KEY, 8)),
}


@pytest.mark.parametrize('message', WRONG)
def test_what_is_no_label_is_refused_by_name(message):
  with pytest.raises(ValueError, match=message):
    WRONG[message](*models('bernoulli')[:2])


@pytest.mark.parametrize('call', ['generate', 'sample'])
def test_a_model_without_classes_takes_no_label(call):
  with pytest.raises(ValueError, match='this model has no classes'):
    getattr(models('bernoulli')[2], call)(models('bernoulli')[3], KEY, 8, 1)

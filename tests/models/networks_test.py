"""Sizes of the networks, and their initialisation."""

import functools
import math
import re

import jax
import numpy as np
import pytest

from fsvae_jax import models
from fsvae_jax.compute import chunks, platform
from fsvae_jax.configs import celeba, cifar10, mnist
from fsvae_jax.models import fsvae

pytestmark = pytest.mark.usefixtures('quick_compilation')


def shapes(config):
  return jax.eval_shape(models.make(config.model).init, jax.random.key(0))


def count(tree):
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def test_the_mnist_model_has_the_references_parameters():
  assert count(shapes(mnist.get_config())['params']) == 4_053_601


@pytest.mark.parametrize('config, size', [(cifar10.get_config(), 32), (celeba.get_config(), 64)])
def test_colour_models_reconstruct_and_generate_their_size(config, size):
  model = models.make(config.model)
  variables = shapes(config)
  image = jax.ShapeDtypeStruct((2, size, size, 3), np.float32)
  reconstruction = jax.eval_shape(model.reconstruct, variables, image, jax.random.key(0))
  generate = functools.partial(model.generate, count=5)
  samples = jax.eval_shape(generate, variables, jax.random.key(0))
  assert reconstruction.shape == image.shape and samples.shape == (5, size, size, 3)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_every_platform_lowers_to_its_own_convolutions(dtype, monkeypatch):
  monkeypatch.setattr(chunks, 'CACHE_BYTES', 1)
  config = mnist.get_config()
  config.model.update(dtype=dtype, features=(4, 8), image_size=8, latent_dim=4, draws=2)
  model = models.make(config.model)
  variables, image = shapes(config), jax.ShapeDtypeStruct((2, 8, 8, 1), np.float32)
  loss = lambda params, stats, image: model.loss(
    {'params': params, 'batch_stats': stats}, {'image': image}, model.draw(jax.random.key(0), 2)
  )[0]
  with platform.for_any():
    gradient = jax.jit(jax.grad(loss)).trace(variables['params'], variables['batch_stats'], image)
  texts = {p: gradient.lower(lowering_platforms=(p,)).as_text() for p in ('cpu', 'cuda', 'tpu')}
  convolutions = {p: text.count('stablehlo.convolution') for p, text in texts.items()}
  # Forward: 2 + 2 + 1. Backward: two each, but one for the first, whose images have no gradient.
  assert convolutions['cpu'] == 0 and convolutions['cuda'] == convolutions['tpu'] >= 14
  products = re.findall(r'stablehlo\.(?:convolution|dot_general).*', texts['tpu'])
  assert all(line.count('HIGHEST') == 2 for line in products)  # accelerators round by default
  loops = {p: text.count('stablehlo.while') for p, text in texts.items()}
  assert loops['cuda'] == loops['tpu'] < loops['cpu']  # no chunks there


def test_an_image_of_another_size_is_refused():
  config = mnist.get_config()
  model = models.make(config.model)
  image = jax.ShapeDtypeStruct((2, 28, 28, 1), np.float32)
  with pytest.raises(AssertionError, match='32, 32, 1'):
    jax.eval_shape(model.loss, shapes(config), {'image': image}, model.draw(jax.random.key(0), 2))


def test_initial_weights_are_pytorchs_and_the_readout_starts_unsaturated():
  nets = fsvae.build(fsvae.FSVAEConfig(features=(8, 16), image_size=8, latent_dim=6, draws=3))
  params = fsvae.init(nets, jax.random.key(0))['params']
  for path, fan_in in (
    (('encoder', 'conv_1', 'synapses'), 9 * 8),
    (('decoder', 'conv_0', 'synapses'), 9 * 8),  # transposed: PyTorch counts its outputs
    (('posterior', 'dense_1', 'synapses'), 12),
  ):
    kernel = params[path[0]][path[1]][path[2]]['kernel']
    assert 0.95 * fan_in**-0.5 < np.abs(kernel).max() <= fan_in**-0.5, path
  total = sum(0.8**t for t in range(16))
  assert np.abs(params['decoder']['pixels']['kernel']).max() <= 1 / 3 / total

"""ESVAE's latent against what was recorded from its authors' code, and its properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.models import fsvae, losses
from fsvae_jax.models.latents import rate
from fsvae_jax.models.passes import Pass
from tests import golden

pytestmark = pytest.mark.usefixtures('quick_compilation')

RECORDED = {k: jnp.asarray(x) for k, x in golden.group(golden.load('family'), 'rate').items()}
LATENT = rate.make(fsvae.FSVAEConfig(timesteps=6, latent_dim=8, latent='rate'), None)


def time_first(name):
  return jnp.asarray(golden.time_first(np.asarray(RECORDED[name])))


def variables(weight, bias):
  return {
    'params': {'prior': {'dense': {'kernel': weight.T, 'bias': bias}}},
    'batch_stats': {'prior': {}},
  }


def test_values_and_gradients_are_the_recorded_ones():
  draws = {'uniform': time_first('uniform_q'), 'normal': RECORDED['normal']}
  cotangent = time_first('cotangent')

  def loss(x_BTD, weight, bias):
    z_BTD, terms = LATENT.infer(Pass(LATENT.networks, variables(weight, bias)), x_BTD, draws)
    distance = LATENT.distance(terms)
    return 0.1 * jnp.sum(z_BTD * cotangent) + distance, (z_BTD, terms, distance)

  inputs = time_first('x'), RECORDED['weight'], RECORDED['bias']
  differentiate = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
  (_, (z_BTD, terms, distance)), grads = differentiate(*inputs)
  np.testing.assert_array_equal(z_BTD, time_first('z'))
  np.testing.assert_allclose(terms['q'], RECORDED['r_q'], rtol=1e-6)
  np.testing.assert_allclose(terms['p'], RECORDED['r_p'], rtol=1e-5)
  np.testing.assert_allclose(distance, RECORDED['mmd'], rtol=1e-5)
  wanted = time_first('grad_x'), RECORDED['grad_weight'], RECORDED['grad_bias']
  for got, want in zip(grads, wanted, strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_samples_are_the_recorded_ones():
  draws = {'uniform': time_first('uniform_p'), 'normal': RECORDED['normal']}
  run = Pass(LATENT.networks, variables(RECORDED['weight'], RECORDED['bias']))
  np.testing.assert_array_equal(LATENT.sample(run, draws), time_first('sample_z'))


def test_draws_fire_as_often_as_the_rates_say():
  draws = LATENT.draw(jax.random.key(0), 4000)
  rate_BD = jnp.tile(jnp.linspace(0.05, 0.95, 8), (4000, 1))
  z_BTD = rate.spikes(rate_BD, draws['uniform'])
  np.testing.assert_allclose(z_BTD.mean((0, 1)), rate_BD[0], atol=0.015)
  assert abs(np.corrcoef(z_BTD[:, 0, 4], z_BTD[:, 1, 4])[0, 1]) < 0.06  # each step by itself


def test_mmd_is_zero_of_equal_sets_and_its_closed_form_of_single_points():
  rates_BD = jax.random.uniform(jax.random.key(0), (9, 3))
  assert abs(float(losses.rbf_mmd(rates_BD, rates_BD[::-1]))) < 1e-5
  # Two points at distance 1: the mean of the two pairs' squared distances is s = 1.
  want = 2 * sum(1 - np.exp(-1 / 2.0**i) for i in range(-2, 3))
  points = jnp.zeros((1, 3)), jnp.array([[0.0, 1, 0]])
  np.testing.assert_allclose(losses.rbf_mmd(*points), want, rtol=1e-6)
  assert float(losses.rbf_mmd(points[0], points[0])) == 0  # and no NaN


def test_another_distance_is_refused():
  with pytest.raises(ValueError, match="latent 'rate' 'kld'; known: mmd"):
    fsvae.make(latent='rate', distance='kld')


def test_the_model_has_the_published_number_of_parameters():
  shapes = jax.eval_shape(fsvae.make(latent='rate').init, jax.random.key(0))
  count = sum(x.size for x in jax.tree.leaves(shapes['params']))
  assert 1.06e6 < count < 1.08e6  # 1.07 million at D = 128

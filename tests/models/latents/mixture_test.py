"""The mixture with which a sample begins: its fit, its draws, and the prior that goes on."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax import assessment, inference, train
from fsvae_jax.compute.recurrence import at
from fsvae_jax.models import fsvae
from fsvae_jax.models.latents import bernoulli, mixture
from fsvae_jax.models.passes import Pass
from tests import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')

FIELDS = {'image_size': 8, 'features': (4,), 'timesteps': 3, 'latent_dim': 5, 'draws': 3}
KEY = jax.random.key(0)
# Two patterns of two steps, of the latent's three, [C, T * D], which no latent is between.
RATES = np.repeat(np.array([[0.05, 0.95], [0.95, 0.05]], np.float32), 5, axis=1)
SHARES = np.array([0.25, 0.75], np.float32)


def latents(count, rng):
  """First steps of latents [count, 2, 5]: one of the two patterns."""
  rates_NF = RATES[rng.choice(2, count, p=SHARES)]
  return (rng.random(rates_NF.shape) < rates_NF).reshape(count, 2, 5).astype(np.float32)


def model(patterns=None):
  """A spiking model with random statistics, so that its prior fires, and with these patterns."""
  nets = fsvae.build(fsvae.FSVAEConfig(latent='mixture', components=2, **FIELDS))
  variables = fsvae.init(nets, KEY)
  stats = jax.tree.map(lambda x: 0.05 * jnp.ones_like(x), variables['batch_stats'])
  own = variables['batch_stats']['patterns']
  stats['patterns'] = own if patterns is None else {'mixing': jnp.eye(5), **patterns}
  return nets, {**variables, 'batch_stats': stats}


def fitted():
  return model({'share': jnp.asarray(SHARES), 'rate': jnp.round(jnp.asarray(RATES))})


def test_the_fit_finds_the_patterns_that_latents_begin_with():
  found = mixture.fit(2, 0, latents(2000, np.random.default_rng(1)))['patterns']
  order = np.argsort(found['share'])
  np.testing.assert_allclose(found['share'][order], SHARES, atol=0.03)
  np.testing.assert_allclose(found['rate'][order], RATES, atol=0.03)


def test_fewer_latents_than_patterns_leave_some_alike():
  found = mixture.fit(9, 0, latents(3, np.random.default_rng(1)))['patterns']
  assert found['share'].shape == (9,) and len(np.unique(found['rate'], axis=0)) <= 3
  np.testing.assert_allclose(found['share'].sum(), 1, rtol=1e-6)


def test_the_patterns_shares_are_fitted_for_every_class():
  rng = np.random.default_rng(1)
  z_NTD = latents(2000, rng)
  second_N = z_NTD[:, 0].mean(1) > 0.5  # which pattern a latent began with
  found = mixture.fit(2, 3, z_NTD, second_N.astype(int))['patterns']
  order = np.argsort(found['rate'][:, 0])
  np.testing.assert_allclose(found['share_of_class'][:2, order], np.eye(2), atol=0.05)
  np.testing.assert_array_equal(found['share_of_class'][2], found['share'])  # no latent has it


def test_samples_begin_with_the_patterns_as_often_as_they_come():
  nets, variables = fitted()
  z_BTD = np.asarray(fsvae.sample(nets, variables, KEY, 4000))
  first_BF = z_BTD[:, :2].reshape(4000, 10)
  of_pattern_BC = (first_BF[:, None] == np.round(RATES)).all(-1)
  assert of_pattern_BC.any(1).all()
  np.testing.assert_allclose(of_pattern_BC.mean(0), SHARES, atol=0.03)


def test_a_neurons_noise_is_one_number_for_all_of_its_pattern():
  rate_CF = jnp.repeat(jnp.array([[0.3, 0.6]]), 5, axis=1)
  nets, variables = model({'share': jnp.ones(1), 'rate': rate_CF})
  nets = fsvae.build(dataclasses.replace(nets.config, components=1))
  first_BTD = np.asarray(fsvae.sample(nets, variables, KEY, 4000))[:, :2]
  np.testing.assert_allclose(first_BTD.mean((0, 2)), (0.3, 0.6), atol=0.02)
  assert (first_BTD[:, 0] <= first_BTD[:, 1]).all()  # who fires at .3 does so at .6


def test_noises_are_correlated_and_rates_stay_what_they_are():
  rate_CF = jnp.linspace(0.2, 0.6, 10)[None]
  together_DD = jnp.asarray(np.linalg.cholesky(0.8 * np.ones((5, 5)) + 0.2 * np.eye(5)))
  correlations = {}
  for name, mixing_DD in {'together': together_DD, 'apart': jnp.eye(5)}.items():
    nets, variables = model({'share': jnp.ones(1), 'rate': rate_CF, 'mixing': mixing_DD})
    nets = fsvae.build(dataclasses.replace(nets.config, components=1))
    first_BF = np.asarray(fsvae.sample(nets, variables, KEY, 4000))[:, :2].reshape(4000, 10)
    np.testing.assert_allclose(first_BF.mean(0), rate_CF[0], atol=0.02)
    correlations[name] = np.corrcoef(first_BF[:, :5].T)
  assert correlations['together'].min() > 0.45
  assert np.abs(correlations['apart'] - np.eye(5)).max() < 0.08


def test_noise_at_the_end_of_its_range_is_a_number():
  patterns = {'share': jnp.ones(1), 'rate': jnp.full((1, 10), 0.5), 'mixing': jnp.eye(5)}
  module = mixture.Patterns(1, 2, 5)
  for uniform, fires in {0.0: True, 1.0: False}.items():
    uniform_BU = jnp.full((3, 6), uniform).at[:, 0].set(0.5)
    spikes_BTD, _ = module.apply({'batch_stats': patterns}, uniform_BU)
    np.testing.assert_array_equal(spikes_BTD, np.full((3, 2, 5), fires))


def test_the_fit_gives_noises_half_of_the_correlation_that_patterns_leave_over():
  rng = np.random.default_rng(1)
  z_NTD = latents(4000, rng)
  z_NTD[:, :, 1] = z_NTD[:, :, 0]  # equal, pattern or not; beyond that neurons are independent
  z_NTD[:, :, 4] = 0  # never fires
  mixing_DD = mixture.fit(2, 0, z_NTD)['patterns']['mixing']
  correlation_DD = mixing_DD @ mixing_DD.T
  want_DD = np.eye(5)
  want_DD[0, 1] = want_DD[1, 0] = mixture.CORRELATED
  np.testing.assert_allclose(correlation_DD, want_DD, atol=0.04)


def test_the_prior_goes_on_from_the_first_steps():
  nets, variables = fitted()
  draws = nets.latent.draw(KEY, 50)
  z_BTD = nets.latent.sample(Pass(nets.modules, variables), draws)
  p_BTDK, _ = Pass(nets.modules, variables)('prior', bernoulli.shift(z_BTD))
  own_BTD = bernoulli.take(p_BTDK, draws['picks'])
  np.testing.assert_array_equal(z_BTD[:, 2:], own_BTD[:, 2:])
  assert 0 < z_BTD[:, 2:].mean() < 1 and np.any(z_BTD[:, :2] != own_BTD[:, :2])


def test_before_the_fit_samples_are_the_networks_own():
  nets, variables = model()
  draws = nets.latent.draw(KEY, 50)
  run = Pass(nets.modules, variables)
  want = bernoulli.sample(run.step('prior'), draws['picks'])
  np.testing.assert_array_equal(nets.latent.sample(run, draws), want)


def test_a_step_may_be_given_in_place_of_a_sampled_one():
  nets, variables = model()
  step = Pass(nets.modules, variables).step('prior')
  given_BTD = jnp.ones((2, 3, 5)).at[:, 1].set(0)
  given = lambda t, z_BD: jnp.where(t < 2, at(given_BTD, t), z_BD)
  z_BTD = bernoulli.sample(step, jnp.zeros((2, 3, 5), int), begin_with=given)
  np.testing.assert_array_equal(z_BTD[:, :2], given_BTD[:, :2])


def test_a_sample_with_a_label_begins_with_a_pattern_of_its_class():
  nets = fsvae.build(fsvae.FSVAEConfig(latent='mixture', components=2, classes=2, **FIELDS))
  variables = fsvae.init(nets, KEY)
  shares = {'share': jnp.asarray(SHARES), 'share_of_class': jnp.eye(2)}
  rates = {'rate': jnp.round(jnp.asarray(RATES)), 'mixing': jnp.eye(5)}
  variables['batch_stats']['patterns'] = shares | rates
  label_B = np.array([0, 1, 1, -1] * 500)
  z_BTD = np.asarray(fsvae.sample(nets, variables, KEY, 2000, label_B))
  of_second_B, of_first_B = (
    (z_BTD[:, :2].reshape(2000, 10) == np.round(rates)).all(1) for rates in RATES[::-1]
  )
  assert of_first_B[label_B == 0].all() and of_second_B[label_B == 1].all()
  np.testing.assert_allclose(of_second_B[label_B < 0].mean(), SHARES[1], atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize('classes', [0, 10])
def test_a_run_ends_with_patterns_of_its_training_images(tmp_path, monkeypatch, classes):
  monkeypatch.setattr(assessment, 'test', lambda *_: {})  # whose programs take long to compile
  fields = {'latent': 'mixture', 'components': 7, 'classes': classes}
  config = smoke.config(tmp_path / 'cache', **{f'model.{name}': x for name, x in fields.items()})
  config.train.update(steps=2, test_every=0)
  train.train_and_evaluate(config, tmp_path / 'run')
  trained = inference.restore(config, tmp_path / 'run')
  got = trained.variables['batch_stats']['patterns']
  images = trained.images('train')
  told = images.labels if classes else None
  first_NTD = trained.encode(images, label=told)[:, :2]
  want = mixture.fit(7, classes, first_NTD, told)['patterns']
  assert got.keys() == want.keys()
  for name, x in want.items():
    np.testing.assert_allclose(got[name], x, atol=1e-5)
  assert trained.generate(3).shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_a_run_that_is_cut_off_says_that_it_has_no_patterns_and_goes_on_to_the_same_end(
  tmp_path, caplog
):
  fields = {'model.latent': 'mixture', 'model.components': 7}
  config = smoke.config(tmp_path / 'cache', **fields)
  train.train_and_evaluate(config, tmp_path / 'whole')
  shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
  shutil.rmtree(tmp_path / 'cut' / 'checkpoints' / '6')
  with caplog.at_level('WARNING'):
    inference.restore(config, tmp_path / 'whole')
    assert not caplog.records
    unfitted = inference.restore(config, tmp_path / 'cut')
  assert unfitted.step == 4 and "model.latent 'mixture' is fitted" in caplog.text
  train.train_and_evaluate(config, tmp_path / 'cut')
  whole, cut = (inference.restore(config, tmp_path / name).variables for name in ('whole', 'cut'))
  jax.tree.map(np.testing.assert_array_equal, cut, whole)


@pytest.mark.slow
def test_a_finished_run_that_gets_more_steps_gives_up_its_patterns_until_it_ends_again(tmp_path):
  fields = {'model.latent': 'mixture', 'model.components': 7, 'train.steps': 2}
  config = smoke.config(tmp_path / 'cache', **fields)
  train.train_and_evaluate(config, tmp_path / 'run')
  config.train.update(steps=4, checkpoint_every=3)
  train.train_and_evaluate(config, tmp_path / 'run')
  fitted = {
    step: inference.is_fitted(inference.restore(config, tmp_path / 'run', step).variables)
    for step in (2, 3, 4)
  }
  assert fitted == {2: True, 3: False, 4: True}
  shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '4')
  config.train.steps = 3
  with pytest.raises(ValueError, match='fitted at the last one alone: .* must be at least 4'):
    train.train_and_evaluate(config, tmp_path / 'run')  # else it were done, and never fitted

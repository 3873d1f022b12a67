"""The autoregressive samplers against a naive oracle, and their properties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.models import fsvae, passes
from fsvae_jax.models.latents import bernoulli

pytestmark = pytest.mark.usefixtures('quick_compilation')


def small(timesteps, latent_dim, draws):
  """Networks and variables whose running statistics are not the initial ones."""
  nets = fsvae.build(
    fsvae.FSVAEConfig(
      image_size=4, features=(4,), timesteps=timesteps, latent_dim=latent_dim, draws=draws
    )
  )
  return nets, firing(fsvae.init(nets, jax.random.key(0)))


def firing(variables):
  """With running statistics so small, and unlike, that neurons fire outside of training too."""
  rng = np.random.default_rng(1)
  scaled = lambda x: x * rng.uniform(0.05, 0.3, x.shape).astype(np.float32)
  stats = jax.tree.map(scaled, variables['batch_stats'])
  return {**variables, 'batch_stats': stats}


def oracle(nets, name, variables, picks_BTD, x_BTD=None):
  """z by recomputing the whole prefix at every step: O(T^2), no state."""
  z_BTD = jnp.zeros(picks_BTD.shape)
  for t in range(picks_BTD.shape[1]):
    given = bernoulli.shift(z_BTD)[:, : t + 1]
    if x_BTD is not None:
      given = jnp.concatenate((x_BTD[:, : t + 1], given), -1)
    spikes, _ = passes.Pass(nets.modules, variables)(name, given)
    picked = jnp.take_along_axis(spikes[:, t], picks_BTD[:, t, :, None], -1)[..., 0]
    z_BTD = z_BTD.at[:, t].set(picked)
  return z_BTD


@pytest.mark.parametrize('timesteps, latent_dim, draws', [(1, 3, 1), (4, 8, 20)])
def test_carried_state_equals_prefix_recomputation(timesteps, latent_dim, draws):
  nets, variables = small(timesteps, latent_dim, draws)
  draws, run = nets.latent.draw(jax.random.key(2), 5), passes.Pass(nets.modules, variables)
  picks = draws['picks']
  x_BTD = jax.random.bernoulli(jax.random.key(3), 0.4, picks.shape).astype(jnp.float32)
  z = nets.latent.encode(run, x_BTD, draws)
  of_prefixes = jax.jit(functools.partial(oracle, nets), static_argnums=0)
  np.testing.assert_array_equal(z, of_prefixes('posterior', variables, picks, x_BTD))
  sampled = nets.latent.sample(run, draws)
  np.testing.assert_array_equal(sampled, of_prefixes('prior', variables, picks))
  if timesteps > 1:
    assert 0.02 < float(z.mean()) < 0.98  # a comparison of constants would prove nothing


def test_scheduled_sampling_comes_at_the_rate_of_the_schedule_and_in_training_alone():
  sizes = {'image_size': 4, 'features': (4,), 'timesteps': 9, 'latent_dim': 8, 'draws': 5}
  model = fsvae.make(**sizes, scheduled_sampling=(0.0, 1.0))
  variables = firing(model.init(jax.random.key(0)))
  draws = model.draw(jax.random.key(1), 16)
  image = jax.random.uniform(jax.random.key(2), (16, 4, 4, 1), jnp.float32, -1, 1)

  loss = jax.jit(model.loss, static_argnames='train')

  def distance(schedule, train=True, draws=draws):
    return loss(variables, {'image': image}, draws, schedule, train=train)[1][1]['distance']

  never = distance(0.0, draws={'picks': draws['picks']})
  assert distance(0.0) == never != distance(1.0)
  assert distance(1.0, train=False) == distance(0.0, train=False)


def test_the_future_does_not_reach_back():
  nets, variables = small(6, 8, 5)
  draws, run = nets.latent.draw(jax.random.key(2), 5), passes.Pass(nets.modules, variables)
  picks = draws['picks']
  x_BTD = jax.random.bernoulli(jax.random.key(3), 0.4, picks.shape).astype(jnp.float32)
  z = nets.latent.encode(run, x_BTD, draws)
  changed = nets.latent.encode(run, x_BTD.at[:, 3].set(1 - x_BTD[:, 3]), draws)
  np.testing.assert_array_equal(z[:, :3], changed[:, :3])
  assert np.any(z[:, 3:] != changed[:, 3:])


def test_take_is_bernoulli_of_the_mean():
  spikes_BDK = jax.random.bernoulli(jax.random.key(0), 0.3, (1, 4, 20)).astype(jnp.float32)
  many = jnp.broadcast_to(spikes_BDK, (20000, 4, 20))
  z_BD = bernoulli.take(many, jax.random.randint(jax.random.key(1), (20000, 4), 0, 20))
  np.testing.assert_allclose(z_BD.mean(0), spikes_BDK[0].mean(-1), atol=0.015)


def test_the_gradient_goes_to_the_picked_spike_only():
  picks_BD = jnp.array([[2, 0]])
  grad = jax.grad(lambda s: bernoulli.take(s, picks_BD).sum())(jnp.zeros((1, 2, 3)))
  np.testing.assert_array_equal(grad, [[[0, 0, 1], [1, 0, 0]]])


def test_the_gradient_goes_to_all_k_if_asked_and_the_value_stays_the_picked_one():
  spikes_BDK = jax.random.bernoulli(jax.random.key(0), 0.3, (5, 4, 3)).astype(jnp.float32)
  picks_BD = jax.random.randint(jax.random.key(1), (5, 4), 0, 3)
  take = bernoulli.PICK_GRADIENTS['mean']
  np.testing.assert_array_equal(take(spikes_BDK, picks_BD), bernoulli.take(spikes_BDK, picks_BD))
  grad = jax.grad(lambda s: (take(s, picks_BD) * jnp.arange(4.0)[None]).sum())(spikes_BDK)
  np.testing.assert_allclose(grad, np.broadcast_to(np.arange(4)[:, None] / 3, (5, 4, 3)), rtol=1e-6)


def test_the_model_has_the_gradient_that_is_asked_for():
  sizes = {'image_size': 4, 'features': (4,), 'timesteps': 2, 'latent_dim': 3, 'draws': 4}
  make = functools.partial(fsvae.make, **sizes, surrogate='triangle')
  variables = make().init(jax.random.key(0))
  batch = {'image': jax.random.uniform(jax.random.key(1), (6, 4, 4, 1), minval=-1)}

  def grad_of(model):
    draws = model.draw(jax.random.key(2), 6)
    loss = lambda params: model.loss({**variables, 'params': params}, batch, draws)[0]
    value, grads = jax.jit(jax.value_and_grad(loss))(variables['params'])
    return value, grads['posterior']['dense_2']['synapses']['kernel']

  (picked, picked_grad), (mean, mean_grad) = grad_of(make()), grad_of(make(pick_gradient='mean'))
  assert picked == mean and np.abs(picked_grad - mean_grad).max() > 1e-6


def test_scheduled_sampling_replaces_from_its_first_step_on_with_what_the_prior_expects():
  nets, variables = small(9, 8, 5)
  run = passes.Pass(nets.modules, variables)
  draws = bernoulli.draw_schedule(jax.random.key(5), 64, 9, 8)
  z_BTD = jax.random.bernoulli(jax.random.key(3), 0.4, (64, 9, 8)).astype(jnp.float32)

  def scheduled(rate):
    return bernoulli.scheduled(run.step('prior'), z_BTD, draws, rate)

  np.testing.assert_array_equal(scheduled(0.0), z_BTD)
  replaced = scheduled(1.0)
  np.testing.assert_array_equal(replaced[:, :5], z_BTD[:, :5])
  assert np.any(replaced[:, 5:] != z_BTD[:, 5:])
  p_BTDK, _ = run('prior', bernoulli.shift(replaced))
  mean_BTD = p_BTDK.mean(-1)[:, 5:]
  sure = np.abs(mean_BTD - 0.5) > 0.01  # the noise only breaks ties
  assert sure.mean() > 0.5
  np.testing.assert_array_equal(replaced[:, 5:][sure], (mean_BTD > 0.5)[sure])
  # One coin a step for the whole batch: at rate 1/2, a step is the given one or not, as a whole.
  kept_BT = np.all(np.asarray(scheduled(0.5) == z_BTD), axis=2)[:, 5:]
  assert set(kept_BT.mean(0) > 0.5) == {True, False}
  assert all(share == 1 or share < 0.5 for share in kept_BT.mean(0))

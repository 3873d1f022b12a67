"""The autoregressive Bernoulli latent (arXiv 2110.00375, section 4.2).

Posterior and prior networks emit K binary spikes for each latent channel and step. One of the K is
picked uniformly at random, z[t, d] = q[t, d, pick[t, d]]: z[t, d] ~ Bernoulli(mean_k q[t, d, k]).
z[t] is part of the network's input at t + 1:

  posterior  q[t] = Q(x[<=t], z[<t])      [B, T, D, K]
  prior      p[t] = P(z[<t])              [B, T, D, K]

A network takes part as a function of one step,

    step(input_BI, residues) -> (spikes_BDK, residues),     residues = None before the first step,

that carries every neuron's residue: a sample of T steps costs T step evaluations.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import batch_split, lay_like, wide, wide_type
from fsvae_jax.compute.recurrence import at, scan
from fsvae_jax.models import losses, networks
from fsvae_jax.models.inputs import drawn
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.passes import Pass
from fsvae_jax.spiking import neurons

Draws = Mapping[str, jax.Array]  # 'picks', and to train 'coins' and 'noise'


def make(config: Any, neuron: neurons.LIF) -> Latent:
  """The latent of `FSVAEConfig`'s sizes, schedule and distance; ValueError for an unknown name."""
  mlp = networks.SpikingMLP(config.latent_dim, config.draws, neuron, config.dtype)
  distance, weight = losses.chosen(config, losses.DISTANCES)
  return Latent(
    networks={'posterior': mlp, 'prior': mlp},
    shapes={
      'posterior': (1, config.timesteps, 2 * config.latent_dim),
      'prior': (1, config.timesteps, config.latent_dim),
    },
    draw=functools.partial(draw, config),
    encode=encode,
    sample=lambda run, draws: sample(run.step('prior'), drawn(draws, 'picks')),
    infer=functools.partial(infer, config.scheduled_sampling, PICK_GRADIENTS[config.pick_gradient]),
    distance=lambda terms: distance(terms['q'], terms['p']),
    weight=weight,
    replay=replay,
  )


def draw(config: Any, key: jax.Array, count: int, train: bool = False) -> dict[str, jax.Array]:
  """The picks of `count` samples; to `train`, also the draws of scheduled sampling."""
  sizes = checks.count('count', count), config.timesteps, config.latent_dim
  if not train:
    return {'picks': draw_picks(key, *sizes, config.draws)}
  picks_key, prior_key = jax.random.split(key)
  return {'picks': draw_picks(picks_key, *sizes, config.draws), **draw_schedule(prior_key, *sizes)}


def encode(run: Pass, x_BTD: jax.Array, draws: Draws) -> jax.Array:
  """z [B, T, D] of the posterior given encoder spikes x [B, T, D], without gradient.

  Raises:
    ValueError: for picks that do not fit x.
  """
  picks_BTD = checks.integers('picks', drawn(draws, 'picks'), *x_BTD.shape)
  return sample(run.step('posterior'), picks_BTD, jax.lax.stop_gradient(x_BTD))


def infer(
  rates: tuple[float, float],
  take: Callable,
  run: Pass,
  x_BTD: jax.Array,
  draws: Draws,
  schedule: float | jax.Array = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """z [B, T, D], and the spikes that it and its prior were picked of, {'q' | 'p': [B, T, D, K]}.

  The posterior's history z[t-1] comes from a first pass without gradient, in evaluation mode; then
  q is computed for all steps at once, and the same picks give the latent that goes to the decoder.

  Args:
    rates: of scheduled sampling, at the first and at the last step of training.
    take: one of `PICK_GRADIENTS`.
    draws: of `draw`; without 'coins', the prior is told z as it is. A 'history' [B, T, D] among
      them is used instead of the first pass's.
    schedule: in [0, 1], the share of the training that is over.
  """
  picks_BTD = drawn(draws, 'picks')
  if 'history' in draws:
    history_BTD = checks.floats('history', draws['history'], *x_BTD.shape)
  else:
    history_BTD = shift(encode(run, x_BTD, draws))
  q_BTDK, _ = run('posterior', jnp.concatenate((x_BTD, history_BTD), axis=-1))
  z_BTD = take(q_BTDK, picks_BTD)
  told_BTD = jax.lax.stop_gradient(z_BTD)
  if run.train and 'coins' in draws:
    rate = rates[0] + (rates[1] - rates[0]) * schedule
    told_BTD = scheduled(run.step('prior'), told_BTD, draws, rate)
  p_BTDK, _ = run('prior', shift(told_BTD))
  return z_BTD, {'q': q_BTDK, 'p': p_BTDK}


def replay(run: Pass, z_BTD: jax.Array, x_BTD: jax.Array | None = None) -> None:
  """Runs the posterior, or without x the prior, once more on a z that it gave."""
  history_BTD = shift(z_BTD)
  if x_BTD is None:
    run('prior', history_BTD)
  else:
    run('posterior', jnp.concatenate((x_BTD, history_BTD), axis=-1))


def draw_picks(
  key: jax.Array, batch: int, timesteps: int, latent_dim: int, draws: int
) -> jax.Array:
  """Which of the K spikes is taken: int32 [B, T, D] in [0, K), split over the mesh, if any.

  Raises:
    ValueError: for sizes that are no whole numbers, a batch below zero or others below one.

  Examples:
    >>> draw_picks(jax.random.key(0), batch=2, timesteps=16, latent_dim=8, draws=20).shape
    (2, 16, 8)
  """
  batch, draws = checks.count('batch', batch), checks.count('draws', draws, 1)
  sizes = {'timesteps': timesteps, 'latent_dim': latent_dim}
  shape = batch, *(checks.count(name, size, 1) for name, size in sizes.items())
  return jax.random.randint(key, shape, 0, draws, jnp.int32, out_sharding=batch_split(batch))


def take(spikes_DK: jax.Array, picks_D: jax.Array) -> jax.Array:
  """`spikes[..., d, picks[..., d]]`, [..., D]; the gradient goes to the picked spike only.

  Raises:
    ValueError: for spikes that are not of floats, picks that are no integers, or do not fit them.

  Examples:
    >>> take(jnp.array([[0.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1])).tolist()
    [0.0, 1.0]
  """
  spikes_DK = checks.floats('spikes_DK', spikes_DK, ..., 'K')
  picks_D = checks.integers('picks_D', picks_D, *spikes_DK.shape[:-1])
  # As a sum of products, whose gradient is a product; that of a gather is a scatter.
  return jnp.sum(
    spikes_DK * jax.nn.one_hot(picks_D, spikes_DK.shape[-1], dtype=wide_type(spikes_DK)), axis=-1
  )


def take_for_mean(spikes_DK: jax.Array, picks_D: jax.Array) -> jax.Array:
  """`take`, with the gradient of mean_k: of the probability of which the pick is a draw
  (straight-through, arXiv 1308.3432).

  Examples:
    >>> spikes_DK, picks_D = jnp.array([[0.0, 1.0]]), jnp.array([0])
    >>> jax.grad(lambda s_DK: take_for_mean(s_DK, picks_D).sum())(spikes_DK).tolist()
    [[0.5, 0.5]]
  """
  mean_D = jnp.mean(wide(spikes_DK), -1)
  picked_D = take(jax.lax.stop_gradient(spikes_DK), picks_D)
  return picked_D + (mean_D - jax.lax.stop_gradient(mean_D))


# Where the gradient of a pick goes: to the picked spike, or to all K alike.
PICK_GRADIENTS = {'picked': take, 'mean': take_for_mean}


def shift(z_BTD: jax.Array) -> jax.Array:
  """z[t-1] at t, zero at t = 0: the history that the networks are given.

  Examples:
    >>> shift(jnp.array([[[1.0], [0.0], [1.0]]]))[0, :, 0].tolist()
    [0.0, 1.0, 0.0]
  """
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', 'D')
  return jnp.pad(z_BTD, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def sample(
  step: Callable,
  picks_BTD: jax.Array,
  x_BTD: jax.Array | None = None,
  begin_with: Callable | None = None,
) -> jax.Array:
  """A sample z [B, T, D]: z[t] picked from `step`'s K spikes on concat(x[t], z[t-1]), or on z[t-1].

  Args:
    step: the posterior's (with `x_BTD`) or the prior's (without).
    picks_BTD: [B, T, D] integers in [0, K).
    x_BTD: [B, T, D] encoder spikes, or None.
    begin_with: (t, z_BD) -> z_BD that is taken in its place.

  Raises:
    ValueError: for picks that are no integers, x that is not of floats, or shapes that do not fit.
  """
  picks_BTD = checks.integers('picks_BTD', picks_BTD, 'B', 'T', 'D')
  if x_BTD is not None:
    x_BTD = checks.floats('x_BTD', x_BTD, *picks_BTD.shape[:2], 'D')
    picks_BTD = lay_like(picks_BTD, x_BTD)

  def heard(t, z_BD):  # x[t], if there is one, and z[t-1]
    return z_BD if x_BTD is None else jnp.concatenate((at(x_BTD, t), z_BD), axis=-1)

  def pick(t, carry, _):
    z_BD, residues = carry
    spikes_BDK, residues = step(heard(t, z_BD), residues)
    z_BD = take(spikes_BDK, at(picks_BTD, t))
    if begin_with:
      z_BD = begin_with(t, z_BD)
    return (z_BD, residues), z_BD

  z_BTD = jnp.zeros_like(picks_BTD, dtype=jnp.float32)
  spikes_BDK, residues = begin(step, heard(0, z_BTD[:, 0]))
  z_BTD = z_BTD.astype(wide_type(spikes_BDK))
  start = z_BTD[:, 0], residues
  return scan(pick, picks_BTD.shape[1], start, z_BTD)[1]


def draw_schedule(
  key: jax.Array, batch: int, timesteps: int, latent_dim: int
) -> dict[str, jax.Array]:
  """What `scheduled` needs: 'coins' [B, T], uniform and the same for all of a batch, and 'noise'
  [B, T, D], normal."""
  coin_key, noise_key = jax.random.split(key)
  split = batch_split(batch)
  coins_T = jax.random.uniform(coin_key, (timesteps,), jnp.float32)
  shape = batch, timesteps, latent_dim
  return {
    'coins': jnp.broadcast_to(coins_T[None], (batch, timesteps), out_sharding=split),
    'noise': jax.random.normal(noise_key, shape, jnp.float32, out_sharding=split),
  }


def scheduled(
  step: Callable, z_BTD: jax.Array, draws: Draws, rate: float | jax.Array, first: int = 5
) -> jax.Array:
  """Scheduled sampling of the prior's input (arXiv 2110.00375, section 4.3; arXiv 1506.03099).

  From step `first` on, where the coin is below `rate`, z[t] is replaced by what the prior itself,
  on what it was given so far, holds likelier: 1 where mean_k p[t] + noise > 1/2; the noise (0.001
  standard deviations of a normal) breaks ties.

  Args:
    draws: of `draw_schedule`.

  Returns:
    [B, T, D] the sequence with its replacements.

  Raises:
    ValueError: for arrays that are not of floats, or do not fit z, or a rate that is no single
      number.
  """
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', 'D')
  rate = jnp.asarray(rate, jnp.float32)
  if rate.ndim:
    raise checks.ArgumentError(f'rate has the shape {rate.shape}; it must be one number')
  timesteps = z_BTD.shape[1]
  coins_BT = checks.floats('coins', drawn(draws, 'coins'), *z_BTD.shape[:2])
  replaced_BT = (coins_BT < rate) & (jnp.arange(timesteps) >= first)[None]
  noise_BTD = 1e-3 * checks.floats('noise', drawn(draws, 'noise'), *z_BTD.shape)

  def replace(t, carry, z_BD):
    given_BD, residues = carry
    spikes_BDK, residues = step(given_BD, residues)
    own_BD = (jnp.mean(wide(spikes_BDK), -1) + at(noise_BTD, t) > 0.5).astype(z_BD.dtype)
    given_BD = jnp.where(at(replaced_BT, t)[:, None], own_BD, z_BD)
    return (given_BD, residues), given_BD

  zero_BD = jnp.zeros_like(z_BTD[:, 0])
  return scan(replace, timesteps, (zero_BD, begin(step, zero_BD)[1]), z_BTD)[1]


def begin(step: Callable, input_BI: jax.Array):
  """The shape and type of `step`'s spikes, and zero residues for every neuron of it."""
  spikes_BDK, residues = jax.eval_shape(step, input_BI, None)
  return spikes_BDK, jax.tree.map(lambda x: lay_like(jnp.zeros_like(x), input_BI), residues)

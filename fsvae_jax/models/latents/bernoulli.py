"""The autoregressive Bernoulli latent (arXiv 2110.00375, section 4.2).

Posterior and prior networks emit K binary spikes for each latent channel and step. One of the K is
picked uniformly at random, z[t, d] = q[t, d, pick[t, d]]: z[t, d] ~ Bernoulli(mean_k q[t, d, k]).
z[t] is part of the network's input at t + 1. A network takes part as a function of one step,

    step(input_BI, residues) -> (spikes_BDK, residues),     residues = None before the first step,

that carries every neuron's residue: a sample of T steps costs T step evaluations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import batch_split, draw_part, lay_like, wide, wide_type
from fsvae_jax.compute.recurrence import at, scan


def draw_picks(
  key: jax.Array, batch: int, timesteps: int, latent_dim: int, draws: int
) -> jax.Array:
  """Which of the K spikes is taken: int32 [B, T, D] in [0, K), split over the mesh, if any.

  Raises:
    ValueError: for sizes that are no whole numbers, a batch below zero or others below one.
  """
  batch, draws = checks.count('batch', batch), checks.count('draws', draws, 1)
  sizes = {'timesteps': timesteps, 'latent_dim': latent_dim}
  shape = batch, *(checks.count(name, size, 1) for name, size in sizes.items())
  return jax.random.randint(key, shape, 0, draws, jnp.int32, out_sharding=batch_split(batch))


def take(spikes_DK: jax.Array, picks_D: jax.Array) -> jax.Array:
  """`spikes[..., d, picks[..., d]]`, [..., D]; the gradient goes to the picked spike only.

  Raises:
    ValueError: for spikes that are not of floats, picks that are no integers, or do not fit them.
  """
  spikes_DK = checks.floats('spikes_DK', spikes_DK, ..., 'K')
  picks_D = checks.integers('picks_D', picks_D, *spikes_DK.shape[:-1])
  # As a sum of products, whose gradient is a product; that of a gather is a scatter.
  return jnp.sum(
    spikes_DK * jax.nn.one_hot(picks_D, spikes_DK.shape[-1], dtype=wide_type(spikes_DK)), axis=-1
  )


def shift(z_BTD: jax.Array) -> jax.Array:
  """z[t-1] at t, zero at t = 0: the history that the networks are given."""
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', 'D')
  return jnp.pad(z_BTD, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def bernoulli(step: Callable, picks_BTD: jax.Array, x_BTD: jax.Array | None = None) -> jax.Array:
  """A sample z [B, T, D]: z[t] picked from `step`'s K spikes on concat(x[t], z[t-1]), or on z[t-1].

  Args:
    step: the posterior's (with `x_BTD`) or the prior's (without).
    picks_BTD: [B, T, D] integers in [0, K).
    x_BTD: [B, T, D] encoder spikes, or None.

  Raises:
    ValueError: for picks that are no integers, x that is not of floats, or shapes that do not fit.
  """
  picks_BTD = checks.integers('picks_BTD', picks_BTD, 'B', 'T', 'D')
  if x_BTD is not None:
    x_BTD = checks.floats('x_BTD', x_BTD, *picks_BTD.shape[:2], 'D')
    picks_BTD = lay_like(picks_BTD, x_BTD)

  def sample(t, carry, _):
    z_BD, residues = carry
    x_BD = () if x_BTD is None else (at(x_BTD, t),)
    spikes_BDK, residues = step(jnp.concatenate((*x_BD, z_BD), axis=-1), residues)
    z_BD = take(spikes_BDK, at(picks_BTD, t))
    return (z_BD, residues), z_BD

  z_BTD = jnp.zeros_like(picks_BTD, dtype=jnp.float32)
  given_BTI = z_BTD if x_BTD is None else jnp.concatenate((x_BTD, z_BTD), axis=-1)
  spikes_BDK, residues = begin(step, given_BTI[:, 0])
  z_BTD = z_BTD.astype(wide_type(spikes_BDK))
  start = z_BTD[:, 0], residues
  return scan(sample, picks_BTD.shape[1], start, z_BTD)[1]


def scheduled(
  step: Callable,
  z_BTD: jax.Array,
  key: jax.Array,
  rate: float | jax.Array,
  first: int = 5,
  part: tuple = (0, 1),
) -> jax.Array:
  """Scheduled sampling of the prior's input (arXiv 2110.00375, section 4.3; arXiv 1506.03099).

  From step `first` on, with probability `rate` (one coin a step for the whole batch), z[t] is
  replaced by what the prior itself, on what it was given so far, holds likelier: 1 where mean_k
  p[t] + noise > 1/2; the noise (0.001 standard deviations of a normal) breaks ties. `part` of a
  batch, as interface.Model has it.

  Returns:
    [B, T, D] the sequence with its replacements.

  Raises:
    ValueError: for a z that is not of floats with three axes, or a rate that is no single number.
  """
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', 'D')
  rate = jnp.asarray(rate, jnp.float32)
  if rate.ndim:
    raise checks.ArgumentError(f'rate has the shape {rate.shape}; it must be one number')
  coin_key, noise_key = jax.random.split(key)
  _, timesteps, latent_dim = z_BTD.shape
  coins_T = jax.random.bernoulli(coin_key, rate, (timesteps,)) & (jnp.arange(timesteps) >= first)
  draw = lambda key, batch: jax.random.normal(
    key, (batch, timesteps, latent_dim), jnp.float32, out_sharding=batch_split(batch)
  )
  noise_BTD = 1e-3 * draw_part(draw, noise_key, z_BTD, part)

  def replace(t, carry, z_BD):
    given_BD, residues = carry
    spikes_BDK, residues = step(given_BD, residues)
    own_BD = (jnp.mean(wide(spikes_BDK), -1) + at(noise_BTD, t) > 0.5).astype(z_BD.dtype)
    given_BD = jnp.where(coins_T[t], own_BD, z_BD)
    return (given_BD, residues), given_BD

  zero_BD = jnp.zeros_like(z_BTD[:, 0])
  return scan(replace, timesteps, (zero_BD, begin(step, zero_BD)[1]), z_BTD)[1]


def begin(step: Callable, input_BI: jax.Array):
  """The shape and type of `step`'s spikes, and zero residues for every neuron of it."""
  spikes_BDK, residues = jax.eval_shape(step, input_BI, None)
  return spikes_BDK, jax.tree.map(lambda x: lay_like(jnp.zeros_like(x), input_BI), residues)


SAMPLERS = {'bernoulli': bernoulli}

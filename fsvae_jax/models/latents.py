"""The autoregressive Bernoulli latent (arXiv 2110.00375, section 4.2).

Posterior and prior networks emit K binary spikes for each latent channel and step. One of the K is
picked uniformly at random, z[t, d] = q[t, d, pick[t, d]]: z[t, d] ~ Bernoulli(mean_k q[t, d, k]).
z[t] is part of the network's input at t + 1. A network takes part as a function of one step,

    step(input_BI, residues) -> (spikes_BDK, residues),     residues = None before the first step,

that carries every neuron's residue: a sample of T steps costs T step evaluations.
"""

import chex
import jax
import jax.numpy as jnp

from fsvae_jax.spiking.layout import batch_split, draw_part, wide
from fsvae_jax.spiking.recurrence import at, scan


def draw_picks(key, batch, timesteps, latent_dim, draws):
  """Which of the K spikes is taken: int32 [B, T, D] in [0, K), split over the mesh, if any."""
  shape = (batch, timesteps, latent_dim)
  return jax.random.randint(key, shape, 0, draws, out_sharding=batch_split())


def take(spikes_DK, picks_D):
  """`spikes[..., d, picks[..., d]]`, [..., D]; the gradient goes to the picked spike only."""
  chex.assert_equal_shape([spikes_DK[..., 0], picks_D])
  # As a sum of products, whose gradient is a product; that of a gather is a scatter.
  return jnp.sum(spikes_DK * jax.nn.one_hot(picks_D, spikes_DK.shape[-1]), axis=-1)


def shift(z_BTD):
  """z[t-1] at t, zero at t = 0: the history that the networks are given."""
  return jnp.pad(z_BTD, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def bernoulli(step, picks_BTD, x_BTD=None):
  """A sample z [B, T, D]: z[t] picked from `step`'s K spikes on concat(x[t], z[t-1]), or on z[t-1].

  Args:
    step: the posterior's (with `x_BTD`) or the prior's (without).
    picks_BTD: [B, T, D] integers in [0, K).
    x_BTD: [B, T, D] encoder spikes, or None.
  """

  def sample(t, carry, _):
    z_BD, residues = carry
    x_BD = () if x_BTD is None else (at(x_BTD, t),)
    spikes_BDK, residues = step(jnp.concatenate((*x_BD, z_BD), axis=-1), residues)
    z_BD = take(spikes_BDK, at(picks_BTD, t))
    return (z_BD, residues), z_BD

  z_BTD = jnp.zeros_like(picks_BTD, dtype=jnp.float32)
  given_BTI = z_BTD if x_BTD is None else jnp.concatenate((x_BTD, z_BTD), axis=-1)
  start = z_BTD[:, 0], rest(step, given_BTI[:, 0])
  return scan(sample, picks_BTD.shape[1], start, z_BTD)[1]


def scheduled(step, z_BTD, key, rate, first=5, part=(0, 1)):
  """Scheduled sampling of the prior's input (arXiv 2110.00375, section 4.3; arXiv 1506.03099).

  From step `first` on, with probability `rate` (one coin a step for the whole batch), z[t] is
  replaced by what the prior itself, on what it was given so far, holds likelier: 1 where mean_k
  p[t] + noise > 1/2; the noise (0.001 standard deviations of a normal) breaks ties. `part` of a
  batch, as interface.Model has it.

  Returns:
    [B, T, D] the sequence with its replacements.
  """
  coin_key, noise_key = jax.random.split(key)
  batch, timesteps, latent_dim = z_BTD.shape
  coins_T = jax.random.bernoulli(coin_key, rate, (timesteps,)) & (jnp.arange(timesteps) >= first)
  draw = lambda key, batch: jax.random.normal(
    key, (batch, timesteps, latent_dim), out_sharding=batch_split()
  )
  noise_BTD = 1e-3 * draw_part(draw, noise_key, batch, part)

  def replace(t, carry, z_BD):
    given_BD, residues = carry
    spikes_BDK, residues = step(given_BD, residues)
    own_BD = (jnp.mean(wide(spikes_BDK), -1) + at(noise_BTD, t) > 0.5).astype(z_BD.dtype)
    given_BD = jnp.where(coins_T[t], own_BD, z_BD)
    return (given_BD, residues), given_BD

  zero_BD = jnp.zeros_like(z_BTD[:, 0])
  return scan(replace, timesteps, (zero_BD, rest(step, zero_BD)), z_BTD)[1]


def rest(step, input_BI):
  """Zero residues for every neuron of `step`."""
  _, residues = jax.eval_shape(step, input_BI, None)
  return jax.tree.map(jnp.zeros_like, residues)


SAMPLERS = {'bernoulli': bernoulli}

"""The rate latent of ESVAE (arXiv 2310.14839): no networks in time, and one layer for a prior.

posterior  r_q[d] = mean_t x[t, d]                                    [B, D]
prior      r_p    = sigmoid(W n + b),   n ~ N(0, 1)^D                 [B, D]
z[t, d]    = 1 if r[d] > uniform noise[t, d] else 0, independently at every step
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax.compute import checks, linear
from fsvae_jax.compute.layout import batch_split, wide
from fsvae_jax.models import layers, losses, records
from fsvae_jax.models.inputs import drawn
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.passes import Pass
from fsvae_jax.spiking import neurons, surrogate

WIDTH = 1.0  # of the surrogate's window around the noise, 2a in the paper

Draws = Mapping[str, jax.Array]  # 'uniform' [B, T, D] and 'normal' [B, D]


def make(config: Any, neuron: neurons.LIF) -> Latent:
  """The latent of `FSVAEConfig`'s sizes; it has the distances of `losses.RATE_DISTANCES`."""
  del neuron  # the prior has none
  distance, weight = losses.chosen(config, losses.RATE_DISTANCES)
  return Latent(
    networks={'prior': PriorRates(config.latent_dim)},
    shapes={'prior': (1, config.latent_dim)},
    draw=functools.partial(draw, config),
    encode=encode,
    sample=sample,
    infer=infer,
    distance=lambda terms: distance(terms['q'], terms['p']),
    weight=weight,
    replay=replay,
  )


class PriorRates(nn.Module):
  """Normal numbers [B, D] to rates [B, D] in (0, 1): one linear layer and a sigmoid."""

  latent_dim: int

  @nn.compact
  def __call__(self, normal_BD, train=False):
    del train  # nothing is normalised
    synapses = layers.Synapses(self.latent_dim, name='dense')
    weights = synapses(normal_BD.shape[-1])
    records.operations(synapses, linear.matmul, weights[0], normal_BD.shape[1:], steps=1)
    return nn.sigmoid(layers.respond(linear.matmul, weights, normal_BD))


def draw(config: Any, key: jax.Array, count: int, train: bool = False) -> dict[str, jax.Array]:
  """Noise that the rates of `count` samples meet, and the numbers that the prior makes rates of."""
  del train
  count = checks.count('count', count)
  uniform_key, normal_key = jax.random.split(key)
  shape, split = (count, config.timesteps, config.latent_dim), batch_split(count)
  return {
    'uniform': jax.random.uniform(uniform_key, shape, jnp.float32, out_sharding=split),
    'normal': jax.random.normal(normal_key, shape[::2], jnp.float32, out_sharding=split),
  }


@jax.custom_jvp
def spikes(rate_BD: jax.Array, uniform_BTD: jax.Array) -> jax.Array:
  """[B, T, D] 1 where rate > noise; dz/drate is 1 where they differ by less than a half.

  Examples:
    >>> spikes(jnp.array([[0.5]]), jnp.array([[[0.2], [0.7]]]))[0, :, 0].tolist()
    [1.0, 0.0]
  """
  return (rate_BD[:, None] > uniform_BTD).astype(rate_BD.dtype)


@spikes.defjvp
def _spikes_jvp(at, d):
  rate_BD, uniform_BTD = at
  uniform_BTD = uniform_BTD.astype(rate_BD.dtype)
  derivative_BTD = surrogate.paper_rectangle(rate_BD[:, None], uniform_BTD, WIDTH)
  return spikes(rate_BD, uniform_BTD), derivative_BTD * d[0][:, None]


def infer(
  run: Pass, x_BTD: jax.Array, draws: Draws, schedule: float | jax.Array = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """z [B, T, D] of the encoder's rates, and the rates of both, {'q' | 'p': [B, D]}.

  Raises:
    ValueError: naming draws that are not of `draw`.
  """
  del schedule
  q_BD, z_BTD = _posterior(x_BTD, draws)
  normal_BD = checks.floats('normal', drawn(draws, 'normal'), *q_BD.shape)
  return z_BTD, {'q': q_BD, 'p': run('prior', normal_BD)}


def encode(run: Pass, x_BTD: jax.Array, draws: Draws) -> jax.Array:
  """z [B, T, D] of the encoder's rates, without gradient; raises as `infer`."""
  del run
  return jax.lax.stop_gradient(_posterior(x_BTD, draws)[1])


def _posterior(x_BTD, draws):
  """The rates [B, D] of the encoder's spikes, and z [B, T, D] of them."""
  q_BD = jnp.mean(wide(x_BTD), axis=1)
  uniform_BTD = checks.floats('uniform', drawn(draws, 'uniform'), *x_BTD.shape)
  return q_BD, spikes(q_BD, uniform_BTD)


def sample(run: Pass, draws: Draws) -> jax.Array:
  """z [B, T, D] of the prior's rates, without gradient; raises as `infer`."""
  normal_BD = checks.floats('normal', drawn(draws, 'normal'), 'B', 'D')
  batch, latent_dim = normal_BD.shape
  uniform_BTD = checks.floats('uniform', drawn(draws, 'uniform'), batch, 'T', latent_dim)
  return jax.lax.stop_gradient(spikes(run('prior', normal_BD), uniform_BTD))


def replay(run: Pass, z_BTD: jax.Array, x_BTD: jax.Array | None = None) -> None:
  """Runs the prior, on any numbers: its operations are the same. A posterior needs no network."""
  if x_BTD is None:
    run('prior', jnp.zeros_like(z_BTD[:, 0]))

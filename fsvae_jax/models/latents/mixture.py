"""The Bernoulli latent with a prior whose first steps come of a mixture.

At its first step the prior has seen nothing: its D spikes are independent, while those of the
posterior know one image. Here the first two steps are one of C patterns with noise,

  c ~ share,   z[t, d] ~ Bernoulli(rate[c, t, d]),   t = 0, 1,

and the prior's network goes on from there. Patterns are of the posterior's spikes for all training
images, fitted by expectation maximisation when training ends; until then the network begins.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import batch_split
from fsvae_jax.compute.recurrence import at
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.models.passes import Pass
from fsvae_jax.spiking import neurons

STEPS = 2
ITERATIONS = 30
LEAST, MOST = 0.005, 0.995  # rates: what was never seen may happen


def make(config: Any, neuron: neurons.LIF) -> Latent:
  """`bernoulli.make`, with the network 'patterns' and its fit; it takes no classes."""
  if config.classes:
    raise checks.ArgumentError(
      f"model.latent 'mixture' has patterns in place of classes, but model.classes is "
      f'{config.classes}: leave it at 0'
    )
  latent = bernoulli.make(config, neuron)
  steps = min(STEPS, config.timesteps)
  patterns = Patterns(config.components, steps, config.latent_dim)
  return latent._replace(
    networks={**latent.networks, 'patterns': patterns},
    shapes={**latent.shapes, 'patterns': (1, 1 + steps * config.latent_dim)},
    draw=functools.partial(draw, config),
    sample=sample,
    fit=functools.partial(fit, config.components),
  )


class Patterns(nn.Module):
  """Uniform numbers [B, 1 + T * D] to spikes [B, T, D], and whether the patterns are fitted.

  The first number chooses the pattern, the others its spikes.
  """

  components: int
  steps: int
  latent_dim: int

  @nn.compact
  def __call__(self, uniform_BU, train=False):
    del train  # nothing is normalised
    shape = self.components, self.steps * self.latent_dim
    share_C = self.variable('batch_stats', 'share', jnp.zeros, shape[:1], jnp.float32).value
    rate_CF = self.variable('batch_stats', 'rate', jnp.zeros, shape, jnp.float32).value
    upto_C = jnp.cumsum(share_C)
    fitted = upto_C[-1] > 0
    below_BC = uniform_BU[:, :1] * upto_C[-1] < upto_C[None]
    chosen_BC = below_BC & ~jnp.pad(below_BC, ((0, 0), (1, 0)))[:, :-1]
    rate_BF = jnp.dot(chosen_BC.astype(rate_CF.dtype), rate_CF, precision='highest')
    spikes_BF = (uniform_BU[:, 1:] < rate_BF).astype(uniform_BU.dtype)
    return spikes_BF.reshape(-1, self.steps, self.latent_dim), fitted


def draw(config: Any, key: jax.Array, count: int, train: bool = False) -> dict[str, jax.Array]:
  """Those of the Bernoulli latent, and 'uniform' [count, 1 + T * D] of a sample's first steps."""
  draws = bernoulli.draw(config, key, count, train)
  shape = count, 1 + min(STEPS, config.timesteps) * config.latent_dim
  uniform_key = jax.random.fold_in(key, 1)
  split = batch_split(count)
  uniform_BU = jax.random.uniform(uniform_key, shape, jnp.float32, out_sharding=split)
  return {**draws, 'uniform': uniform_BU}


def sample(run: Pass, draws: bernoulli.Draws) -> jax.Array:
  """z [B, T, D]: a pattern's first steps, then the prior's."""
  first_BTD, fitted = run('patterns', draws['uniform'])
  steps = first_BTD.shape[1]

  def begin_with(t, z_BD):
    pattern_BD = at(first_BTD, jnp.minimum(t, steps - 1)).astype(z_BD.dtype)
    return jnp.where(fitted & (t < steps), pattern_BD, z_BD)

  return bernoulli.sample(run.step('prior'), draws['picks'], begin_with=begin_with)


def fit(components: int, z_NTD: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
  """The patterns of N latents, as {'patterns': running statistics}.

  A pattern's rates lean on those of all latents as much as on one latent of its own. Fewer latents
  than patterns leave some without a share.
  """
  count, unused = len(z_NTD), max(0, components - len(z_NTD))
  components -= unused
  x_NF = np.ascontiguousarray(z_NTD[:, :STEPS], np.float32).reshape(count, -1)
  mean_F = x_NF.mean(0)
  rows = np.random.default_rng(0).choice(count, components, replace=False)
  share_C = np.full(components, 1 / components, np.float32)
  rate_CF = np.clip((x_NF[rows] + mean_F) / 2, LEAST, MOST)
  for _ in range(ITERATIONS):
    bias_C = np.log(share_C) + np.log(1 - rate_CF).sum(1)
    log_NC = x_NF @ (np.log(rate_CF) - np.log(1 - rate_CF)).T + bias_C
    weight_NC = np.exp(log_NC - log_NC.max(1, keepdims=True))
    weight_NC /= weight_NC.sum(1, keepdims=True)
    count_C = weight_NC.sum(0) + 1
    share_C = count_C / count_C.sum()
    rate_CF = np.clip((weight_NC.T @ x_NF + mean_F) / count_C[:, None], LEAST, MOST)
  share_C, rate_CF = np.pad(share_C, (0, unused)), np.pad(rate_CF, ((0, unused), (0, 0)))
  return {'patterns': {'share': share_C.astype(np.float32), 'rate': rate_CF.astype(np.float32)}}

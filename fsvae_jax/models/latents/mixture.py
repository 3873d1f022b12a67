"""The Bernoulli latent with a prior whose first steps come of a mixture.

At its first step the prior has seen nothing: its D spikes are independent, while those of the
posterior know one image. Here the first three quarters of the steps are one of C patterns,

  c ~ share,   noise ~ N(0, mixing mixing^T),   z[t, d] = 1 if Phi(noise[d]) < rate[c, t, d] else 0,

and the prior's network makes the others. A neuron's noise is the same at all of these steps, and
neurons' noises are correlated: what sets an image apart from its pattern does so from step to step,
and in many neurons together. Phi is the normal distribution's, so that rates stay what they are.

Patterns are of the posterior's spikes for all training images, fitted by expectation maximisation
when training ends (as if spikes were independent, given the pattern); until then the network
begins. Of a model with classes, share is p(c | label) for a sample with a label; rates and noise
are the same for all.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fsvae_jax.compute import checks, layout
from fsvae_jax.compute.recurrence import at
from fsvae_jax.models.inputs import drawn
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.models.passes import Pass
from fsvae_jax.spiking import neurons

ITERATIONS = 30
LEAST, MOST = 0.005, 0.995  # rates: what was never seen may happen
CORRELATED = 0.5  # share of the correlation in what patterns leave over that noises have
TAIL = 1e-6  # of the normal distribution, beyond which no noise is drawn


def make(config: Any, neuron: neurons.LIF) -> Latent:
  """`bernoulli.make`, with the network 'patterns' and its fit."""
  latent = bernoulli.make(config, neuron)
  steps = max(1, 3 * config.timesteps // 4)
  patterns = Patterns(config.components, steps, config.latent_dim, config.classes)

  def fit_first(z_NTD, label_N=None):
    return fit(config.components, config.classes, z_NTD[:, :steps], label_N)

  return latent._replace(
    networks={**latent.networks, 'patterns': patterns},
    shapes={**latent.shapes, 'patterns': (1, 1 + config.latent_dim)},
    draw=functools.partial(draw, config),
    sample=sample,
    fit=fit_first,
  )


class Patterns(nn.Module):
  """Uniform numbers [B, 1 + D], beside them lines [B, N] of labels if there are classes, to spikes
  [B, steps, D], those with which a sample begins, and whether the patterns are fitted.

  The first number chooses the pattern, the others become the neurons' noise.
  """

  components: int
  steps: int
  latent_dim: int
  classes: int = 0

  @nn.compact
  def __call__(self, uniform_BU, train=False):
    del train  # nothing is normalised
    chance_B1, uniform_BD, label_BN = jnp.split(uniform_BU, (1, 1 + self.latent_dim), axis=1)
    share_C = self._kept('share', self.components)
    rate_CF = self._kept('rate', self.components, self.steps * self.latent_dim)
    share_BC = share_C[None]
    if self.classes:
      share_NC = self._kept('share_of_class', self.classes, self.components)
      unlabelled_B1 = 1 - jnp.sum(label_BN, axis=1, keepdims=True)
      share_BC = _dot(label_BN, share_NC) + unlabelled_B1 * share_BC
    upto_BC = jnp.cumsum(share_BC, axis=1)
    below_BC = chance_B1 * upto_BC[:, -1:] < upto_BC
    chosen_BC = below_BC & ~jnp.pad(below_BC, ((0, 0), (1, 0)))[:, :-1]
    rate_BF = _dot(chosen_BC.astype(rate_CF.dtype), rate_CF)
    rate_BTD = layout.reshape(rate_BF, len(rate_BF), self.steps, self.latent_dim)
    mixing_DD = self._kept('mixing', self.latent_dim, self.latent_dim)
    noise_BD = _dot(quantile(jnp.clip(uniform_BD, TAIL, 1 - TAIL)), mixing_DD.T)
    spikes_BTD = noise_BD[:, None] < quantile(rate_BTD)
    return spikes_BTD.astype(uniform_BU.dtype), jnp.any(share_C > 0)

  def _kept(self, name, *shape):
    return self.variable('batch_stats', name, jnp.zeros, shape, jnp.float32).value


def quantile(probability: jax.Array) -> jax.Array:
  """Phi^-1 of the normal distribution; infinite at 0 and 1."""
  return 2**0.5 * jax.lax.erf_inv(2 * probability - 1)


_dot = functools.partial(jnp.dot, precision='highest')


def draw(config: Any, key: jax.Array, count: int, train: bool = False) -> dict[str, jax.Array]:
  """Those of the Bernoulli latent, and 'uniform' [count, 1 + D] of a sample's first steps."""
  draws = bernoulli.draw(config, key, count, train)
  # Picks come of this key's low bits, too, uniform numbers of the 23 high ones: independent, as
  # long as K has no factor 1024.
  shape, uniform_key = (count, 1 + config.latent_dim), jax.random.fold_in(key, 1)
  split = layout.batch_split(count)
  uniform_BU = jax.random.uniform(uniform_key, shape, jnp.float32, out_sharding=split)
  return {**draws, 'uniform': uniform_BU}


def sample(run: Pass, draws: bernoulli.Draws) -> jax.Array:
  """z [B, T, D]: a pattern's steps, then the prior's; ValueError names draws of another latent."""
  batch, _, latent_dim = checks.integers('picks', drawn(draws, 'picks'), 'B', 'T', 'D').shape
  uniform_BU = checks.floats('uniform', drawn(draws, 'uniform'), batch, 1 + latent_dim)
  first_BTD, fitted = run('patterns', uniform_BU)
  steps = first_BTD.shape[1]

  def begin_with(t, z_BD):
    pattern_BD = at(first_BTD, jnp.minimum(t, steps - 1)).astype(z_BD.dtype)
    return jnp.where(fitted & (t < steps), pattern_BD, z_BD)

  return bernoulli.sample(run.step('prior'), drawn(draws, 'picks'), begin_with=begin_with)


def fit(
  components: int, classes: int, z_NTD: np.ndarray, label_N: np.ndarray | None = None
) -> dict[str, dict[str, np.ndarray]]:
  """The patterns of N latents, as {'patterns': running statistics}.

  A pattern's rates lean on those of all latents as much as on one latent of its own. Of fewer
  latents than patterns, some patterns are alike. Noises are half as correlated as what patterns do
  not explain of the spikes: fully correlated, samples are more varied, but more of them look like
  no image.

  Args:
    components: C, how many patterns.
    classes: of the labels; 0 for a model without.
    z_NTD: the latents' steps of which patterns are made.
    label_N: their classes, if there are any. A class without a latent has all latents' shares.
  """
  count = len(z_NTD)
  x_NF = np.asarray(z_NTD, np.float32).reshape(count, -1)
  mean_F = x_NF.mean(0)
  rows = np.random.default_rng(0).choice(count, components, replace=count < components)
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
  left_NTD = (x_NF - weight_NC @ rate_CF).reshape(z_NTD.shape)
  found: dict[str, np.ndarray] = {'share': share_C, 'rate': rate_CF, 'mixing': mixing(left_NTD)}
  if classes:
    of_class = [weight_NC[np.asarray(label_N) == n] for n in range(classes)]
    found['share_of_class'] = np.stack([w.mean(0) if len(w) else share_C for w in of_class])
  return {'patterns': {name: x.astype(np.float32) for name, x in found.items()}}


def mixing(left_NTD: np.ndarray) -> np.ndarray:
  """[D, D]: makes of independent noise that of neurons, of unit variance. left_NTD is what patterns
  leave of N latents' spikes."""
  left_ND = left_NTD.sum(1)
  covariance_DD = left_ND.T @ left_ND
  spread_D = np.sqrt(np.diag(covariance_DD)) + 1e-6  # of a neuron that is always as its pattern, 0
  correlation_DD = CORRELATED * covariance_DD / spread_D / spread_D[:, None]
  np.fill_diagonal(correlation_DD, 1)
  return np.linalg.cholesky(correlation_DD)

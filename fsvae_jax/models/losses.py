"""Loss terms: reconstruction error, and the distance between posterior and prior."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks, layout
from fsvae_jax.compute.layout import wide
from fsvae_jax.spiking import filters


def mean_squared_error(reconstruction_BHWC: jax.Array, image_BHWC: jax.Array) -> jax.Array:
  """Mean over all pixels of the squared error of images in [-1, 1]; ValueError if shapes differ.

  Examples:
    >>> mean_squared_error(jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))).item()
    1.0
  """
  image_BHWC = checks.floats('image_BHWC', image_BHWC)
  reconstruction_BHWC = checks.floats('reconstruction_BHWC', reconstruction_BHWC, *image_BHWC.shape)
  return jnp.mean(jnp.square(reconstruction_BHWC - image_BHWC))


def optimal_variance(error: jax.Array, pixels: int) -> jax.Array:
  """Negative log likelihood of an image of `pixels` numbers, in nats up to a constant, by Gaussians
  that share the most likely variance, the batch's mean squared error (arXiv 2006.13202).

      pixels / 2 * log(error)

  Its gradient is the error's times pixels / (2 error): a distance weighs the less, the smaller the
  error has become. An error below 1e-8 counts as that. Micro-batches take each the log of their
  own error.

  Examples:
    >>> jax.grad(optimal_variance)(0.5, pixels=4).item()
    4.0
  """
  return pixels / 2 * jnp.log(jnp.maximum(error, 1e-8))


def draw_rate(q_BTDK: jax.Array) -> jax.Array:
  """mean_k q [B, T, D]: the probability that a picked spike is one.

  Examples:
    >>> draw_rate(jnp.array([[[[0.0, 1.0, 1.0, 1.0]]]])).tolist()
    [[[0.75]]]
  """
  return jnp.mean(wide(q_BTDK), -1)


def mmd(q_BTDK: jax.Array, p_BTDK: jax.Array) -> jax.Array:
  """Maximum mean discrepancy with the PSP kernel (arXiv 2110.00375, section 4.4).

      mean over B, T, D of (PSP(mean_k q) - PSP(mean_k p))^2

  The paper sums over T; its code, which made the published numbers, takes the mean.

  Raises:
    ValueError: for arrays that are not of floats, or of different shapes.

  Examples:
    >>> q_BTDK = jnp.ones((1, 2, 1, 4))
    >>> mmd(q_BTDK, q_BTDK).item(), mmd(q_BTDK, 0 * q_BTDK).item()
    (0.0, 0.40625)
  """
  q_BTDK, p_BTDK = _checked(q_BTDK, p_BTDK)
  return jnp.mean(jnp.square(filters.psp(draw_rate(q_BTDK) - draw_rate(p_BTDK))))


def kld(q_BTDK: jax.Array, p_BTDK: jax.Array, epsilon: float = 1e-2) -> jax.Array:
  """Kullback-Leibler divergence of the Bernoulli latents, smoothed.

  sum over T and D, mean over B, of
  a log((a + e) / (b + e)) + (1 - a) log((1 - a + e) / (1 - b + e)),
  a = mean_k q, b = mean_k p

  Raises:
    ValueError: for arrays that are not of floats, or of different shapes.

  Examples:
    >>> q_BTDK = jnp.ones((1, 2, 1, 4))
    >>> kld(q_BTDK, q_BTDK).item()
    0.0
  """
  q_BTDK, p_BTDK = _checked(q_BTDK, p_BTDK)
  a, b = draw_rate(q_BTDK), draw_rate(p_BTDK)
  on = a * jnp.log((a + epsilon) / (b + epsilon))
  off = (1 - a) * jnp.log((1 - a + epsilon) / (1 - b + epsilon))
  return jnp.mean(jnp.sum(on + off, axis=(1, 2)))


def rbf_mmd(q_BD: jax.Array, p_BD: jax.Array) -> jax.Array:
  """Maximum mean discrepancy of two batches of rates: five Gaussian kernels (arXiv 2310.14839).

      mean k(q, q) + mean k(p, p) - 2 mean k(q, p),    k(a, b) = sum_i exp(-|a - b|^2 / (s 2^(i-2)))

  s, the mean squared distance of all pairs of the 2B rates, has no gradient. It is of the batch as
  a whole: micro-batches see their own pairs only.

  Raises:
    ValueError: for arrays that are not of floats, or of different shapes.

  Examples:
    >>> rates_BD = jnp.array([[0.1, 0.9], [0.4, 0.2]])
    >>> rbf_mmd(rates_BD, rates_BD).item()
    0.0
  """
  q_BD = checks.floats('q_BD', q_BD, 'B', 'D')
  p_BD = checks.floats('p_BD', p_BD, *q_BD.shape)
  both_ND = layout.whole(jnp.concatenate((q_BD, p_BD)))  # every pair meets
  squared_NN = jnp.sum(jnp.square(both_ND[:, None] - both_ND[None]), -1)
  count, batch = len(both_ND), len(q_BD)
  scale = jax.lax.stop_gradient(jnp.sum(squared_NN)) / (count * (count - 1))
  scale = jnp.where(scale > 0, scale, 1.0)  # all rates equal: every kernel is one
  widths_5 = scale * jnp.exp2(jnp.arange(-2.0, 3.0, dtype=scale.dtype))
  kernel_NN = jnp.sum(jnp.exp(-squared_NN[..., None] / widths_5[None, None]), axis=-1)
  within = jnp.mean(kernel_NN[:batch, :batch]) + jnp.mean(kernel_NN[batch:, batch:])
  return within - 2 * jnp.mean(kernel_NN[:batch, batch:])


def chosen(config: Any, distances: Mapping[str, tuple[Callable, float]]) -> tuple[Callable, float]:
  """The distance of `config.distance` and its weight: that of `config.distance_weight`, or, if it
  is negative, the published one.

  Raises:
    ValueError: for a name that is not in the table.
  """
  known = f'model.distance of the latent {config.latent!r}'
  distance, published = distances[checks.one_of(known, config.distance, distances)]
  return distance, published if config.distance_weight < 0 else config.distance_weight


def _checked(q_BTDK, p_BTDK):
  q_BTDK = checks.floats('q_BTDK', q_BTDK, 'B', 'T', 'D', 'K')
  return q_BTDK, checks.floats('p_BTDK', p_BTDK, *q_BTDK.shape)


# What the error adds to the loss, by the variance of the decoder's Gaussian.
RECONSTRUCTIONS: dict[str, Callable] = {
  'fixed': lambda error, pixels: error,
  'error': optimal_variance,
}
# Each with the weight that the published runs gave it: of spikes q and p, and of rates.
DISTANCES: dict[str, tuple[Callable, float]] = {'mmd': (mmd, 1.0), 'kld': (kld, 1e-4)}
RATE_DISTANCES: dict[str, tuple[Callable, float]] = {'mmd': (rbf_mmd, 1e-3)}

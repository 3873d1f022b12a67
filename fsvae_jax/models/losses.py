"""Loss terms: reconstruction error, and the distance between posterior and prior."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import wide
from fsvae_jax.spiking import filters


def mean_squared_error(reconstruction_BHWC: jax.Array, image_BHWC: jax.Array) -> jax.Array:
  """Mean over all pixels of the squared error of images in [-1, 1]; ValueError if shapes differ."""
  image_BHWC = checks.floats('image_BHWC', image_BHWC)
  reconstruction_BHWC = checks.floats('reconstruction_BHWC', reconstruction_BHWC, *image_BHWC.shape)
  return jnp.mean(jnp.square(reconstruction_BHWC - image_BHWC))


def draw_rate(q_BTDK: jax.Array) -> jax.Array:
  """mean_k q [B, T, D]: the probability that a picked spike is one."""
  return jnp.mean(wide(q_BTDK), -1)


def mmd(q_BTDK: jax.Array, p_BTDK: jax.Array) -> jax.Array:
  """Maximum mean discrepancy with the PSP kernel (arXiv 2110.00375, section 4.4).

      mean over B, T, D of (PSP(mean_k q) - PSP(mean_k p))^2

  The paper sums over T; its code, which made the published numbers, takes the mean.

  Raises:
    ValueError: for arrays that are not of floats, or of different shapes.
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
  """
  q_BTDK, p_BTDK = _checked(q_BTDK, p_BTDK)
  a, b = draw_rate(q_BTDK), draw_rate(p_BTDK)
  on = a * jnp.log((a + epsilon) / (b + epsilon))
  off = (1 - a) * jnp.log((1 - a + epsilon) / (1 - b + epsilon))
  return jnp.mean(jnp.sum(on + off, axis=(1, 2)))


def _checked(q_BTDK, p_BTDK):
  q_BTDK = checks.floats('q_BTDK', q_BTDK, 'B', 'T', 'D', 'K')
  return q_BTDK, checks.floats('p_BTDK', p_BTDK, *q_BTDK.shape)


# Each with the weight that the published runs gave it.
DISTANCES: dict[str, tuple[Callable, float]] = {'mmd': (mmd, 1.0), 'kld': (kld, 1e-4)}

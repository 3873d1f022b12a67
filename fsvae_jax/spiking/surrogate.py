"""Surrogate derivatives: what the backward pass puts in the place of the derivative of a spike.

A spike is `o = 1 if u > v_th else 0`. Each function here takes the membrane potential `u` (any
shape) and the threshold `v_th`, both in units of the potential, and returns `do/du` of `u`'s shape.
"""

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks


def reference_rectangle(u: jax.Array, v_th: float) -> jax.Array:
  """1 where |u| < 1/2, else 0: centred on zero, as in the published code of arXiv 2110.00375.

  Examples:
    >>> reference_rectangle(jnp.array([-0.6, 0.0, 0.4]), 0.2).tolist()
    [0.0, 1.0, 1.0]
  """
  u = checks.floats('u', u)
  del v_th
  return (jnp.abs(u) < 0.5).astype(u.dtype)


def paper_rectangle(u: jax.Array, v_th: float, width: float = 0.2) -> jax.Array:
  """1/a where |u - v_th| < a/2, else 0, with a = 0.2 (arXiv 2110.00375, equation 7).

  Examples:
    >>> paper_rectangle(jnp.array([0.0, 0.25]), 0.2).tolist()
    [0.0, 5.0]
  """
  u = checks.floats('u', u)
  return (jnp.abs(u - v_th) < width / 2).astype(u.dtype) / width


def triangle(u: jax.Array, v_th: float) -> jax.Array:
  """max(0, 1 - |u - v_th|) (Esser et al. 2016, arXiv 1603.08270).

  Examples:
    >>> triangle(jnp.array([0.5, 1.0, 2.5]), 1.0).tolist()
    [0.5, 1.0, 0.0]
  """
  u = checks.floats('u', u)
  return jnp.maximum(0.0, 1.0 - jnp.abs(u - v_th))


def arctan(u: jax.Array, v_th: float, alpha: float = 2.0) -> jax.Array:
  """Derivative of arctan(pi/2 alpha (u - v_th)) / pi (Fang et al. 2021, arXiv 2007.05785).

  Examples:
    >>> arctan(jnp.array([1.0]), 1.0).tolist()
    [1.0]
  """
  u = checks.floats('u', u)
  return alpha / 2 / (1 + (jnp.pi / 2 * alpha * (u - v_th)) ** 2)


def sigmoid(u: jax.Array, v_th: float, alpha: float = 4.0) -> jax.Array:
  """Derivative of sigmoid(alpha (u - v_th)) (Neftci et al. 2019, arXiv 1901.09948).

  Examples:
    >>> sigmoid(jnp.array([1.0]), 1.0).tolist()
    [1.0]
  """
  u = checks.floats('u', u)
  s = jax.nn.sigmoid(alpha * (u - v_th))
  return alpha * s * (1 - s)


def fast_sigmoid(u: jax.Array, v_th: float, beta: float = 10.0) -> jax.Array:
  """1 / (1 + beta |u - v_th|)^2 (Zenke and Ganguli 2018, arXiv 1705.11146).

  Examples:
    >>> print(fast_sigmoid(jnp.array([0.5, 0.6, 1.5]), 0.5).round(3))
    [1.    0.25  0.008]
  """
  u = checks.floats('u', u)
  return 1 / (1 + beta * jnp.abs(u - v_th)) ** 2


SURROGATES = {
  f.__name__: f
  for f in (reference_rectangle, paper_rectangle, triangle, arctan, sigmoid, fast_sigmoid)
}

"""Surrogate derivatives: what the backward pass puts in the place of the derivative of a spike.

A spike is `o = 1 if u > v_th else 0`. Each function here takes the membrane potential `u` (any
shape) and the threshold `v_th`, both in units of the potential, and returns `do/du` of `u`'s shape.
"""

import jax
import jax.numpy as jnp


def reference_rectangle(u, v_th):
  """1 where |u| < 1/2, else 0: centred on zero, as in the published code of arXiv 2110.00375."""
  del v_th
  return (jnp.abs(u) < 0.5).astype(u.dtype)


def paper_rectangle(u, v_th, width=0.2):
  """1/a where |u - v_th| < a/2, else 0, with a = 0.2 (arXiv 2110.00375, equation 7)."""
  return (jnp.abs(u - v_th) < width / 2).astype(u.dtype) / width


def triangle(u, v_th):
  """max(0, 1 - |u - v_th|) (Esser et al. 2016, arXiv 1603.08270)."""
  return jnp.maximum(0.0, 1.0 - jnp.abs(u - v_th))


def arctan(u, v_th, alpha=2.0):
  """Derivative of arctan(pi/2 alpha (u - v_th)) / pi (Fang et al. 2021, arXiv 2007.05785)."""
  return alpha / 2 / (1 + (jnp.pi / 2 * alpha * (u - v_th)) ** 2)


def sigmoid(u, v_th, alpha=4.0):
  """Derivative of sigmoid(alpha (u - v_th)) (Neftci et al. 2019, arXiv 1901.09948)."""
  s = jax.nn.sigmoid(alpha * (u - v_th))
  return alpha * s * (1 - s)


def fast_sigmoid(u, v_th, beta=10.0):
  """1 / (1 + beta |u - v_th|)^2 (Zenke and Ganguli 2018, arXiv 1705.11146)."""
  return 1 / (1 + beta * jnp.abs(u - v_th)) ** 2


SURROGATES = {
  f.__name__: f
  for f in (reference_rectangle, paper_rectangle, triangle, arctan, sigmoid, fast_sigmoid)
}

"""The matrix product under every synapse, with a backward pass that XLA's CPU backend runs fast.

The gradient is hand-written for reverse mode; JAX refuses forward mode (jvp) with a TypeError.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from fsvae_jax.compute import checks, platform
from fsvae_jax.compute.layout import reshape, split_like, transposed, vary_alike

# By default, accelerators round the inputs of float32 products, to bfloat16 or TF32.
EXACT = lax.Precision.HIGHEST


def matmul(x: jax.Array, kernel_IO: jax.Array) -> jax.Array:
  """x [..., I] @ kernel [I, O] -> [..., O].

  Raises:
    ValueError: for arrays that are not of floats, or whose shapes do not fit; names them.
  """
  kernel_IO = checks.floats('kernel_IO', kernel_IO, 'I', 'O')
  x, kernel_IO = checks.promoted(checks.floats('x', x, ..., kernel_IO.shape[0]), kernel_IO)
  x, kernel_IO = vary_alike((x, kernel_IO))
  return reshape(_matmul(_rows(x), kernel_IO), *x.shape[:-1], kernel_IO.shape[-1])


def _rows(x):
  """[..., F] -> [N, F]."""
  return reshape(x, math.prod(x.shape[:-1]), x.shape[-1])


@jax.custom_vjp
def _matmul(x_NI, kernel_IO):
  return _product(x_NI, kernel_IO, (1, 0))


def _product(x, y, contracted, out_sharding=None):
  """Sum over the axes `contracted`, one of x and one of y, in their type.

  XLA's fast products of bfloat16 on CPUs take rows of x and have float32 results; it emulates all
  others.
  """

  def product(x, y, contracted=contracted, dtype=None):
    dims = (((contracted[0],), (contracted[1],)), ((), ()))
    return lax.dot_general(
      x, y, dims, precision=EXACT, preferred_element_type=dtype, out_sharding=out_sharding
    )

  def fast(x, y):
    rows = x if contracted[0] else transposed(x)
    return product(rows, y, (1, contracted[1]), jnp.float32).astype(x.dtype)

  if x.dtype != jnp.bfloat16:
    return product(x, y)
  return platform.choose(x, y, cpu=fast, default=product)


def _forward(x_NI, kernel_IO):
  return _matmul(x_NI, kernel_IO), (x_NI, kernel_IO)


def _backward(residuals, dy_NO):
  x_NI, kernel_IO = residuals
  # Without the barrier, XLA fuses dy's producer into a strided copy for each product.
  dy_NO = lax.optimization_barrier(dy_NO)
  return _product(dy_NO, kernel_IO, (1, 1)), kernel_gradient(x_NI, dy_NO)


def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
  """x^T dy [I, O] of x [..., I] and dy [..., O]: what `matmul(x, kernel)` gives its kernel."""
  x_NI, dy_NO = _rows(x), _rows(dy)
  more_outputs = dy_NO.shape[1] >= x_NI.shape[1]
  left, right = (x_NI, dy_NO) if more_outputs else (dy_NO, x_NI)  # x^T dy is slow for few outputs
  whole = split_like(dy_NO, axes=0)  # the sum over N ends on every device
  d_kernel = _product(left, right, (0, 0), whole)
  # Without the barrier, XLA fuses the transpose into every pass of the optimizer.
  d_kernel = lax.optimization_barrier(d_kernel)
  return d_kernel if more_outputs else d_kernel.T


_matmul.defvjp(_forward, _backward)

"""The matrix product under every synapse, with a backward pass that XLA's CPU backend runs fast."""

import math

import jax
from jax import lax

from fsvae_jax.spiking.layout import reshape, split_like


def matmul(x, kernel_IO):
  """x [..., I] @ kernel [I, O] -> [..., O]."""
  x_NI = reshape(x, math.prod(x.shape[:-1]), x.shape[-1])
  return reshape(_matmul(x_NI, kernel_IO), *x.shape[:-1], kernel_IO.shape[-1])


@jax.custom_vjp
def _matmul(x_NI, kernel_IO):
  return x_NI @ kernel_IO


def _forward(x_NI, kernel_IO):
  return x_NI @ kernel_IO, (x_NI, kernel_IO)


def _backward(residuals, dy_NO):
  # The barriers keep XLA from fusing dy's producer into one transposed, strided copy per product,
  # and from turning dy^T x into x^T dy, which is twice as slow where O < I.
  x_NI, kernel_IO = residuals
  dy_NO = lax.optimization_barrier(dy_NO)
  whole = split_like(kernel_IO, axes=0)  # the sum over N ends on every device
  d_kernel_OI = lax.dot_general(dy_NO, x_NI, (((0,), (0,)), ((), ())), out_sharding=whole)
  return dy_NO @ kernel_IO.T, lax.optimization_barrier(d_kernel_OI).T


_matmul.defvjp(_forward, _backward)

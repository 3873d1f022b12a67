"""A function of a batch, computed a few examples at a time, as a CPU's caches want it.

What is in between (spikes, patches, membranes) is not stored for the whole batch: the backward pass
computes it anew, chunk by chunk. Accelerators take the batch at once.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from fsvae_jax.compute import checks, platform
from fsvae_jax.compute.layout import join_parts, shards, take_part, vary_alike

CACHE_BYTES = 2**21  # of the larger of a chunk's argument and result


def in_chunks(function: Callable, shared, x_B: jax.Array, size: int | None = None) -> jax.Array:
  """`function(shared, x_B)`, for a few examples of the batch at a time.

  Args:
    function: pure; its result [B, ...] treats every example by itself.
    shared: pytree of float arrays that all examples use: parameters.
    x_B: float array [B, ...].
    size: examples in a chunk, taken down to a divisor of each device's share of the batch (a prime
      share goes one by one, slowly); by default, as many as keep argument and result in cache.

  Returns:
    array [B, ...].

  Raises:
    ValueError: for an x that is not of floats, or a size below one.
  """
  x_B = checks.floats('x_B', x_B, 'B', ...)
  if size is None:
    size = fitting(x_B.shape, jax.eval_shape(function, shared, x_B).shape)
  return _in_chunks(function, checks.count('size', size, 1), *vary_alike((shared, x_B)))


def fitting(*shapes_B: tuple[int, ...]) -> int:
  """How many examples to take at a time, so that float32 arrays of these shapes stay in cache."""
  return max(1, CACHE_BYTES // max(1, *(4 * math.prod(shape[1:]) for shape in shapes_B)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_chunks(function, size, shared, x_B):
  loop = functools.partial(_forward_loop, function, size)
  return platform.choose(shared, x_B, cpu=loop, default=function)


def _count(size, x_B):
  """Number of chunks: the smallest that divides a device's examples into at most `size` each."""
  own = max(1, x_B.shape[0] // shards(x_B))
  return next(n for n in range(1, own + 1) if own % n == 0 and own // n <= size)


def _forward_loop(function, size, shared, x_B):
  count = _count(size, x_B)
  if count == 1:
    return function(shared, x_B)
  y_NB = lax.map(lambda i: function(shared, take_part(x_B, i, count)), jnp.arange(count))
  return join_parts(y_NB)


def _pull(function, shared, x_B, dy_B):
  return jax.vjp(function, shared, x_B)[1](dy_B)


def _backward_loop(function, size, shared, x_B, dy_B):
  count = _count(size, x_B)
  if count == 1:
    return _pull(function, shared, x_B, dy_B)

  def loop(shared, x_B, dy_B):
    def chunk(d_shared, i):
      own = take_part(x_B, i, count), take_part(dy_B, i, count)
      d_own, dx_B = _pull(function, shared, *own)
      return jax.tree.map(jnp.add, d_shared, d_own), dx_B

    d_shared, dx_NB = lax.scan(chunk, jax.tree.map(jnp.zeros_like, shared), jnp.arange(count))
    return d_shared, join_parts(dx_NB)

  if shards(x_B) == 1:
    return loop(shared, x_B, dy_B)
  (axis,) = jax.typeof(x_B).sharding.spec[:1]

  @jax.shard_map(in_specs=(P(), P(axis), P(axis)), out_specs=(P(), P(axis)), check_vma=False)
  def own(*arrays):  # each device's rows by themselves: one all-reduce, instead of one a chunk
    d_shared, dx_B = loop(*arrays)
    return lax.psum(d_shared, axis), dx_B

  return own(shared, x_B, dy_B)


def _forward(function, size, shared, x_B):
  return _in_chunks(function, size, shared, x_B), (shared, x_B)


def _backward(function, size, inputs, dy_B):
  loop = functools.partial(_backward_loop, function, size)
  return platform.choose(*inputs, dy_B, cpu=loop, default=functools.partial(_pull, function))


_in_chunks.defvjp(_forward, _backward)

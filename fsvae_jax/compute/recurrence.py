"""Recurrence over time, which is axis 1 of every array."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fsvae_jax.compute import checks, platform


def scan(
  step: Callable, timesteps: int, carry, kept_BTF: jax.Array | None = None, reverse: bool = False
):
  """`carry, kept[:, t] = step(t, carry, kept[:, t])` for every t.

  On CPU a `lax.scan` over t with `kept` in its carry, which it writes in place: stacked outputs
  would lie time first, and be transposed. Elsewhere every pass of a loop would be kernels of their
  own, each reading and writing all of the carry; unrolled, XLA joins what lies between two synapses
  into few kernels. `lax.scan(unroll=T)` of the same step makes more kernels of it (928 and 808 of a
  training step for an H200), and XLA takes four times as long to compile them.

  Args:
    step: pure function of t (an integer array), of a pytree, and of an array [B, ...] or None.
    timesteps: T.
    carry: pytree of arrays.
    kept_BTF: array [B, T, ...] whose steps are replaced, its type kept; or None.
    reverse: from T - 1 to 0.

  Returns:
    carry and kept, after the last step.

  Raises:
    ValueError: for a number of timesteps below one, or one that is not kept's.
  """
  timesteps = checks.count('timesteps', timesteps, 1)
  if kept_BTF is not None and kept_BTF.shape[1:2] != (timesteps,):
    raise checks.ArgumentError(f'kept_BTF has the shape {kept_BTF.shape}; T is {timesteps}')
  run = lambda way: functools.partial(way, step, timesteps, reverse)
  return platform.choose(carry, kept_BTF, cpu=run(_in_place), default=run(_unrolled))


def _in_place(step, timesteps, reverse, carry, kept_BTF):
  def body(state, t):
    carry, kept_BTF = state
    carry, new_BF = step(t, carry, at(kept_BTF, t))
    if kept_BTF is not None:
      new_BF = new_BF.astype(kept_BTF.dtype)
      kept_BTF = lax.dynamic_update_index_in_dim(kept_BTF, new_BF, t, 1)
    return (carry, kept_BTF), None

  return lax.scan(body, (carry, kept_BTF), jnp.arange(timesteps), reverse=reverse)[0]


def _unrolled(step, timesteps, reverse, carry, kept_BTF):
  once = jax.jit(step)  # traced once
  new = {}
  for t in sorted(range(timesteps), reverse=reverse):
    carry, new[t] = once(t, carry, at(kept_BTF, t))
  if kept_BTF is not None:
    kept_BTF = jnp.stack([new[t] for t in range(timesteps)], 1).astype(kept_BTF.dtype)
  return carry, kept_BTF


def at(x_BTF: Any, t) -> Any:
  """x[:, t], [B, ...]; None of None."""
  return None if x_BTF is None else lax.dynamic_index_in_dim(x_BTF, t, 1, keepdims=False)

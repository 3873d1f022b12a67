"""Rearrangements that keep the first axis split over devices; explicit mesh axes must be told."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


def split_like(x, axes=1):
  """`out_sharding` of an array whose first `axes` axes are split as x's; None without a mesh."""
  sharding = jax.typeof(x).sharding
  return None if sharding.mesh.empty else NamedSharding(sharding.mesh, P(*sharding.spec[:axes]))


def reshape(x, *shape):
  """`x.reshape(shape)`, where only the first axis may be split over devices, before and after."""
  return lax.reshape(x, shape, out_sharding=split_like(x))


def per_channel(v_C, ndim):
  """v [C] as [1, ..., 1, C] of `ndim` axes, to meet an array whose last axis is the channels."""
  return v_C.reshape((1,) * (ndim - 1) + v_C.shape)


def fold_time(x_BTF):
  """[B, T, ...] -> [B * T, ...]."""
  batch, timesteps, *rest = x_BTF.shape
  return reshape(x_BTF, batch * timesteps, *rest)


def interleave(x):
  """Phases [N, H, W, 2, 2, C] to pixels [N, 2H, 2W, C]."""
  n, h, w, _, _, c = x.shape
  return reshape(jnp.moveaxis(x, -3, -4), n, 2 * h, 2 * w, c)


def deinterleave(x):
  """Pixels [N, 2H, 2W, C] to phases [N, H, W, 2, 2, C]."""
  n, h, w, c = x.shape
  return jnp.moveaxis(reshape(x, n, h // 2, 2, w // 2, 2, c), -4, -3)

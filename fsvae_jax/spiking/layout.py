"""Rearrangements that keep the batch split over devices; explicit mesh axes must be told."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


def split_like(x, axes=1, before=()):
  """`out_sharding` of an array whose first `axes` axes are split as x's; None without a mesh.

  Axes that come `before` those are given as they are in a PartitionSpec.
  """
  sharding = jax.typeof(x).sharding
  mesh, spec = sharding.mesh, sharding.spec
  return None if mesh.empty else NamedSharding(mesh, P(*before, *spec[:axes]))


def reshape(x, *shape):
  """`x.reshape(shape)`, where only the first axis may be split over devices, before and after."""
  return lax.reshape(x, shape, out_sharding=split_like(x))


def shards(x):
  """Number of parts in which x's first axis lies on the devices."""
  mesh, spec = jax.typeof(x).sharding.mesh, jax.typeof(x).sharding.spec
  axes = spec[0] if spec and isinstance(spec[0], tuple) else spec[:1]
  return math.prod(mesh.shape[axis] for axis in axes if axis)


def split_batch(x_BF, count):
  """[B, ...] to [count, B / count, ...]: each device's rows in `count` parts, where they are."""
  batch, *rest = x_BF.shape
  parts = reshape(x_BF, shards(x_BF), count, batch // count // shards(x_BF), *rest)
  split = split_like(x_BF, before=(None,))
  return lax.reshape(jnp.moveaxis(parts, 0, 1), (count, batch // count, *rest), out_sharding=split)


def join_batch(x_NBF):
  """Undoes `split_batch`."""
  count, batch, *rest = x_NBF.shape
  devices = shards(x_NBF[0])
  split = split_like(x_NBF, axes=2)
  parts = lax.reshape(x_NBF, (count, devices, batch // devices, *rest), out_sharding=split)
  return reshape(jnp.moveaxis(parts, 1, 0), count * batch, *rest)


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

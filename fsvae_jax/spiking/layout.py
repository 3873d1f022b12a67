"""Rearrangements that keep the batch split over devices; explicit mesh axes must be told."""

import math

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


def shards(x):
  """Number of parts in which x's first axis lies on the devices."""
  mesh, spec = jax.typeof(x).sharding.mesh, jax.typeof(x).sharding.spec
  axes = spec[0] if spec and isinstance(spec[0], tuple) else spec[:1]
  return math.prod(mesh.shape[axis] for axis in axes if axis)


def take_part(x_BF, i, count):
  """Part i of `count` equal ones of each device's rows: [B, ...] to [B / count, ...]."""
  batch, *rest = x_BF.shape
  devices, split = shards(x_BF), split_like(x_BF)
  own = batch // devices
  x = x_BF if devices == 1 else reshape(x_BF, devices, own, *rest)
  part = lax.dynamic_slice_in_dim(x, i * (own // count), own // count, axis=int(devices > 1))
  return lax.reshape(part, (batch // count, *rest), out_sharding=split)


def batch_split():
  """`out_sharding` of an array made anew whose first axis is the batch; None without a mesh."""
  axes = jax.sharding.get_abstract_mesh().axis_names
  return P(axes) if axes else None


def draw_part(draw, key, batch, part):
  """What `draw(key, size)` gives `part` = (i, count) of a batch, part i of `count` equal ones."""
  i, count = part
  return draw(key, batch) if count == 1 else take_part(draw(key, batch * count), i, count)


def join_parts(x_NBF):
  """[count, B / count, ...] of all `take_part` to [B, ...]."""
  count, batch, *rest = x_NBF.shape
  devices, split = shards(x_NBF[0]), split_like(x_NBF[0])
  if devices > 1:
    shape = count, devices, batch // devices, *rest
    parts = lax.reshape(x_NBF, shape, out_sharding=split_like(x_NBF, axes=2))
    x_NBF = jnp.moveaxis(parts, 1, 0)
  return lax.reshape(x_NBF, (count * batch, *rest), out_sharding=split)


def wide(x):
  """x in float32, if it is in bfloat16: for sums, and for what is carried over time."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def per_channel(v_C, x):
  """v [C] as [1, ..., 1, C] to meet x [..., C], or repeated to meet phases [..., 4 C] (conv.py)."""
  v = jnp.tile(v_C, x.shape[-1] // v_C.shape[0])
  return v.reshape((1,) * (x.ndim - 1) + v.shape)


def fold_time(x_BTF):
  """[B, T, ...] -> [B * T, ...]."""
  batch, timesteps, *rest = x_BTF.shape
  return reshape(x_BTF, batch * timesteps, *rest)


def interleave(x):
  """Phases [..., H, W, 4 C] (see conv.py) to pixels [..., 2H, 2W, C]."""
  *n, h, w, c = x.shape
  x = reshape(x, *n, h, w, 2, c // 2)  # the two of a row already lie as in the result
  return reshape(jnp.moveaxis(x, -2, -3), *n, 2 * h, 2 * w, c // 4)

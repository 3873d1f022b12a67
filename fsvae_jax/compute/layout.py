"""Rearrangements that keep the batch split over devices; explicit mesh axes must be told."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from fsvae_jax.compute import checks


def split_like(x: jax.Array, axes: int = 1) -> NamedSharding | None:
  """`out_sharding` of an array whose first axes are split as x's; None without Explicit axes."""
  sharding = jax.typeof(x).sharding
  told = AxisType.Explicit in sharding.mesh.axis_types  # other axes are XLA's to lay out
  return NamedSharding(sharding.mesh, P(*sharding.spec[:axes])) if told else None


def reshape(x: jax.Array, *shape: int) -> jax.Array:
  """`x.reshape(shape)`, where only the first axis may be split over devices, before and after."""
  return lax.reshape(x, shape, out_sharding=split_like(x))


def transposed(x_NF: jax.Array) -> jax.Array:
  """x^T [F, N], laid out as such: XLA folds a bare transpose into the product that takes it."""
  count, features = x_NF.shape
  x_FN1 = jnp.moveaxis(reshape(x_NF, count, 1, features), -1, 0)  # with one axis more, it does not
  split = split_like(x_NF)
  over_columns = split and NamedSharding(split.mesh, P(None, *split.spec))
  return lax.optimization_barrier(lax.reshape(x_FN1, (features, count), out_sharding=over_columns))


def shards(x: jax.Array) -> int:
  """Number of parts in which x's first axis lies on the devices."""
  mesh, spec = jax.typeof(x).sharding.mesh, jax.typeof(x).sharding.spec
  axes = spec[0] if spec and isinstance(spec[0], tuple) else spec[:1]
  return math.prod(mesh.shape[axis] for axis in axes if axis)


def take_part(x_BF: jax.Array, i, count: int) -> jax.Array:
  """Part i of `count` equal ones of each device's rows: [B, ...] to [B / count, ...].

  Raises:
    ValueError: for rows that cannot be taken in so many equal parts.
  """
  batch, *rest = x_BF.shape
  devices, split = shards(x_BF), split_like(x_BF)
  if batch % (checks.count('count', count, 1) * devices):
    raise checks.ArgumentError(
      f'{batch} rows on {devices} device(s) cannot be taken in {count} equal parts'
    )
  own = batch // devices
  x = x_BF if devices == 1 else reshape(x_BF, devices, own, *rest)
  part = lax.dynamic_slice_in_dim(x, i * (own // count), own // count, axis=int(devices > 1))
  return lax.reshape(part, (batch // count, *rest), out_sharding=split)


def batch_split(batch: int) -> P | None:
  """`out_sharding` of an array made anew whose first axis is a batch of that size.

  It is split over the Explicit axes of the mesh in use, if they can share it evenly. None leaves it
  whole, and on a mesh of Auto axes leaves it to XLA.
  """
  mesh = jax.sharding.get_abstract_mesh()
  axes = mesh.explicit_axes
  return P(axes) if axes and batch % math.prod(mesh.shape[axis] for axis in axes) == 0 else None


def lay_like(x: jax.Array, other: jax.Array) -> jax.Array:
  """x with its batch split over the devices as `other`'s is; within shard_map, as varying."""
  x, _ = vary_alike((x, other))
  split = split_like(other)
  return x if split is None or split == split_like(x) else jax.sharding.reshard(x, split)


def vary_alike(arrays):
  """`arrays`, a pytree; within shard_map, all of them varying over the axes that any varies over.

  A gradient written by hand is that of one device's part. What JAX then gives an array that was the
  same on all devices is the sum of theirs.
  """
  axes = frozenset().union(*map(_varying, jax.tree.leaves(arrays)))

  def cast(x):
    lacking = tuple(axes - _varying(x))
    return lax.pcast(x, lacking, to='varying') if lacking else x

  return jax.tree.map(cast, arrays)


def _varying(x):
  within = AxisType.Manual in jax.typeof(x).sharding.mesh.axis_types
  return jax.typeof(x).manual_axis_type.varying if within else frozenset()


def whole(x: jax.Array) -> jax.Array:
  """x on every device, all of it."""
  return x if split_like(x) is None else jax.sharding.reshard(x, P())


def join_parts(x_NBF: jax.Array) -> jax.Array:
  """[count, B / count, ...] of all `take_part` to [B, ...]."""
  count, batch, *rest = x_NBF.shape
  devices, split = shards(x_NBF[0]), split_like(x_NBF[0])
  if devices > 1:
    shape = count, devices, batch // devices, *rest
    parts = lax.reshape(x_NBF, shape, out_sharding=split_like(x_NBF, axes=2))
    x_NBF = jnp.moveaxis(parts, 1, 0)
  return lax.reshape(x_NBF, (count * batch, *rest), out_sharding=split)


def wide(x: jax.Array) -> jax.Array:
  """x in float32, if it is in bfloat16: for sums, and for what is carried over time."""
  return x.astype(wide_type(x))


def wide_type(x) -> jnp.dtype:
  """The type of `wide(x)`."""
  return jnp.promote_types(x.dtype, jnp.float32)


def per_channel(v_C: jax.Array, x: jax.Array) -> jax.Array:
  """v [C] as [1, ..., 1, C] to meet x [..., C], or repeated to meet phases [..., 4 C] (conv.py).

  Raises:
    ValueError: if x's last axis is no multiple of C.
  """
  if v_C.ndim != 1 or not v_C.size or x.shape[-1] % v_C.size:
    raise checks.ArgumentError(f'v_C of shape {v_C.shape} does not fit channels of {x.shape}')
  v = jnp.tile(v_C, x.shape[-1] // v_C.shape[0])
  return v.reshape((1,) * (x.ndim - 1) + v.shape)


def interleave(x: jax.Array) -> jax.Array:
  """Phases [..., H, W, 4 C] (see conv.py) to pixels [..., 2H, 2W, C].

  Raises:
    ValueError: if the last axis is no multiple of 4.
  """
  if x.ndim < 3 or x.shape[-1] % 4:
    raise checks.ArgumentError(f'x has the shape {x.shape}; phases are (..., H, W, 4 C)')
  *n, h, w, c = x.shape
  x = reshape(x, *n, h, w, 2, c // 2)  # the two of a row already lie as in the result
  return reshape(jnp.moveaxis(x, -2, -3), *n, 2 * h, 2 * w, c // 4)

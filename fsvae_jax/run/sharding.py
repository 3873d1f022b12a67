"""One mesh over all devices of all processes; the batch is split over it, the rest replicated.

Axes are explicit, so that a wrong layout is an error while tracing. tdBN's statistics and the loss
are those of the global batch by themselves.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from fsvae_jax.run import console


def make_mesh(devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
  """The mesh of `devices` (default: all), with the axis 'data'."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Explicit,), devices=devices)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Sharding of what every device holds whole."""
  return NamedSharding(mesh, P())


def split(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Sharding of a batch [B, ...] of which every device holds its rows."""
  return NamedSharding(mesh, P('data'))


def mesh_for(batch_size: int, parts: int = 1) -> jax.sharding.Mesh:
  """The mesh of the devices that share batches of `batch_size`, computed in `parts` parts.

  Says so if that is not all devices. Raises ValueError as `sharing` does.
  """
  count = jax.device_count()
  used = sharing(batch_size, parts, count, jax.process_count())
  if used < count:
    console.say(
      f'{used} of {count} devices share the batch of {batch_size} evenly; all would share '
      f'--config.train.batch_size={_nearest(batch_size, count * parts)}'
    )
  return make_mesh(jax.devices()[:used])


def sharing(batch_size: int, parts: int, devices: int, processes: int) -> int:
  """How many of `devices` share a batch: one process takes as many as divide it, several need all.

  Raises:
    ValueError: naming the nearest batch sizes that fit, if the parts, or the devices of several
      processes, do not divide it.
  """
  fits = lambda n: batch_size % (n * parts) == 0
  used = next((n for n in range(devices, 0, -1) if fits(n)), 0)
  if used == devices or (used and processes == 1):
    return used
  shared = f'{devices} devices of {processes} processes' if used else f'{parts} parts'
  step = parts * (devices if processes > 1 else 1)
  raise ValueError(
    f'train.batch_size is {batch_size}, which {shared} cannot share evenly: choose '
    f'{_nearest(batch_size, step)}'
  )


def _nearest(batch_size, step):
  below = batch_size // step * step
  return f'{below} or {below + step}' if below else f'{step}'


def round_up(count: int, mesh: jax.sharding.Mesh) -> int:
  """The smallest multiple of the number of devices that is at least `count`."""
  return -(-count // mesh.size) * mesh.size


def global_batch(mesh: jax.sharding.Mesh, local: np.ndarray) -> jax.Array:
  """The global array [B, ...] of this process's rows [B / processes, ...], split over devices."""
  return jax.make_array_from_process_local_data(split(mesh), local)


def spread(mesh: jax.sharding.Mesh, whole: np.ndarray) -> jax.Array:
  """The global array of `whole` [B, ...], of which every process reads its devices' rows only."""
  return jax.make_array_from_callback(whole.shape, split(mesh), lambda index: whole[index])


def any_process(mesh: jax.sharding.Mesh, flag: bool) -> bool | jax.Array:
  """Whether `flag` is true in any process; all must ask. A bool, or an array that becomes ready."""
  if jax.process_count() == 1:
    return flag
  return _any(global_batch(mesh, np.full(len(mesh.local_devices), flag)))


@jax.jit
def _any(flags):
  return jnp.any(flags)


def from_first(value: Any) -> Any:
  """Process 0's `value`, a pytree of numbers and arrays, in all processes; all must ask."""
  return value if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value)

"""One mesh over all devices of all processes; the batch is split over it, the rest replicated.

Axes are explicit, so that a wrong layout is an error while tracing. tdBN's statistics and the loss
are those of the global batch by themselves.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P


def make_mesh(devices=None):
  """The mesh of `devices` (default: all), with the axis 'data'."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Explicit,), devices=devices)


def replicated(mesh):
  """Sharding of what every device holds whole."""
  return NamedSharding(mesh, P())


def split(mesh):
  """Sharding of a batch [B, ...] of which every device holds its rows."""
  return NamedSharding(mesh, P('data'))


def check_batch(mesh, name, batch_size, parts=1):
  """Raises ValueError unless `batch_size` is a multiple of the number of devices, times `parts`."""
  if batch_size < 1 or batch_size % (mesh.size * parts):
    times = f', in {parts} parts each,' if parts > 1 else ''
    raise ValueError(
      f'{name} is {batch_size}, which {mesh.size} devices cannot share evenly{times}: choose '
      f'a multiple of {mesh.size * parts}'
    )


def global_batch(mesh, local):
  """The global array [B, ...] of this process's rows [B / processes, ...], split over devices."""
  return jax.make_array_from_process_local_data(split(mesh), local)


def spread(mesh, whole):
  """The global array of `whole` [B, ...], of which every process reads its devices' rows only."""
  return jax.make_array_from_callback(whole.shape, split(mesh), lambda index: whole[index])


def any_process(mesh, flag):
  """Whether `flag` is true in any process; all must ask. A bool, or an array that becomes ready."""
  if jax.process_count() == 1:
    return flag
  return _any(global_batch(mesh, np.full(len(mesh.local_devices), flag)))


@jax.jit
def _any(flags):
  return jnp.any(flags)


def from_first(value):
  """Process 0's `value`, an int or a bool, in all processes; all must ask."""
  return value if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value).item()

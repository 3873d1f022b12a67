"""One mesh over all devices of all processes; the batch is split over it, the rest replicated.

Axes are explicit, so that a wrong layout is an error while tracing. tdBN's statistics and the loss
are those of the global batch by themselves.
"""

import jax
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


def check_batch(mesh, name, batch_size):
  """Raises ValueError unless `batch_size` is a multiple of the number of devices."""
  if batch_size < 1 or batch_size % mesh.size:
    raise ValueError(
      f'{name} is {batch_size}, which {mesh.size} devices cannot share evenly: choose '
      f'a multiple of {mesh.size}'
    )


def global_batch(mesh, local):
  """The global array [B, ...] of this process's rows [B / processes, ...], split over devices."""
  return jax.make_array_from_process_local_data(split(mesh), local)


def spread(mesh, whole):
  """The global array of `whole` [B, ...], of which every process reads its devices' rows only."""
  return jax.make_array_from_callback(whole.shape, split(mesh), lambda index: whole[index])

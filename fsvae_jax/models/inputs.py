"""What callers hand to a model: refused by name, or in the parameters' type and on their mesh."""

import contextlib
import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from fsvae_jax.compute import checks

OF_THIS_MODEL = 'variables must be what the init of this very model gives'
Variables = dict[str, Any]  # {'params' | 'batch_stats': {network: ...}}


def check_sizes(config):
  """Raises ValueError for sizes of a model's configuration that do not fit each other."""
  stride = 2 ** len(config.features)
  if config.image_size % stride:
    raise ValueError(
      f'model.image_size {config.image_size} is not a multiple of {stride}, the total stride of '
      f'{len(config.features)} convolutions: change the size or the number of features'
    )


HINT = 'images in [-1, 1], which of bytes are x / 127.5 - 1'


def images(config, variables: Variables, image: jax.Array) -> jax.Array:
  """Images [B, H, W, C] of the configuration's size, made `ready`; of a spiking model also
  [B, T, H, W, C], one image a step.

  Raises:
    ValueError: for others.
  """
  timesteps = getattr(config, 'timesteps', None)
  steps = (timesteps,) if timesteps and getattr(image, 'ndim', 4) == 5 else ()
  size = config.image_size, config.image_size, config.channels
  image = checks.floats('image', image, 'B', *steps, *size, hint=HINT)
  return ready('image', variables, image)


def some_images(config, variables: Variables, batch: Mapping[str, jax.Array]) -> jax.Array:
  """The images [B, H, W, C] of a batch, `ready`: one at least, since a loss is a mean over them.

  Raises:
    ValueError: for a batch that is no dict with them.
  """
  if not isinstance(batch, Mapping) or 'image' not in batch:
    kind = f'keys {", ".join(batch)}' if isinstance(batch, Mapping) else type(batch).__name__
    raise checks.ArgumentError(f"batch is a {kind}; it must be a dict {{'image': array, ...}}")
  size = config.image_size, config.image_size, config.channels
  image_BHWC = checks.floats('image', batch['image'], 'B', *size, hint=HINT)
  if not len(image_BHWC):
    raise checks.ArgumentError('image has no images; a loss needs one at least')
  return ready('image', variables, image_BHWC)


def check_label(classes: int, label: Any) -> None:
  """Raises ValueError for a label of a model without classes, and for a number beyond them."""
  if not classes:
    raise checks.ArgumentError(
      'a label is given, but this model has no classes: train one with --config.model.classes=N'
    )
  if isinstance(label, numbers.Integral) and int(label) >= classes:
    raise checks.ArgumentError(
      f'label is {label}; the classes of this model are 0 to {classes - 1}'
    )


def labels(classes: int, label: Any, count: int) -> jax.Array | None:
  """Labels of `count` images as lines [count, classes], of which the class's is one.

  Args:
    classes: of the model; without any, the result is None.
    label: one for all or [count] integers; None, or below zero, is no label: all lines are zero.

  Raises:
    ValueError: as `check_label` does, and for a label that is not of integers or does not fit.
  """
  if label is not None:
    check_label(classes, label)
  if not classes:
    return None
  label = -1 if label is None else label
  label_B = checks.integers('label', label, *(count,) * (jnp.ndim(label) > 0))
  return jax.nn.one_hot(jnp.broadcast_to(label_B, (count,)), classes, dtype=jnp.float32)


def ready(name: str, variables: Variables, x_B: jax.Array) -> jax.Array:
  """x [B, ...] in the parameters' type, and on the mesh in use if its axes are Explicit.

  Raises:
    ValueError: for variables that are no model's, and for an x that is split over devices along
      another axis than the batch, or over a mesh that is not in use.
  """
  params = jax.tree.leaves(part(variables, 'params'))
  return _on_mesh(name, x_B.astype(jnp.result_type(*params) if params else x_B.dtype))


def own(variables: Variables, name: str) -> Variables:
  """The variables of one network, on the mesh in use; raises ValueError if there are none."""
  kinds = ('params', 'batch_stats')
  return jax.tree.map(_met, {kind: part(part(variables, kind), name) for kind in kinds})


def part(tree, name: str):
  """tree[name]; raises ValueError if there is none."""
  try:
    return tree[name]
  except (KeyError, TypeError) as error:
    raise checks.ArgumentError(f'variables have no {name!r}; {OF_THIS_MODEL}') from error


def drawn(draws: Any, name: str) -> Any:
  """draws[name]; raises ValueError for others than `Model.draw` gives."""
  try:
    return draws[name]
  except (KeyError, TypeError, IndexError) as error:
    known = list(draws) if isinstance(draws, Mapping) else type(draws).__name__
    raise checks.ArgumentError(
      f'draws have no {name!r} ({known}); they must be those of draw(key, B) of this very model'
    ) from error


@contextlib.contextmanager
def others_refused():
  """Parameters that are not the running network's are a ValueError, not one of Flax's own kind."""
  try:
    yield
  except errors.FlaxError as error:
    raise checks.ArgumentError(f'{error}; {OF_THIS_MODEL}') from error


def _on_mesh(name, x_B):
  mesh, spec = jax.typeof(x_B).sharding.mesh, jax.typeof(x_B).sharding.spec
  if any(spec[1:]):
    raise checks.ArgumentError(f'{name} is split as {spec}; only its batch can be: P({spec[0]!r})')
  if AxisType.Explicit in mesh.axis_types and jax.sharding.get_abstract_mesh().empty:
    raise checks.ArgumentError(
      f'{name} lies on a mesh with Explicit axes {mesh.axis_names}, which is not in use: call this '
      'within `with jax.set_mesh(mesh):`'
    )
  return _met(x_B)


def _met(x):
  """x whole on every device of the mesh in use, if that has Explicit axes and x is on no mesh."""
  explicit = AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types
  return jax.sharding.reshard(x, P()) if explicit and jax.typeof(x).sharding.mesh.empty else x

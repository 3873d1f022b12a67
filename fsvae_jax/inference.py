"""The one way to run a trained model over arrays: in batches, on all devices, with a key a batch.

What runs is a pure function of (model, variables, key, *rows_B), defined at a module's top, so that
it is compiled once for all calls of a process.
"""

import contextlib
import functools
import hashlib
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from fsvae_jax import configuration, data, fields, models
from fsvae_jax.compute import checks
from fsvae_jax.models import Model, inputs
from fsvae_jax.run import checkpoint, processor, progress, sharding
from fsvae_jax.run import workdir as workdirs

ROUNDING = 1e-3  # of images in [-1, 1]


class Trained(NamedTuple):
  """A model with the variables of some step of its training, on a mesh.

  Attributes:
    config, workdir, step: of the run.
    replicated: the variables on every device of the mesh.
  """

  config: ConfigDict
  workdir: pathlib.Path
  step: int
  model: Model
  replicated: Any
  mesh: jax.sharding.Mesh

  @property
  def variables(self) -> Any:
    """The variables on one device, for the functions of `model`; a mesh in use wants them on it.

    They share memory with this object: before a step that donates them, copy them.
    """
    return jax.tree.map(lambda x: x.addressable_data(0), self.replicated)

  @property
  def batch_size(self) -> int:
    """`test.batch_size`, rounded up to what the devices share."""
    return sharding.round_up(self.config.test.batch_size, self.mesh)

  def over(self, function: Callable, *arrays_N: Any, seed: int = 0) -> Any:
    """`function` of all rows, in batches of `batch_size`; the last one is filled up.

    Args:
      arrays_N: arrays [N, ...].
      seed: of the batches' keys.

    Returns:
      The results [N, ...], or a pytree of them, as numpy arrays.
    """
    arrays_N = tuple(x if isinstance(x, data.Images) else np.asarray(x) for x in arrays_N)
    count, key, results = len(arrays_N[0]), self._key(seed), []
    if any(len(x) != count for x in arrays_N):
      raise checks.ArgumentError(f'arrays of {[len(x) for x in arrays_N]} rows; it must be as many')
    if not count:
      return self._nothing(function, key, arrays_N)
    size = min(self.batch_size, sharding.round_up(count, self.mesh))
    for i in progress.each(range(0, count, size), function.__name__.strip('_')):
      rows = np.arange(i, i + size) % count
      results.append(self._call(function, key, i, rows, arrays_N))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)

  def means(self, function: Callable, *arrays_N: Any, key: jax.Array | None = None) -> Any:
    """The mean over all rows of a `function` that gives means over its batch, as numpy arrays.

    Args:
      arrays_N: arrays [N, ...].
      key: of which each batch's comes, with the batch's number; default: the run's own.
    """
    key = self._key(0) if key is None else key
    count, total = len(arrays_N[0]), None
    batches = list(whole_batches(count, self.batch_size, self.mesh.size))
    for i, rows in enumerate(progress.each(batches, function.__name__)):
      result = self._call(function, key, i, rows, arrays_N)
      share = len(set(rows.tolist())) / count
      result = jax.tree.map(lambda x, share=share: share * x.astype(np.float64), result)
      total = result if total is None else jax.tree.map(np.add, total, result)
    return total

  def encode(
    self, images: data.Images | np.ndarray, seed: int = 0, label: Any = None
  ) -> np.ndarray:
    """Latents of images, uint8 or in [-1, 1]; `label` is their class, an integer or [N] of them."""
    return self.over(encode, _in_range(images), *self._told(label, len(images)), seed=seed)

  def decode(self, latents: np.ndarray, label: Any = None) -> np.ndarray:
    """Images [N, H, W, C] in [-1, 1] of latents; `label` as in `encode`."""
    return self.over(decode, latents, *self._told(label, len(latents)))

  def reconstruct(
    self, images: data.Images | np.ndarray, seed: int = 0, label: Any = None
  ) -> np.ndarray:
    """Images [N, H, W, C] in [-1, 1] from images, uint8 or in [-1, 1]; `label` as in `encode`."""
    return self.decode(self.encode(images, seed, label), label)

  def sample(self, count: int, seed: int = 0, label: Any = None) -> np.ndarray:
    """Latents of the prior: those of which `generate` makes images; `label` as there."""
    count = checks.count('count', count)
    return self.over(sample, np.arange(count), *self._told(label, count), seed=seed)

  def generate(self, count: int, seed: int = 0, label: Any = None) -> np.ndarray:
    """Images [count, H, W, C] in [-1, 1] of the prior.

    Args:
      label: their class, an integer or [count] of them; default: none.

    Raises:
      ValueError: for a model without a prior, or a label that is none of its classes.
    """
    return self.decode(self.sample(count, seed, label), label)

  def images(self, split: str) -> data.Images:
    """The images of a split that the run knows: 'train' or 'test'.

    Raises:
      ValueError, FileNotFoundError: if they are not there, or others.
    """
    size = self.config.model.image_size, self.config.model.channels
    images = data.load(self.config.data, *size, split)
    identity = data.identity(images, self.model.classes > 0)
    workdirs.check_images(self.workdir, self.config, {split: identity})
    return images

  def _told(self, label, count):
    """The labels [count] as a function's last argument, of one for all or one each; () if none."""
    if label is None:
      return ()
    shape = (count,) * (np.ndim(label) > 0)
    label_N = np.asarray(label)
    if label_N.dtype.kind in 'iu':  # JAX's would be of 32 bits
      inputs.check_label(self.model.classes, int(label_N.max(initial=0)))
      label_N = label_N if label_N.dtype.kind == 'u' else np.maximum(label_N, -1)
    label_N = np.asarray(checks.integers('label', label_N, *shape)).astype(np.int32)
    return (np.broadcast_to(label_N, (count,)),)

  def _key(self, seed):
    number = 1000 + checks.count('seed', seed, most=2**31 - 1)
    with jax.set_mesh(self.mesh):  # and not a mesh of the caller's
      return jax.random.fold_in(jax.random.key(self.config.seed), number)

  def _nothing(self, function, key, arrays_N):
    """The results [0, ...] of no rows."""
    one = [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in arrays_N]
    of = functools.partial(_whole, function, self.model, self.replicated, key)
    with jax.set_mesh(self.mesh):
      results = jax.eval_shape(of, *one)
    return jax.tree.map(lambda x: np.zeros((0, *x.shape[1:]), x.dtype), results)

  def _call(self, function, key, i, rows, arrays_N):
    """The function's results for `rows`; the batch's key is the i-th of `key`."""
    with jax.set_mesh(self.mesh):
      own_key = jax.random.fold_in(key, i)
      batch = [sharding.spread(self.mesh, np.asarray(array[rows])) for array in arrays_N]
      return jax.device_get(_whole(function, self.model, self.replicated, own_key, *batch))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _whole(function, model, variables, key, *rows_B):
  """The function's results, whole on every device."""
  results = function(model, variables, key, *rows_B)
  return jax.tree.map(lambda x: jax.sharding.reshard(x, P()), results)


def whole_batches(count: int, size: int, devices: int) -> Iterator[np.ndarray]:
  """Rows of batches in which each row is equally often, so that their means are the rows' means.

  The last few, fewer than there are devices, are repeated until these share them.
  """
  whole = count - count % devices
  for i in range(0, whole, size):
    yield np.arange(i, min(i + size, whole))
  rest = np.arange(whole, count)
  if len(rest):
    yield np.tile(rest, devices // math.gcd(devices, len(rest)))


def restore(config: ConfigDict, workdir: str | pathlib.Path, step: Any = None) -> Trained:
  """The model of `config` from a checkpoint in `workdir`, on all devices.

  Args:
    step: a number, 'best', or None, the newest.

  Raises:
    ValueError, FileNotFoundError: if there is no such checkpoint, or it is of another model.
  """
  workdir = workdirs.check(workdir)
  fields.check_all(config)
  try:
    model = models.make(config.model)
  except TypeError as error:  # a field of another version
    raise ValueError(f'{workdir}/config.json is of another version: {error}') from error
  if not (workdir / 'checkpoints').is_dir():
    exported = (workdir / 'model.safetensors').exists()
    way = 'fsvae_jax.load reads its weights' if exported else 'train there first'
    raise FileNotFoundError(f'{workdir} has no checkpoints: {way}, or name another --workdir')
  defaults = configuration.defaults().to_dict()
  workdirs.check_same(workdir, config.to_dict(), defaults, ('model', 'data'))
  processor.warn_if_slow(config.model.get('dtype'))
  mesh = sharding.make_mesh()
  variables = jax.eval_shape(model.init, jax.random.key(0))
  like = {'step': jax.ShapeDtypeStruct((), np.int32), 'variables': variables}
  like['ema'] = variables if config.train.ema_decay else {}
  whole = sharding.replicated(mesh)
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), like)
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:
    state = checkpoints.restore(like, step)
  if state is None:
    raise FileNotFoundError(f'{workdir}/checkpoints is empty: train there first')
  variables, step = state['ema'] or state['variables'], int(state['step'])
  if model.fit and not is_fitted(variables):
    logging.warning(
      'step %d of %s was saved before the last one, at which model.latent %r is fitted: samples '
      "are of the prior's network alone",
      step,
      workdir,
      config.model.latent,
    )
  return Trained(config, workdir, step, model, variables, mesh)


def _in_range(images):
  """Images; raises ArgumentError for floats that are not in [-1, 1]."""
  if isinstance(images, data.Images):
    return images  # bytes
  images = np.asarray(images)
  floats = jnp.issubdtype(images.dtype, jnp.floating) and images.size
  if floats and not max(images.max(), -images.min()) <= 1 + ROUNDING:  # nor is NaN
    raise checks.ArgumentError(
      f'images are from {images.min()} to {images.max()}; floats must be in [-1, 1], as '
      'fsvae_jax.data.normalize makes them of bytes'
    )
  return images


def is_fitted(variables: Any) -> bool:
  """Whether the networks without parameters, which are fitted when training ends, have been."""
  params = variables['params']
  own = {name: stats for name, stats in variables['batch_stats'].items() if not params[name]}
  return any(bool(x.any()) for x in jax.tree.leaves(own))


def mark(variables: Any) -> str:
  """Eight digits that differ for other parameters or statistics."""
  digest = hashlib.sha256()
  for x in jax.tree.leaves(jax.device_get(variables)):
    digest.update(x.tobytes())
  return digest.hexdigest()[:8]


def pixels(images_BHWC: jax.Array) -> jax.Array:
  """Images in [-1, 1], of such or of uint8."""
  return data.normalize(images_BHWC) if images_BHWC.dtype == np.uint8 else images_BHWC


def encode(
  model: Model, variables: Any, key: jax.Array, images_BHWC: jax.Array, *label_B: jax.Array
) -> jax.Array:
  """`Trained.encode` of a batch."""
  return model.encode(variables, pixels(images_BHWC), key, *label_B)


def decode(
  model: Model, variables: Any, key: jax.Array, latents_B: jax.Array, *label_B: jax.Array
) -> jax.Array:
  """`Trained.decode` of a batch."""
  del key
  return model.decode(variables, latents_B, *label_B)


def sample(
  model: Model, variables: Any, key: jax.Array, rows_B: jax.Array, *label_B: jax.Array
) -> jax.Array:
  """`Trained.sample` of as many latents as there are rows."""
  if model.sample is None:
    raise checks.ArgumentError(
      'this model has no prior: it encodes and decodes, and has no samples'
    )
  return model.sample(variables, key, len(rows_B), *label_B)

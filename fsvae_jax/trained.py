"""A trained model: restored from a checkpoint, run over whole data sets in batches."""

import contextlib
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, fields, models
from fsvae_jax.run import checkpoint, sharding
from fsvae_jax.run import workdir as workdirs


class Trained:
  """The model of `config`, restored from `workdir` on all devices.

  Attributes:
    config, model, step: of the checkpoint.
    batch_size: of the batches: `test.batch_size`, rounded up to what the devices share.
    variables: those that tests use, replicated over the devices.

  Raises:
    ValueError, FileNotFoundError: if there is no such checkpoint, or it is of another model.
  """

  def __init__(
    self, config: ConfigDict, workdir: str | pathlib.Path, step: int | str | None = None
  ) -> None:
    self.config, self.workdir = config, workdirs.check(workdir)
    fields.check_all(config)
    self.model = models.make(config.model)
    self._mesh = sharding.make_mesh()
    self.batch_size = sharding.round_up(config.test.batch_size, self._mesh)
    state = self._restore(step)
    self.step, self.variables = int(state['step']), state['ema'] or state['variables']
    self._jit = functools.lru_cache(None)(
      functools.partial(jax.jit, out_shardings=sharding.replicated(self._mesh))
    )
    self._generated: dict[tuple[int, int], np.ndarray] = {}
    model = self.model
    self._encode = lambda v, key, images: model.encode(v, data.normalize(images), key)
    self._decode = lambda v, key, latents: model.decode(v, latents)
    self._reconstruct = lambda v, key, images: model.reconstruct(v, data.normalize(images), key)
    self._generate = lambda v, key, rows: model.generate(v, key, len(rows))

  def _restore(self, step):
    if not (self.workdir / 'checkpoints').is_dir():
      raise FileNotFoundError(
        f'{self.workdir} has no checkpoints: train there first, or name another --workdir'
      )
    workdirs.check_same(self.workdir, self.config.to_dict(), ('model', 'data'))
    variables = jax.eval_shape(self.model.init, jax.random.key(0))
    ema = variables if self.config.train.ema_decay else {}
    like = {'step': jax.ShapeDtypeStruct((), np.int32), 'variables': variables, 'ema': ema}
    whole = sharding.replicated(self._mesh)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), like)
    with contextlib.closing(checkpoint.Checkpoints(self.workdir)) as checkpoints:
      state = checkpoints.restore(like, step)
    if state is None:
      raise FileNotFoundError(f'{self.workdir}/checkpoints is empty: train there first')
    return state

  @functools.cached_property
  def train_images(self) -> data.Images:
    """uint8 images [N, H, W, C] that the model was trained on."""
    return self._images('train')

  @functools.cached_property
  def test_images(self) -> data.Images:
    """uint8 images [N, H, W, C] of the test split."""
    return self._images('test')

  def _images(self, split):
    size = self.config.model.image_size, self.config.model.channels
    images = data.load(self.config.data, *size, split)
    workdirs.check_images(self.workdir, self.config, {split: data.identity(images)})
    return images

  def over(self, function: Callable, *arrays_N: Any, seed: int = 0) -> Any:
    """`function(variables, key, *rows_B)` over all rows, in batches of `batch_size`.

    Args:
      function: pure, and the same object at every call, so that it is compiled once.
      arrays_N: arrays [N, ...].
      seed: of the keys of the batches.

    Returns:
      The results [N, ...], or a pytree of them, as numpy arrays.
    """
    count = len(arrays_N[0])
    size = min(self.batch_size, sharding.round_up(count, self._mesh))
    key = jax.random.fold_in(jax.random.key(self.config.seed), 1000 + seed)
    results = []
    with jax.set_mesh(self._mesh):
      for i in range(0, count, size):
        rows = np.arange(i, i + size) % count  # the last batch is filled up, so that all are alike
        batches = [sharding.spread(self._mesh, np.asarray(array[rows])) for array in arrays_N]
        result = self._jit(function)(self.variables, jax.random.fold_in(key, i), *batches)
        results.append(jax.tree.map(lambda x, i=i: np.asarray(x)[: count - i], result))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)

  def encode(self, images: data.Images | np.ndarray, seed: int = 0) -> np.ndarray:
    """Latents of uint8 images."""
    return self.over(self._encode, images, seed=seed)

  def decode(self, latents: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] in [-1, 1] of latents."""
    return self.over(self._decode, latents)

  def reconstruct(self, images: data.Images | np.ndarray, seed: int = 0) -> np.ndarray:
    """Images [N, H, W, C] in [-1, 1] from uint8 images."""
    return self.over(self._reconstruct, images, seed=seed)

  def generate(self, count: int, seed: int = 0) -> np.ndarray:
    """Images [count, H, W, C] in [-1, 1] of the prior; kept, since several metrics want them.

    Raises:
      ValueError: for a model that does not generate.
    """
    if self.model.sample is None:
      raise ValueError(f'a model of the name {self.config.model.name!r} does not generate images')
    if (count, seed) not in self._generated:
      made = self.over(self._generate, np.arange(count), seed=seed)
      self._generated[count, seed] = made
    return self._generated[count, seed]

"""The order of images and labels in training."""

import functools

import grain
import numpy as np
from grain.experimental import index_shuffle

from fsvae_jax.data.images import Images

STREAMING_THREADS = 16  # each decodes a whole batch; what they prefetch is what memory they take


def batches(
  images: Images | np.ndarray,
  batch_size: int,
  seed: int,
  start: int,
  stop: int,
  process: int = 0,
  processes: int = 1,
) -> grain.IterDataset:
  """This process's rows of the global batches of steps `start` to `stop`, prefetched by Grain.

  Each is {'image': uint8 [B, H, W, C], 'label': int32 [B]}, without 'label' if images have none.

  Every epoch is a new permutation; what is left of it after the last whole batch is dropped. The
  global batch is the same whatever the number of processes: each has its part of it, in order.

  Args:
    images: `Images` or array [N, H, W, C], which has no labels.
    batch_size: of the global batch.

  Raises:
    ValueError: if there are fewer images than one batch needs.
  """
  rows = functools.partial(batch_rows, len(images), batch_size, seed)
  rows(start)
  local = batch_size // processes
  mine = slice(process * local, (process + 1) * local)
  labels = getattr(images, 'labels', None)

  def batch(step):
    taken = rows(step)[mine]
    return {'image': images[taken]} | ({} if labels is None else {'label': labels[taken]})

  steps = grain.MapDataset.range(start, stop).map(batch)
  threads = STREAMING_THREADS if getattr(images, 'streamed', False) else 1
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(4, threads))
  return steps.to_iter_dataset(options)


def batch_rows(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
  """Rows [batch_size] of the global batch of one step, ascending, as storage likes them.

  In constant time and memory: Grain's shuffle tells any place of a permutation by itself.
  """
  epoch, within = divmod(int(step), steps_per_epoch(count, batch_size))
  (epoch_seed,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
  place = functools.partial(index_shuffle, max_index=count - 1, seed=int(epoch_seed), rounds=4)
  first = within * batch_size
  return np.sort([place(i) for i in range(first, first + batch_size)])


def steps_per_epoch(count: int, batch_size: int) -> int:
  """Whole batches in `count` images; raises ValueError if there is none."""
  if count < batch_size:
    raise ValueError(
      f'train.batch_size is {batch_size}, but there are only {count} training images'
    )
  return count // batch_size

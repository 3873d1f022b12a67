"""Progress bars, and the log of a training run: mean metrics, speed, and the check for NaN."""

import math
import sys
import time
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from fsvae_jax.run import console


def bar(**kwargs: Any) -> tqdm:
  """A tqdm bar, on a terminal and of process 0; elsewhere it is not seen."""
  seen = sys.stderr is not None and sys.stderr.isatty() and jax.process_index() == 0
  return tqdm(dynamic_ncols=True, disable=not seen, **kwargs)


def each(items: Iterable, what: str) -> tqdm:
  """`items`, under a bar that says what is done with them, should it take more than 2 seconds."""
  return bar(iterable=items, desc=what, unit='batch', leave=False, delay=2)


class Progress:
  """Collects the metrics of single steps and reports their means.

  Metrics stay on the device until a line is due; only the step before the newest is waited for, so
  that the device always has work.
  """

  def __init__(self, start: int, total: int, batch_size: int) -> None:
    self._batch_size = batch_size
    self._steps: list[tuple[int, dict]] = []  # (step, metrics) since the last line
    # How many of them the clock has seen; None until the first is done.
    self._timed: int | None = None
    self._bar = bar(total=total, initial=start, unit='step')
    self._total = total

  def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
    """Takes one step's metrics, a dict of scalars on the device."""
    if self._steps:
      jax.block_until_ready(self._steps[-1][1])
    self._steps.append((step, metrics))
    if self._timed is None:
      jax.block_until_ready(metrics)
      self.restart_clock()
    else:
      self._timed += 1
    self._bar.update()

  def check(self) -> None:
    """Raises FloatingPointError, naming the step, if a metric since the last line is not finite."""
    self._steps = [(step, jax.device_get(metrics)) for step, metrics in self._steps]
    for step, metrics in self._steps:
      for name, value in sorted(metrics.items(), key=_when):
        if not math.isfinite(value):
          raise FloatingPointError(
            f'{name} is {value} at step {step}; the checkpoints before it stay. A smaller '
            'train.learning_rate or a train.clip_norm may help'
          )

  def line(self) -> dict[str, float]:
    """Means since the last line as {'train/...': value, 'images_per_s': value}."""
    self.check()
    values = [metrics for _, metrics in self._steps]
    means = {f'train/{name}': float(np.mean([v[name] for v in values])) for name in values[0]}
    if self._timed:
      seconds = time.perf_counter() - self._begin
      means['images_per_s'] = self._timed * self._batch_size / seconds
    self._steps = []
    self.restart_clock()
    return means

  def restart_clock(self) -> None:
    """Leaves out of the speed what lies between two steps: tests, pictures, the start of a save."""
    self._begin, self._timed = time.perf_counter(), 0

  def report(self, step: int, scalars: dict[str, float]) -> None:
    """Prints the chief scalars of a step: train/rate/z as `rate z`, images_per_s as `images/s`."""
    label = lambda name: name.removeprefix('train/').replace('/', ' ').replace('_per_', '/')
    parts = [f'{label(name)} {scalars[name]:.4g}' for name in _CHIEF if name in scalars]
    console.say(f'step {step}/{self._total}  ' + '  '.join(parts))

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()


_CHIEF = [f'train/{name}' for name in ('loss', 'reconstruction', 'distance', 'rate/z')]
_CHIEF += ['images_per_s', 'test/reconstruction', 'test/distance']

# What a step computes of its loss, after its terms; where a number stops to be finite, it begins.
_LAST = 'loss', 'gradient_norm', 'update_norm'


def _when(metric):
  return _LAST.index(metric[0]) if metric[0] in _LAST else -1

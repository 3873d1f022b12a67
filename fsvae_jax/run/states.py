"""What training carries from step to step, and the optimizer that moves it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from ml_collections import ConfigDict


class TrainState(struct.PyTreeNode):
  """Everything that a checkpoint holds; keys and data order follow from `step`.

  `variables` and `ema` are {'params': ..., 'batch_stats': ...}; `ema` is {} if it is not kept.
  """

  step: jax.Array
  variables: Any
  opt_state: Any
  ema: Any

  def evaluated(self) -> Any:
    """The variables that tests and pictures use."""
    return self.ema or self.variables


def make_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
  """AdamW (betas 0.9 and 0.999) with the schedule and clipping of `config.train`.

  Raises:
    ValueError: for an unknown schedule, naming the known ones.
  """
  peak, warmup = config.learning_rate, config.warmup_steps
  after = max(total_steps - warmup, 1)
  schedules = {
    'constant': optax.constant_schedule(peak),
    'cosine': optax.cosine_decay_schedule(peak, after),
  }
  if config.schedule not in schedules:
    raise ValueError(f'unknown train.schedule {config.schedule!r}; known: {", ".join(schedules)}')
  rate = optax.join_schedules(
    [optax.linear_schedule(0.0, peak, max(warmup, 1)), schedules[config.schedule]], [warmup]
  )
  clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
  return optax.chain(clip, optax.adamw(rate, weight_decay=config.weight_decay))


def create(variables: Any, optimizer: optax.GradientTransformation, ema_decay: float) -> TrainState:
  """The state before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    variables=variables,
    opt_state=optimizer.init(variables['params']),
    ema=jax.tree.map(jnp.copy, variables) if ema_decay else {},
  )

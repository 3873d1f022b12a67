"""What training carries from step to step, and the optimizer that moves it."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import struct
from ml_collections import ConfigDict

from fsvae_jax.compute import checks


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
  """The optimizer of `config.train`, with its schedule and clipping.

  Raises:
    ValueError: for an unknown optimizer or schedule, naming the known ones.
  """
  checks.one_of('train.optimizer', config.optimizer, OPTIMIZERS)
  peak, warmup = config.learning_rate, config.warmup_steps
  after = max(total_steps - warmup, 1)
  schedules = {
    'constant': optax.constant_schedule(peak),
    'cosine': optax.cosine_decay_schedule(peak, after),
  }
  checks.one_of('train.schedule', config.schedule, schedules)
  rate = optax.join_schedules(
    [optax.linear_schedule(0.0, peak, max(warmup, 1)), schedules[config.schedule]], [warmup]
  )
  clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
  return optax.chain(clip, OPTIMIZERS[config.optimizer](rate, config.weight_decay))


def muon(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
  """Muon (arXiv 2502.16982): every kernel, as a matrix of inputs by outputs, moves by its momentum
  made orthogonal, of the size that AdamW's update has; everything else moves by AdamW, with
  Nesterov's momentum. A large kernel moves in blocks of outputs, in a quarter of the time."""
  in_blocks = functools.partial(jax.tree.map, _in_blocks)
  as_before = functools.partial(jax.tree.map, lambda x, before: x.reshape(before.shape))

  def of(params):
    return optax.contrib.muon(
      rate,
      weight_decay=weight_decay,
      adam_weight_decay=weight_decay,
      consistent_rms=0.2,
      muon_weight_dimension_numbers=lambda _: jax.tree.map(_as_matrix, params),
    )

  def update(gradients, state, params=None):
    blocks = in_blocks(gradients), in_blocks(state), in_blocks(params)
    updates, moved = of(gradients).update(*blocks)
    return as_before(updates, gradients), as_before(moved, state)  # checkpoints know of no blocks

  return optax.GradientTransformation(lambda params: of(params).init(params), update)


LARGE = 2e8  # multiplications of a kernel's product with its transpose, of which it takes 10
BLOCK = 128  # outputs


def _in_blocks(x):
  """A large kernel [inputs, outputs] as [inputs, blocks, outputs of a block]; others as before."""
  *inputs, outputs = x.shape or (0,)
  if x.size * min(math.prod(inputs), outputs) <= LARGE:
    return x
  size = next((n for n in range(BLOCK, BLOCK // 2, -1) if outputs % n == 0), outputs)
  return x.reshape(*inputs, outputs // size, size)


def _as_matrix(x):
  """Kernels are [..., inputs, outputs], and may have an axis of blocks before the last; scales and
  biases are no matrices."""
  return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), -1) if x.ndim > 1 else None


# Each of a schedule and a weight decay, which is decoupled. Betas are .9 and .999, Muon's is .95.
OPTIMIZERS = {'adamw': lambda rate, decay: optax.adamw(rate, weight_decay=decay), 'muon': muon}


def learning(params: Mapping[str, Any], only: Sequence[str]) -> dict[str, Any]:
  """The parameters {network: ...} that training moves: of the networks named, or of all."""
  return {name: own for name, own in params.items() if not only or name in only}


def create(
  variables: Any,
  optimizer: optax.GradientTransformation,
  ema_decay: float,
  only: Sequence[str] = (),
) -> TrainState:
  """The state before the first step; `only` as in `learning`."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    variables=variables,
    opt_state=optimizer.init(learning(variables['params'], only)),
    ema=jax.tree.map(jnp.copy, variables) if ema_decay else {},
  )

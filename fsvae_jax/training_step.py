"""One step of training, and the gradient that it takes: pure functions."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from fsvae_jax import data
from fsvae_jax.compute import layout
from fsvae_jax.metrics import operations
from fsvae_jax.models import Model
from fsvae_jax.run import states

Batch = dict[str, Any]  # {'image': uint8 [B, H, W, C], 'label': int32 [B], if the data have them}


def train_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  config: ConfigDict,
  total_steps: int,
  state: states.TrainState,
  batch: Batch,
  key: jax.Array,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
  """One optimiser step on a batch: (state, metrics). Pure; random by `key` and state.step."""
  flip_key, loss_key = jax.random.split(jax.random.fold_in(key, state.step))
  image_BHWC = data.normalize(batch['image'])
  if config.data.flip:
    mirrored_B = jax.random.bernoulli(flip_key, 0.5, (len(image_BHWC), 1, 1, 1))
    image_BHWC = jnp.where(mirrored_B, image_BHWC[:, :, ::-1], image_BHWC)
  draws = model.draw(loss_key, len(image_BHWC))
  draws = jax.tree.map(lambda draw_B: layout.lay_like(draw_B, image_BHWC), draws)

  only = tuple(config.train.get('only', ()))
  params = states.learning(state.variables['params'], only)

  def loss_fn(params, batch_stats, batch, draws):
    variables = {'params': {**state.variables['params'], **params}, 'batch_stats': batch_stats}
    of_batch = functools.partial(
      model.loss, variables, batch, draws, state.step / total_steps, train=only or True
    )
    if not config.train.get('energy_weight'):
      return of_batch()
    total, (batch_stats, metrics) = of_batch(count=True)
    total, metrics = with_energy(config, total, metrics)
    return total, (batch_stats, metrics)

  batch = {**batch, 'image': image_BHWC}
  parts = config.train.micro_batches
  learning = {**state.variables, 'params': params}
  grads, batch_stats, metrics = gradients(loss_fn, learning, batch, draws, parts)
  updates, opt_state = optimizer.update(grads, state.opt_state, params)
  params = {**state.variables['params'], **optax.apply_updates(params, updates)}
  variables = {'params': params, 'batch_stats': batch_stats}
  ema = state.ema and moving_average(state, variables, config.train.ema_decay)
  norms = {'gradient_norm': optax.tree.norm(grads), 'update_norm': optax.tree.norm(updates)}
  state = state.replace(step=state.step + 1, variables=variables, opt_state=opt_state, ema=ema)
  return state, metrics | norms


def moving_average(state: states.TrainState, variables: Any, decay: float) -> Any:
  """state.ema, moved towards `variables`.

  It begins short, so that it soon forgets the parameters that training began with: at step n the
  old average weighs min(decay, (1 + n) / (10 + n)).
  """
  weight = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
  return optax.incremental_update(variables, state.ema, 1.0 - weight)


def with_energy(
  config: ConfigDict, loss: jax.Array, metrics: dict[str, jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss, plus weight * max(0, energy - target), and metrics with 'energy_uj'.

  The energy, in uJ, is of the synapses while one image is reconstructed: spikes weigh what they
  reach, as in metrics/operations.py, on the batch's spikes.
  """
  pj = config.eval.ac_pj, config.eval.mac_pj
  uj = operations.energy_uj(metrics['accumulates'], metrics['multiply_accumulates'], pj)
  excess = jnp.maximum(0.0, uj - config.train.energy_target)
  total = loss + config.train.energy_weight * excess
  return total, metrics | {'loss': total, 'energy_uj': uj}


def gradients(
  loss_fn: Callable, variables: Any, batch: Batch, draws: Any, count: int
) -> tuple[Any, Any, dict[str, jax.Array]]:
  """Gradient, running statistics and metrics of a batch, computed in `count` parts of it.

  Gradient and metrics are the parts' means. tdBN normalises each part by its own statistics, and
  moves the running ones once a part; that, and what the loss takes of a batch as a whole (the
  rate latent's distance, model.variance=error, energy beyond a target), differs from the batch in
  one part.

  Args:
    loss_fn: (params, batch_stats, batch, draws) -> (loss, (batch_stats, metrics)).
    batch, draws: pytrees of arrays [B, ...].
  """
  differentiate = jax.grad(loss_fn, has_aux=True)
  params, batch_stats = variables['params'], variables['batch_stats']
  if count == 1:
    grads, (batch_stats, metrics) = differentiate(params, batch_stats, batch, draws)
    return grads, batch_stats, metrics

  def one(batch_stats, i):
    own = jax.tree.map(lambda x_B: layout.take_part(x_B, i, count), (batch, draws))
    grads, (batch_stats, metrics) = differentiate(params, batch_stats, *own)
    return batch_stats, (grads, metrics)

  def add(carry, i):
    batch_stats, total = carry
    batch_stats, part = one(batch_stats, i)
    return (batch_stats, jax.tree.map(jnp.add, total, part)), None

  total = jax.tree.map(jnp.zeros_like, jax.eval_shape(one, batch_stats, 0)[1])
  (batch_stats, total), _ = jax.lax.scan(add, (batch_stats, total), jnp.arange(count))
  grads, metrics = jax.tree.map(lambda x: x / count, total)
  return grads, batch_stats, metrics

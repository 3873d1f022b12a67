"""Training: a pure step, a pure test, and the loop around them."""

import contextlib
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from ml_collections import ConfigDict

from fsvae_jax import data, fields, models
from fsvae_jax.compute import layout
from fsvae_jax.models import Model
from fsvae_jax.run import (
  checkpoint,
  console,
  distributed,
  memory,
  progress,
  sharding,
  signals,
  states,
  writer,
)
from fsvae_jax.run import workdir as workdirs


def train_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  config: ConfigDict,
  total_steps: int,
  state: states.TrainState,
  images_BHWC: jax.Array,
  key: jax.Array,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
  """One optimiser step on a uint8 batch: (state, metrics). Pure; random by `key` and state.step."""
  flip_key, loss_key = jax.random.split(jax.random.fold_in(key, state.step))
  image_BHWC = data.normalize(images_BHWC)
  if config.data.flip:
    mirrored_B = jax.random.bernoulli(flip_key, 0.5, (len(image_BHWC), 1, 1, 1))
    image_BHWC = jnp.where(mirrored_B, image_BHWC[:, :, ::-1], image_BHWC)

  def loss_fn(params, batch_stats, image_BHWC, part):
    variables = {'params': params, 'batch_stats': batch_stats}
    schedule = state.step / total_steps
    return model.loss(variables, image_BHWC, loss_key, schedule, train=True, part=part)

  grads, batch_stats, metrics = gradients(
    loss_fn, state.variables, image_BHWC, config.train.micro_batches
  )
  params = state.variables['params']
  updates, opt_state = optimizer.update(grads, state.opt_state, params)
  variables = {'params': optax.apply_updates(params, updates), 'batch_stats': batch_stats}
  ema = state.ema and optax.incremental_update(variables, state.ema, 1 - config.train.ema_decay)
  norms = {'gradient_norm': optax.tree.norm(grads), 'update_norm': optax.tree.norm(updates)}
  state = state.replace(step=state.step + 1, variables=variables, opt_state=opt_state, ema=ema)
  return state, metrics | norms


def gradients(
  loss_fn: Callable, variables: Any, image_BHWC: jax.Array, count: int
) -> tuple[Any, Any, dict[str, jax.Array]]:
  """Gradient, running statistics and metrics of a batch, computed in `count` parts of it.

  Gradient and metrics are the parts' means. tdBN normalises each part by its own statistics, and
  moves the running ones once a part: that alone differs from the batch as a whole.

  Args:
    loss_fn: (params, batch_stats, image_BHWC, part) -> (loss, (batch_stats, metrics)).
  """
  differentiate = jax.grad(loss_fn, has_aux=True)
  params, batch_stats = variables['params'], variables['batch_stats']
  if count == 1:
    grads, (batch_stats, metrics) = differentiate(params, batch_stats, image_BHWC, (0, 1))
    return grads, batch_stats, metrics

  def one(batch_stats, i):
    part_BHWC = layout.take_part(image_BHWC, i, count)
    grads, (batch_stats, metrics) = differentiate(params, batch_stats, part_BHWC, (i, count))
    return batch_stats, (grads, metrics)

  def add(carry, i):
    batch_stats, total = carry
    batch_stats, part = one(batch_stats, i)
    return (batch_stats, jax.tree.map(jnp.add, total, part)), None

  total = jax.tree.map(jnp.zeros_like, jax.eval_shape(one, batch_stats, 0)[1])
  (batch_stats, total), _ = jax.lax.scan(add, (batch_stats, total), jnp.arange(count))
  grads, metrics = jax.tree.map(lambda x: x / count, total)
  return grads, batch_stats, metrics


class TestSet:
  """A model on the test images, always with the same random draws, on any number of devices."""

  def __init__(
    self,
    model: Model,
    mesh: jax.sharding.Mesh,
    config: ConfigDict,
    images: data.Images | np.ndarray,
    key: jax.Array,
  ) -> None:
    whole = sharding.replicated(mesh)
    self._mesh, self._key, self._images = mesh, key, images
    self._count = min(config.images or len(images), len(images))
    self._size = sharding.round_up(config.batch_size, mesh)
    self._samples = config.samples if model.sample else 0

    def metrics(variables, images_BHWC, key):
      return model.loss(variables, data.normalize(images_BHWC), key, train=False)[1][1]

    def rates(variables, images_BHWC, key):
      image_BHWC = data.normalize(images_BHWC)
      latent = model.encode(variables, image_BHWC, key)
      records = model.record('rates', variables, latent, image_BHWC)
      return {name: jnp.mean(x) for name, x in records.items() if name != 'latent/history'}

    def reconstruct(variables, images_BHWC, key):
      return data.quantize(model.reconstruct(variables, data.normalize(images_BHWC), key))

    def generate(variables, key):
      count = sharding.round_up(config.samples, mesh)
      return data.quantize(model.generate(variables, key, count))

    self._metrics, self._rates, self._reconstruct, self._generate = (
      jax.jit(f, out_shardings=whole) for f in (metrics, rates, reconstruct, generate)
    )
    self._spikes = model.record is not None

  def _chunks(self):
    """Rows of the batches: each image once, or, in a batch of fewer than there are devices, each
    equally often, so that the mean over the batch is the mean over its images."""
    devices, whole = self._mesh.size, self._count - self._count % self._mesh.size
    chunks = [np.arange(i, min(i + self._size, whole)) for i in range(0, whole, self._size)]
    rest = np.arange(whole, self._count)
    if len(rest):
      chunks.append(np.tile(rest, devices // math.gcd(devices, len(rest))))
    return chunks

  def _batch(self, rows):
    return sharding.spread(self._mesh, np.asarray(self._images[rows]))

  def means(self, variables: Any) -> dict[str, float]:
    """Means of the loss and its parts over the images, {name: value}."""
    sums: dict[str, float] = {}
    for i, rows in enumerate(self._chunks()):
      share, key = len(set(rows)) / self._count, jax.random.fold_in(self._key, i)
      for name, value in self._metrics(variables, self._batch(rows), key).items():
        sums[name] = sums.get(name, 0.0) + float(value) * share
    return sums

  def rates(self, variables: Any) -> dict[str, float]:
    """Firing rates over one batch of the images, {layer: value}; {} of a model without spikes."""
    if not self._spikes:
      return {}
    rates = self._rates(variables, self._batch(self._chunks()[0]), self._key)
    return {layer: float(rate) for layer, rate in rates.items()}

  def pictures(self, variables: Any) -> dict[str, tuple[np.ndarray, int]]:
    """uint8 {name: (images, columns)}: test images above reconstructions; samples of the prior."""
    shown = min(self._count, 16)
    rows = np.arange(sharding.round_up(shown, self._mesh)) % self._count
    again = np.asarray(self._reconstruct(variables, self._batch(rows), self._key))
    images = np.concatenate([np.asarray(self._images[:shown]), again[:shown]])
    made = {'reconstructions': (images, shown)}
    if self._samples:
      samples = np.asarray(self._generate(variables, self._key))
      made['samples'] = samples[: self._samples], 8
    return made


def train_and_evaluate(
  config: ConfigDict, workdir: str | pathlib.Path
) -> tuple[bool, dict[str, float]]:
  """Trains `config` in `workdir`, going on from the newest checkpoint there.

  Leaves checkpoints/, metrics.jsonl, tensorboard/, pictures/, config.json and data.json. SIGINT
  (Ctrl-C), SIGTERM and SIGHUP, to any of the run's processes, save and return (in a thread that is
  not the main one, signals are left alone). All processes must see the same workdir.

  Returns:
    Whether all steps are done and no signal came, and the metrics of the last line of metrics.jsonl
    ({} if no step was left to do).

  Raises:
    ValueError, FileNotFoundError: for a configuration, data or a workdir that cannot be used;
      nothing is changed then.
    FloatingPointError: if a loss or gradient is not finite; names the step, earlier checkpoints
      stay.
    OSError: if the last save failed; says which checkpoints there are.
  """
  workdir = workdirs.check(workdir)
  fields.check_all(config)
  model = models.make(config.model)
  changed = workdirs.check_same(workdir, config.to_dict())
  batch_size = config.train.batch_size
  mesh = sharding.mesh_for(batch_size, config.train.micro_batches)
  size = config.model.image_size, config.model.channels
  train_images, test_images = (data.load(config.data, *size, split) for split in ('train', 'test'))
  identities = {'train': data.identity(train_images), 'test': data.identity(test_images)}
  workdirs.check_images(workdir, config, identities)
  train_images, held_out = data.hold_out(train_images, config.data.validation)
  per_epoch = data.steps_per_epoch(len(train_images), batch_size)
  total = config.train.steps or config.train.epochs * per_epoch
  optimizer = states.make_optimizer(config.train, total)
  with contextlib.ExitStack() as stack:
    stack.enter_context(workdirs.claim(workdir, config, identities))
    stack.enter_context(jax.set_mesh(mesh))
    checkpoints = checkpoint.Checkpoints(workdir, config.train.keep)
    stack.callback(checkpoints.close)
    init_key, train_key, test_key = jax.random.split(jax.random.key(config.seed), 3)
    state = jax.jit(
      lambda key: states.create(model.init(key), optimizer, config.train.ema_decay),
      out_shardings=sharding.replicated(mesh),
    )(init_key)
    state = checkpoints.restore(checkpoint.abstract(state)) or state
    start = int(state.step)
    log = progress.Progress(start, total, batch_size)
    stack.callback(log.close)
    console.say(
      parameter_overview.get_parameter_overview(state.variables['params'], include_stats=False)
    )
    console.say(
      f'{len(train_images)} training and {len(test_images)} test images; step {start} of {total}'
    )
    for name, (old, new) in changed.items():
      console.say(f'from here on with {name} {new!r}; it was {old!r}')
    out = writer.Writer(workdir if jax.process_index() == 0 else None, start)
    stack.callback(out.close)
    test = TestSet(model, mesh, config.test, test_images, test_key)
    validation = held_out and TestSet(model, mesh, config.test, held_out, test_key)
    share = jax.process_index(), jax.process_count()
    scalars = {}
    with signals.noted() as stop:
      step_fn = compile_step(
        functools.partial(train_step, model, optimizer, config, total),
        state,
        jax.ShapeDtypeStruct(
          (batch_size, *train_images.shape[1:]), np.uint8, sharding=sharding.split(mesh)
        ),
        train_key,
      )
      distributed.meet()
      for step, batch in enumerate(
        data.batches(train_images, batch_size, config.seed, start, total, *share), start + 1
      ):
        asked = sharding.any_process(mesh, stop.is_set())
        state, metrics = step_fn(state, sharding.global_batch(mesh, batch), train_key)
        log.add(step, metrics)  # waits for the step before, and so for what was asked
        stopping = bool(asked)
        last = step == total or stopping
        testing = step == total or _due(config.train.test_every, step)
        saving = last or _due(config.train.checkpoint_every, step)
        validated = {}
        if saving:
          log.check()
          if validation and not stopping:
            validated = validation.means(state.evaluated())
          checkpoints.save(step, state, validated.get('loss'))
        if last or testing or validated or _due(config.train.log_every, step):
          scalars = log.line() | {'peak_memory_gb': memory.peak_gb()}
          scalars |= _named('validation', validated)
          if testing:
            scalars |= _named('test', test.means(state.evaluated()))
            scalars |= _named('firing', test.rates(state.evaluated()))
            for name, (images, columns) in test.pictures(state.evaluated()).items():
              out.picture(step, name, images, columns)
          out.scalars(step, scalars)
          log.report(step, scalars)
        if testing or saving:
          log.restart_clock()
        if stopping:
          console.say(f'stopped at step {step} of {total}; the same command goes on from here')
          break
    console.say(f'pictures, metrics and checkpoints are in {workdir}')
    stopped = bool(sharding.any_process(mesh, stop.is_set()))
  return not stopped, scalars


def compile_step(
  function: Callable, state: Any, images_BHWC: jax.ShapeDtypeStruct, key: jax.Array
) -> Callable:
  """`function` for arguments like these; `state` is donated. Compilation's memory is given back."""
  step_fn = jax.jit(function, donate_argnums=0).lower(state, images_BHWC, key).compile()
  memory.trim()
  return step_fn


def _named(prefix, scalars):
  return {f'{prefix}/{name}': value for name, value in scalars.items()}


def _due(every, step):
  return every > 0 and step % every == 0

"""Training: the loop of steps, and the tests and saves on the way."""

import contextlib
import functools
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from clu import parameter_overview
from ml_collections import ConfigDict

from fsvae_jax import (
  assessment,
  configuration,
  data,
  fields,
  inference,
  models,
  training_step,
  warm_start,
)
from fsvae_jax.compute import checks
from fsvae_jax.inference import Trained
from fsvae_jax.models import Model
from fsvae_jax.run import (
  checkpoint,
  console,
  distributed,
  memory,
  processor,
  progress,
  sharding,
  signals,
  states,
  writer,
)
from fsvae_jax.run import workdir as workdirs
from fsvae_jax.training_step import Batch


class Prepared(NamedTuple):
  """What a training needs, checked.

  Attributes:
    identities: of both splits, as `data.identity` gives them.
    changed: {field: (before, now)} of those in which the run goes on otherwise.
    total: steps.
    start: arrays to begin with; {} if there are none.
  """

  workdir: pathlib.Path
  model: Model
  mesh: jax.sharding.Mesh
  train_images: data.Images
  held_out: data.Images | None
  test_images: data.Images
  identities: dict
  changed: dict
  total: int
  start: dict[str, Any]


def checked_model(config: ConfigDict) -> tuple[Model, Any]:
  """The model, and its variables' shapes; ValueError where `config.train` does not go with it."""
  try:
    model = models.make(config.model)
  except TypeError as error:  # a field of another model
    way = '; --config=NAME:ann has its fields' * (config.model.name == 'ann_vae')
    raise ValueError(f'config.model, of model.name {config.model.name}: {error}{way}') from error
  if config.train.get('energy_weight') and model.record is None:
    raise ValueError(
      f'train.energy_weight is {config.train.energy_weight}, but {config.model.name} has no '
      'spikes that could cost less: leave it at 0'
    )
  states.make_optimizer(config.train, total_steps=1)  # whose names are known before images are read
  variables = jax.eval_shape(model.init, jax.random.key(0))
  learning = [name for name, own in variables['params'].items() if own]
  for name in config.train.get('only', ()):
    checks.one_of('train.only', name, learning)
  if config.train.get('energy_weight') and set(config.train.get('only', ())) == {'prior'}:
    raise ValueError(
      f'train.energy_weight is {config.train.energy_weight}, but the prior, of train.only, has no '
      "part in a reconstruction's energy: leave it at 0"
    )
  return model, variables


def prepare(config: ConfigDict, workdir: str | pathlib.Path) -> Prepared:
  """Checks all that a training needs; changes nothing. Raises as `train_and_evaluate` does."""
  written = ('checkpoints', 'pictures', 'tensorboard', 'metrics.jsonl')
  workdir = workdirs.check_writable(workdir, written)
  fields.check_all(config)
  processor.warn_if_slow(config.model.get('dtype'))
  model, variables = checked_model(config)
  changed = workdirs.check_same(workdir, config.to_dict(), configuration.defaults().to_dict())
  begins = not workdirs.has_checkpoints(workdir)
  start = warm_start.begin(config, variables) if begins and config.train.get('start') else {}
  stay = ', '.join(warm_start.networks_that_stay(config, variables))
  if begins and stay and not start:
    logging.warning('train.only leaves %s as they begin: random, without a train.start', stay)
  batch_size = config.train.batch_size
  mesh = sharding.mesh_for(batch_size, config.train.micro_batches)
  size = config.model.image_size, config.model.channels
  train_images, test_images = (data.load(config.data, *size, split) for split in ('train', 'test'))
  for split, images in {'training': train_images, 'test': test_images}.items():
    data.check_labels(images, model.classes, split)
  sets = {'train': train_images, 'test': test_images}
  identities = {split: data.identity(own, model.classes > 0) for split, own in sets.items()}
  workdirs.check_images(workdir, config, identities)
  train_images, held_out = data.hold_out(train_images, config.data.validation)
  per_epoch = data.steps_per_epoch(len(train_images), batch_size)
  total = config.train.steps or config.train.epochs * per_epoch
  if total >= 2**31:
    raise ValueError(
      f'train.epochs is {config.train.epochs}, which are {total} steps; {2**31 - 1} are the most'
    )
  if config.train.warmup_steps >= total:
    logging.warning(
      'train.warmup_steps is %d, and there are %d steps: the learning rate never gets to %g',
      config.train.warmup_steps,
      total,
      config.train.learning_rate,
    )
  if most := config.test.images:
    first = lambda images: images and images.part(f'first-{most}', np.arange(len(images))[:most])
    test_images, held_out = first(test_images), first(held_out)
  return Prepared(
    workdir, model, mesh, train_images, held_out, test_images, identities, changed, total, start
  )


def train_and_evaluate(
  config: ConfigDict, workdir: str | pathlib.Path
) -> tuple[bool, dict[str, float]]:
  """Trains `config` in `workdir`, going on from the newest checkpoint there.

  Leaves checkpoints/, metrics.jsonl, tensorboard/, pictures/, config.json and data.json. SIGINT
  (Ctrl-C), SIGTERM and SIGHUP, to any of the run's processes, save and return (in a thread that is
  not the main one, signals are left alone). All processes must see the same workdir.

  Returns:
    Whether all steps are done and no signal came, and the metrics of the last line of metrics.jsonl
    ({} if it is there already).

  Raises:
    ValueError, FileNotFoundError: for a configuration, data or a workdir that cannot be used;
      nothing is changed then.
    FloatingPointError: if a loss or gradient is not finite; names the step, earlier checkpoints
      stay.
    OSError: if the last save failed; says which checkpoints there are.
  """
  run = prepare(config, workdir)
  optimizer = states.make_optimizer(config.train, run.total)
  with contextlib.ExitStack() as stack:
    stack.enter_context(workdirs.claim(run.workdir))
    stack.enter_context(jax.set_mesh(run.mesh))
    checkpoints = checkpoint.Checkpoints(run.workdir, config.train.keep)
    stack.callback(checkpoints.close)
    init_key, train_key, test_key = jax.random.split(jax.random.key(config.seed), 3)
    state = jax.jit(
      functools.partial(first_state, config, run.model, optimizer),
      out_shardings=sharding.replicated(run.mesh),
    )(init_key, run.start)
    state = checkpoints.restore(checkpoint.abstract(state)) or state
    if run.model.fit and state.step < run.total:
      state = unfitted(state)
    elif run.model.fit and not inference.is_fitted(state.evaluated()):
      raise ValueError(
        f'this training has {run.total} steps, but the run is at step {int(state.step)}, and '
        f'model.latent {config.model.latent!r} is fitted at the last one alone: train.steps must '
        f'be at least {int(state.step) + 1}'
      )
    workdirs.write_record(run.workdir, config, run.identities)
    log = progress.Progress(int(state.step), run.total, config.train.batch_size)
    stack.callback(log.close)
    say_start(run, state)
    out = writer.Writer(run.workdir if jax.process_index() == 0 else None, int(state.step))
    stack.callback(out.close)
    with signals.noted() as stop:
      step_fn = functools.partial(training_step.train_step, run.model, optimizer, config, run.total)
      keys = train_key, test_key
      scalars = loop(config, run, state, step_fn, keys, checkpoints, log, out, stop)
      checkpoints.close()  # no signal ends the last save
    console.say(f'pictures, metrics and checkpoints are in {run.workdir}')
    stopped = bool(sharding.any_process(run.mesh, stop.is_set()))
  return not stopped, scalars


def first_state(
  config: ConfigDict,
  model: Model,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  start: dict[str, Any],
) -> states.TrainState:
  """The state before the first step: random, but for the arrays of `start`."""
  variables = warm_start.put(model.init(key), start)
  only = tuple(config.train.get('only', ()))
  return states.create(variables, optimizer, config.train.ema_decay, only)


def say_classes(names: Sequence[str], labels: np.ndarray, classes: int) -> None:
  """Prints which label is which class, if they have names, and those that no image has."""
  if names:
    console.say('labels: ' + ', '.join(f'{i} {name}' for i, name in enumerate(names)))
  without = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
  if without:
    console.say(f'no training image is of class {", ".join(map(str, without))}')


def say_start(run: Prepared, state: states.TrainState) -> None:
  """Prints what is trained, and what differs from how the run began."""
  params = state.variables['params']
  if logging.level_info():
    console.say(parameter_overview.get_parameter_overview(params, include_stats=False))
  for name, own in params.items():
    if own:
      console.say(f'{name:9s} {parameter_overview.count_parameters(own):>12,} parameters')
  sets = f'{len(run.train_images)} training and {len(run.test_images)} test images'
  console.say(f'{sets}; step {int(state.step)} of {run.total}')
  if run.model.classes and run.train_images.labels is not None:
    say_classes(run.train_images.classes, run.train_images.labels, run.model.classes)
  if run.start:
    anew = ', '.join(warm_start.missing(state.variables, run.start))
    console.say('begins as train.start' + f'; anew: {anew}' * bool(anew))
  for name, (old, new) in run.changed.items():
    console.say(f'from here on with {name} {new!r}; it was {old!r}')


def loop(
  config: ConfigDict,
  run: Prepared,
  state: states.TrainState,
  step_fn: Callable,
  keys: tuple[jax.Array, jax.Array],
  checkpoints: checkpoint.Checkpoints,
  log: progress.Progress,
  out: writer.Writer,
  stop: threading.Event,
) -> dict[str, float]:
  """Takes the steps that are left, or those until `stop` is set, and does what is due between them:
  tests, saves, lines. Returns the last line's scalars."""
  (train_key, test_key), start, scalars = keys, int(state.step), {}
  if start >= run.total:  # nothing is left for which a step would be compiled
    return {} if has_line(run.workdir, start) else last_line(config, run, state, test_key, out)
  share = jax.process_index(), jax.process_count()
  batches = data.batches(
    run.train_images, config.train.batch_size, config.seed, start, run.total, *share
  )
  like = batch_like(run.train_images, config.train.batch_size, run.mesh)
  step_fn = compile_step(step_fn, state, like, train_key)
  distributed.meet()
  for step, batch in enumerate(batches, start + 1):
    asked = sharding.any_process(run.mesh, stop.is_set())
    batch = jax.tree.map(functools.partial(sharding.global_batch, run.mesh), batch)
    state, metrics = step_fn(state, batch, train_key)
    log.add(step, metrics)  # waits for the step before, and so for what was asked
    done, stopping = step == run.total, bool(asked)
    last = done or stopping
    testing = done or due(config.train.test_every, step)
    saving = last or due(config.train.checkpoint_every, step)
    validating = saving and run.held_out and (done or not stopping)
    reporting = last or testing or validating or due(config.train.log_every, step)
    if reporting:  # before what follows, which is no part of the speed
      scalars = log.line()
    elif saving:
      log.check()  # what is not finite is not saved
    if done and run.model.fit:
      state = fitted(config, run, state)
    trained = Trained(config, run.workdir, step, run.model, state.evaluated(), run.mesh)
    validated = assessment.test_scalars(trained, run.held_out, test_key) if validating else {}
    if saving:
      checkpoints.save(step, state, validated.get('loss'))
    if reporting:
      scalars |= {'peak_memory_gb': memory.peak_gb()} | assessment.named('validation', validated)
      if testing:
        scalars |= assessment.test(trained, run.test_images, test_key, out)
      out.scalars(step, scalars)
      log.report(step, scalars)
    if testing or saving:
      log.restart_clock()
    if stopping:
      console.say(f'stopped at step {step} of {run.total}; the same command goes on from here')
      break
  return scalars


def has_line(workdir: pathlib.Path, step: int) -> bool:
  """Whether metrics.jsonl has the line of a step."""
  rows = writer.read_metrics(workdir)
  return bool(sharding.from_first(any(row['step'] == step for row in rows)))


def last_line(
  config: ConfigDict,
  run: Prepared,
  state: states.TrainState,
  test_key: jax.Array,
  out: writer.Writer,
) -> dict[str, float]:
  """Tests, and writes the line, of a run that was killed after its last save and before this."""
  step = int(state.step)
  trained = Trained(config, run.workdir, step, run.model, state.evaluated(), run.mesh)
  scalars = assessment.test(trained, run.test_images, test_key, out)
  if run.held_out:
    scalars |= assessment.named(
      'validation', assessment.test_scalars(trained, run.held_out, test_key)
    )
  out.scalars(step, scalars)
  return scalars


def fitted(config: ConfigDict, run: Prepared, state: states.TrainState) -> states.TrainState:
  """The state with the statistics of the training images' latents, which `Model.fit` takes."""
  variables = state.evaluated()
  trained = Trained(config, run.workdir, int(state.step), run.model, variables, run.mesh)
  label_N = run.train_images.labels if run.model.classes else None
  assert run.model.fit
  found = run.model.fit(trained.encode(run.train_images, label=label_N), label_N)
  found = jax.device_put(sharding.from_first(found), sharding.replicated(run.mesh))
  into = lambda v: v and {**v, 'batch_stats': {**v['batch_stats'], **found}}
  return state.replace(variables=into(state.variables), ema=into(state.ema))


def unfitted(state: states.TrainState) -> states.TrainState:
  """The state as before the fit: a finished run that gets more steps has outgrown its own."""

  def blank(variables):
    statistics = {
      name: own if variables['params'][name] else jax.tree.map(jnp.zeros_like, own)
      for name, own in variables['batch_stats'].items()
    }
    return {**variables, 'batch_stats': statistics}

  return state.replace(variables=blank(state.variables), ema=state.ema and blank(state.ema))


def batch_like(images: data.Images, batch_size: int, mesh: jax.sharding.Mesh) -> Batch:
  """Shapes and types of the batches of `images`, split over the mesh."""
  of = lambda *shape, dtype: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding.split(mesh))
  batch = {'image': of(batch_size, *images.shape[1:], dtype=np.uint8)}
  return batch if images.labels is None else batch | {'label': of(batch_size, dtype=np.int32)}


def compile_step(function: Callable, state: Any, batch: Batch, key: jax.Array) -> Callable:
  """`function` for arguments like these; `state` is donated. Compilation's memory is given back."""
  step_fn = jax.jit(function, donate_argnums=0).lower(state, batch, key).compile()
  memory.trim()
  return step_fn


def due(every: int, step: int) -> bool:
  """Whether something is due at a step that is every `every` steps; 0 is never."""
  return every > 0 and step % every == 0

"""Training: a pure step, a pure test, and the loop around them."""

import contextlib
import functools
import pathlib
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview

from fsvae_jax import checkpoint, data, memory, models, progress, sharding, states, writer


def train_step(model, optimizer, config, total_steps, state, images_BHWC, key):
  """One optimiser step on a uint8 batch: (state, metrics). Pure; random by `key` and state.step."""
  flip_key, loss_key = jax.random.split(jax.random.fold_in(key, state.step))
  image_BHWC = data.normalize(images_BHWC)
  if config.data.flip:
    mirrored_B = jax.random.bernoulli(flip_key, 0.5, (len(image_BHWC), 1, 1, 1))
    image_BHWC = jnp.where(mirrored_B, image_BHWC[:, :, ::-1], image_BHWC)

  def loss_fn(params):
    variables = {**state.variables, 'params': params}
    return model.loss(variables, image_BHWC, loss_key, state.step / total_steps, train=True)

  params = state.variables['params']
  (_, (batch_stats, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
  updates, opt_state = optimizer.update(grads, state.opt_state, params)
  variables = {'params': optax.apply_updates(params, updates), 'batch_stats': batch_stats}
  ema = state.ema and optax.incremental_update(variables, state.ema, 1 - config.train.ema_decay)
  norms = {'gradient_norm': optax.global_norm(grads), 'update_norm': optax.global_norm(updates)}
  state = state.replace(step=state.step + 1, variables=variables, opt_state=opt_state, ema=ema)
  return state, metrics | norms


class TestSet:
  """A model on the test images, always with the same random draws."""

  def __init__(self, model, mesh, config, images, key):
    whole = sharding.replicated(mesh)
    count = min(config.images or len(images), len(images))
    self._mesh, self._key = mesh, key
    self._images = images[: count - count % mesh.size]  # what the devices can share evenly
    self._config = config

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
      return data.quantize(model.generate(variables, key, config.samples))

    self._metrics, self._rates, self._reconstruct, self._generate = (
      jax.jit(f, out_shardings=whole) for f in (metrics, rates, reconstruct, generate)
    )
    self._spikes, self._samples = model.record is not None, model.sample is not None

  def metrics(self, variables):
    """Means over the test images, {'test/...': value}, and one batch's rates, {'firing/...'}."""
    size = self._config.batch_size
    chunks = [self._images[i : i + size] for i in range(0, len(self._images), size)]
    sums = {}
    for i, chunk in enumerate(chunks):
      images, key = sharding.spread(self._mesh, chunk), jax.random.fold_in(self._key, i)
      share = len(chunk) / len(self._images)
      for name, value in self._metrics(variables, images, key).items():
        sums[f'test/{name}'] = sums.get(f'test/{name}', 0.0) + float(value) * share
    if self._spikes:
      rates = self._rates(variables, sharding.spread(self._mesh, chunks[0]), self._key)
      sums |= {f'firing/{layer}': float(rate) for layer, rate in rates.items()}
    return sums

  def pictures(self, variables):
    """uint8 {name: (images, columns)}: test images above reconstructions; samples of the prior."""
    devices = self._mesh.size
    shown = self._images[: max(devices, 16 - 16 % devices)]
    again = self._reconstruct(variables, sharding.spread(self._mesh, shown), self._key)
    made = {'reconstructions': (np.concatenate([shown, np.asarray(again)]), len(shown))}
    if self._samples:
      made['samples'] = np.asarray(self._generate(variables, self._key)), 8
    return made


def train_and_evaluate(config, workdir):
  """Trains `config` in `workdir`, going on from the newest checkpoint there.

  Leaves checkpoints/, metrics.jsonl, tensorboard/, pictures/ and config.json. SIGINT (Ctrl-C) and
  SIGTERM save and return.

  Returns:
    Whether all steps are done, and the metrics of the last line of metrics.jsonl ({} if no step was
    left to do).

  Raises:
    ValueError, FileNotFoundError: for a configuration, data or a workdir that cannot be used;
      nothing is changed then.
    FloatingPointError: if a loss or gradient is not finite; names the step, earlier checkpoints
      stay.
  """
  workdir = pathlib.Path(workdir)
  model = models.make(config.model)
  mesh = sharding.make_mesh()
  for name in ('train.batch_size', 'test.batch_size', 'test.samples'):
    sharding.check_batch(mesh, name, config[name])
  size = config.model.image_size, config.model.channels
  train_images, test_images = (data.load(config.data, *size, split) for split in ('train', 'test'))
  batch_size = config.train.batch_size
  per_epoch = data.steps_per_epoch(len(train_images), batch_size)
  total = config.train.steps or config.train.epochs * per_epoch
  optimizer = states.make_optimizer(config.train, total)
  if len(test_images) < mesh.size:
    raise ValueError(f'{len(test_images)} test images are too few for {mesh.size} devices')

  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      stack.enter_context(checkpoint.claim(workdir, config.to_dict()))
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
    log.say(
      parameter_overview.get_parameter_overview(state.variables['params'], include_stats=False)
    )
    log.say(
      f'{len(train_images)} training and {len(test_images)} test images; step {start} of {total}'
    )
    out = writer.Writer(workdir if jax.process_index() == 0 else None, start)
    stack.callback(out.close)
    test = TestSet(model, mesh, config.test, test_images, test_key)
    share = jax.process_index(), jax.process_count()
    scalars = {}
    with stop_requests() as stop:
      step_fn = compile_step(
        functools.partial(train_step, model, optimizer, config, total),
        state,
        jax.ShapeDtypeStruct(
          (batch_size, *train_images.shape[1:]), np.uint8, sharding=sharding.split(mesh)
        ),
        train_key,
      )
      for step, batch in enumerate(
        data.batches(train_images, batch_size, config.seed, start, total, *share), start + 1
      ):
        state, metrics = step_fn(state, sharding.global_batch(mesh, batch), train_key)
        log.add(step, metrics)
        stopping = stop.is_set()
        last = step == total or stopping
        testing = step == total or _due(config.train.test_every, step)
        saving = last or _due(config.train.checkpoint_every, step)
        if saving:
          log.check()
          checkpoints.save(step, state)
        if last or testing or _due(config.train.log_every, step):
          scalars = log.line() | {'peak_memory_gb': memory.peak_gb()}
          if testing:
            scalars |= test.metrics(state.evaluated())
            for name, (images, columns) in test.pictures(state.evaluated()).items():
              out.picture(step, name, images, columns)
          out.scalars(step, scalars)
          log.report(step, scalars)
        if testing or saving:
          log.restart_clock()
        if stopping:
          log.say(f'stopped at step {step} of {total}; the same command goes on from here')
          break
    log.say(f'pictures, metrics and checkpoints are in {workdir}')
  return not stop.is_set(), scalars


def compile_step(function, state, images_BHWC, key):
  """`function` for arguments like these; `state` is donated. Compilation's memory is given back."""
  step_fn = jax.jit(function, donate_argnums=0).lower(state, images_BHWC, key).compile()
  memory.trim()
  return step_fn


def _due(every, step):
  return every > 0 and step % every == 0


@contextlib.contextmanager
def stop_requests():
  """An event that the first SIGINT or SIGTERM sets; a second one acts as it always does."""
  stop = threading.Event()
  before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

  def restore():
    for number, handler in before.items():
      signal.signal(number, handler)

  def request(*_):
    stop.set()
    restore()

  for number in before:
    signal.signal(number, request)
  try:
    yield stop
  finally:
    restore()

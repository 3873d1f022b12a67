"""The only door to Orbax: numbered checkpoints of a pytree below `<workdir>/checkpoints`.

Saves run in the background and appear under their number only when complete.
"""

import contextlib
import fcntl
import json
import logging as py_logging
import os
import pathlib
import platform
import time

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

# Orbax reports each failure many times over; here it becomes one error or warning.
logging.get_absl_logger().addFilter(
  lambda record: 'orbax' not in record.pathname or record.levelno < py_logging.ERROR
)


class Checkpoints:
  """Numbered checkpoints: the newest `keep` stay, and the one of the smallest validation loss.

  Without `keep` they are read only, and `restore` may take a part of what a checkpoint holds. All
  processes of a run make the same calls; they must see the same folder.
  """

  def __init__(self, workdir, keep=None):
    self._directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._keep = keep
    self._running = None  # (step, response) of the save that may not be finished
    self._failed = None  # message, if the newest save failed
    self._open()

  def _open(self):
    policies = ocp.training.preservation_policies
    best = policies.BestN(
      get_metric_fn=lambda metrics: -metrics['loss'], n=1, keep_checkpoints_without_metrics=False
    )
    context = ocp.Context()
    context.pytree.loading.partial_load = self._keep is None
    self._checkpointer = ocp.training.Checkpointer(
      self._directory,
      context=context,
      preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self._keep), best]),
      cleanup_tmp_directories=self._keep is not None,
    )

  def save(self, step, state, loss=None):
    """Starts saving, with the validation loss if it is known.

    Returns as soon as `state` may be changed. What became of a save is known at the next one: if
    it failed, a warning says why, and training goes on; see `close`.
    """
    self._settle()
    if step in self.steps():
      return
    try:
      metrics = None if loss is None else {'loss': loss}
      response = self._checkpointer.save_async(step, state, force=True, metrics=metrics)
      self._running = step, response
    except Exception as error:
      self._fail(step, error)

  def _settle(self):
    """Waits for the save that runs."""
    if self._running:
      (step, response), self._running = self._running, None
      try:
        response.result()
        self._failed = None
      except Exception as error:
        self._fail(step, error)

  def _fail(self, step, error):
    """Keeps what there is, and clears away what the save has left."""
    reason = str(error).split(' [source locations')[0]
    self._failed = (
      f'checkpoint {step} could not be saved in {self._directory}: {reason}. There are '
      f'{[s for s in self.steps() if s != step]}'
    )
    if jax.process_count() > 1:  # the others wait for this save
      raise OSError(self._failed) from error
    logging.warning('%s; training goes on', self._failed)
    with contextlib.suppress(Exception):
      self._checkpointer.close()  # raises the failure again
    self._open()

  def restore(self, like, step=None):
    """The newest checkpoint that can be read, with `like`'s shapes and shardings; None if none is.

    One that cannot be read is put aside as `<step>.unreadable`, and the one before is taken.

    Args:
      like: pytree of shapes, types and shardings.
      step: the number of the checkpoint to take instead of the newest, or 'best'.

    Raises:
      ValueError: if a checkpoint is whole but holds other arrays than `like`, naming them, if there
        are checkpoints and none can be read, or if there is none of this number.
    """
    step = self.best() if step == 'best' else step
    steps = sorted(self.steps(), reverse=True)
    if step is not None and step not in steps:
      raise ValueError(f'no checkpoint {step} in {self._directory}; there are {steps[::-1]}')
    steps = steps if step is None else [step]
    for step in steps:
      try:
        saved = self._checkpointer.metadata(step).metadata
        if not jax.tree.leaves(saved):
          raise ValueError('its metadata are empty')
        saved = saved if self._keep else {name: saved.get(name, {}) for name in like}
        differing = _differing(saved, like)
        if not differing:
          return self._checkpointer.load(step, like)
      except Exception as error:  # a damaged file raises whatever its format's reader raises
        self._put_aside(step, error)
        continue
      raise ValueError(
        f'checkpoint {step} in {self._directory} holds another state than the configured one; take '
        f'another --workdir, or the fields of its config.json:\n  {differing}'
      )
    if steps:
      raise ValueError(f'no checkpoint in {self._directory} can be read; take another --workdir')
    return None

  def steps(self):
    """Numbers of the checkpoints that are there."""
    return [saved.step for saved in self._checkpointer.checkpoints]

  def best(self):
    """Number of the checkpoint with the smallest validation loss; ValueError if none has one."""
    losses = {c.metrics['loss']: c.step for c in self._checkpointer.checkpoints if c.metrics}
    if not losses:
      raise ValueError(
        f'no checkpoint in {self._directory} has a validation loss: train with data.validation, or '
        'name a step'
      )
    return losses[min(losses)]

  def _put_aside(self, step, error):
    if self._keep is None:
      logging.warning('checkpoint %s/%s cannot be read: %s', self._directory, step, error)
      return
    self._checkpointer.close()
    path = self._directory / str(step)
    taken = len(list(self._directory.glob(f'{step}.unreadable*')))
    aside = self._directory / f'{step}.unreadable{taken or ""}'
    if jax.process_index() == 0:
      path.rename(aside)
      logging.warning('checkpoint %s cannot be read, it is now %s: %s', path, aside, error)
    self._open()

  def close(self):
    """Waits for the last save; raises OSError, saying what is there, if it failed."""
    self._settle()
    self._checkpointer.close()
    if self._failed:
      raise OSError(f'{self._failed}; the same command goes on from the newest')


def _shapes(tree):
  """{name: shape} of a pytree's leaves."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
  return {name(path): tuple(leaf.shape) for path, leaf in leaves}


def _differing(saved, like):
  """What a saved tree has that `like` has not, and the other way round; '' if they agree."""
  saved, like = _shapes(saved), _shapes(like)
  names = sorted(name for name in saved | like if saved.get(name) != like.get(name))
  lines = [f'{name}: {saved.get(name)} there, {like.get(name)} now' for name in names[:10]]
  return '\n  '.join(lines + [f'and {len(names) - 10} more'] * (len(names) > 10))


def abstract(state):
  """Shapes, types and shardings of a pytree of arrays."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def check_same(workdir, config):
  """Raises ValueError if `<workdir>/config.json` is of another model or data set than `config`.

  It names the fields that differ.
  """
  path = pathlib.Path(workdir) / 'config.json'
  if not path.exists():
    return
  old, new = (_identity(c) for c in (json.loads(path.read_text()), json.loads(json.dumps(config))))
  differing = [
    f'{field}: {old.get(field)} there, {new.get(field)} now'
    for field in sorted(old | new)
    if old.get(field) != new.get(field)
  ]
  if differing:
    raise ValueError(
      f'{workdir} holds a run of another model; take another --workdir, or these fields as '
      'they were:\n  ' + '\n  '.join(differing)
    )


def _identity(config):
  fields = {f'model.{field}': value for field, value in config['model'].items()}
  return fields | {'data.name': config['data']['name']}


@contextlib.contextmanager
def claim(workdir, config):
  """Holds `workdir` for this run, with `config` (a dict) in its config.json; all processes call it.

  Raises:
    ValueError: as `check_same` does, if another run holds it, or if the processes of this one do
      not see the same folder; nothing is changed then.
  """
  check_same(workdir, config)
  workdir = pathlib.Path(workdir)
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      workdir.mkdir(parents=True, exist_ok=True)
      stack.enter_context(_lock(workdir / '.lock'))
      partial = workdir / 'config.json.partial'
      partial.write_text(json.dumps(config, indent=2) + '\n')
      partial.replace(workdir / 'config.json')
    if jax.process_count() > 1:
      _check_shared(workdir / '.lock')
    yield


@contextlib.contextmanager
def _lock(path):
  with path.open('a+') as lock:  # the system lets go of it if the process dies
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise ValueError(
        f'{path.parent} is in use by process {lock.read() or "?"}: wait for it, or take another '
        '--workdir'
      ) from None
    lock.truncate(0)
    print(f'{os.getpid()} of {platform.node()}', end='', file=lock, flush=True)
    os.fsync(lock.fileno())
    yield


def _check_shared(path, patience=10):
  """That this process reads at `path` what process 0 has written there; it may take seconds."""
  pid = multihost_utils.broadcast_one_to_all(np.int32(os.getpid())).item()
  deadline = time.monotonic() + patience
  while not (path.exists() and path.read_text().startswith(f'{pid} of ')):
    if time.monotonic() > deadline:
      raise ValueError(
        f'{path.parent} is not the folder that process 0 sees there: --workdir must be on storage '
        'that all processes share'
      )
    time.sleep(0.2)

"""The only door to Orbax: numbered checkpoints of a pytree below `<workdir>/checkpoints`.

Saves run in the background and appear under their number only when complete.
"""

import contextlib
import logging as py_logging
import pathlib
import re
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp


class Checkpoints:
  """Numbered checkpoints: the newest `keep` stay, and the one of the smallest validation loss.

  Without `keep` they are read only, and `restore` may take a part of what a checkpoint holds. All
  processes of a run make the same calls; they must see the same folder.
  """

  def __init__(self, workdir: str | pathlib.Path, keep: int | None = None) -> None:
    self._directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._keep = keep
    # (step, response) of the save that may not be finished
    self._running: tuple[int, Any] | None = None
    self._failed: str | None = None  # message, if the newest save failed
    self._closed = False
    logging.get_absl_logger().addFilter(_not_of_orbax)
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

  def save(self, step: int, state: Any, loss: float | None = None) -> None:
    """Starts saving, with the validation loss if it is known.

    Returns as soon as `state` may be changed. What became of a save is known at the next one: if
    it failed, a warning says why, and training goes on; see `close`.
    """
    self._settle()
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
    """Notes the failure, and opens the folder anew, which clears away what the save has left."""
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

  def restore(self, like: Any, step: int | str | None = None) -> Any:
    """The newest checkpoint that can be read, with `like`'s shapes and shardings; None if none is.

    Where a newer one cannot be read and this one can, the newer one is damaged: it is put aside as
    `<step>.unreadable`. All processes restore the same checkpoint.

    Args:
      like: pytree of shapes, types and shardings.
      step: the number of the checkpoint to take instead of the newest, or 'best'.

    Raises:
      ValueError: if a checkpoint is whole but holds other arrays than `like`, naming them, if there
        are checkpoints and none can be read, or if there is none of this number.
      OSError, MemoryError: if reading failed for a reason that is not the checkpoint's own.
    """
    step = self.best() if step == 'best' else step
    steps = sorted(self.steps(), reverse=True)
    if step is not None and step not in steps:
      raise ValueError(f'no checkpoint {step} in {self._directory}; there are {steps[::-1]}')
    unreadable: dict[int, Exception] = {}
    for candidate in steps if step is None else [step]:
      state, error = self._read(candidate, like)
      if error is None:
        self._put_aside(unreadable)
        return state
      unreadable[candidate] = error
    if unreadable:
      reasons = '\n  '.join(f'{step}: {_first_line(error)}' for step, error in unreadable.items())
      raise ValueError(
        f'no checkpoint in {self._directory} can be read, and none was touched; if they are '
        f'damaged, remove them, or take another --workdir:\n  {reasons}'
      )
    return None

  def _read(self, step, like):
    """(state, None), or (None, error) of a checkpoint that may be damaged."""
    state = error = None
    try:
      saved = self._checkpointer.metadata(step).metadata
      if not jax.tree.leaves(saved):
        _open_all(self._directory / str(step))
        raise ValueError('its metadata are empty')
      saved = saved if self._keep else {name: saved.get(name, {}) for name in like}
      differing = _differing(saved, like)
      if not differing:
        state = self._checkpointer.load(step, like)
    except Exception as caught:  # a damaged file raises whatever its format's reader raises
      if not _may_be_damage(caught):
        raise
      _open_all(self._directory / str(step))
      error, differing = caught, ''
    if differing:
      raise ValueError(
        f'checkpoint {step} in {self._directory} holds another state than the configured one; take '
        f'another --workdir, or the fields of its config.json:\n  {differing}'
      )
    if jax.process_count() > 1 and not multihost_utils.process_allgather(error is None).all():
      return None, error or ValueError('another process cannot read it')
    return state, error

  def steps(self) -> list[int]:
    """Numbers of the checkpoints that are there."""
    return [saved.step for saved in self._checkpointer.checkpoints]

  def best(self) -> int:
    """Number of the checkpoint with the smallest validation loss; ValueError if none has one."""
    losses = {c.metrics['loss']: c.step for c in self._checkpointer.checkpoints if c.metrics}
    if not losses:
      raise ValueError(
        f'no checkpoint in {self._directory} has a validation loss: train with data.validation, or '
        'name a step'
      )
    return losses[min(losses)]

  def _put_aside(self, unreadable):
    """Renames checkpoints {step: error}, if there are any; of a reader, only says it."""
    if not unreadable:
      return
    if self._keep:
      self._checkpointer.close()
    for step, error in unreadable.items():
      path = self._directory / str(step)
      said = f'checkpoint {path} cannot be read'
      if self._keep and jax.process_index() == 0:
        taken = len(list(self._directory.glob(f'{step}.unreadable*')))
        path.rename(path.with_name(f'{step}.unreadable{taken or ""}'))
        said += f', it is now {step}.unreadable{taken or ""}'
      logging.warning('%s: %s', said, _first_line(error))
    if self._keep:
      self._open()

  def close(self) -> None:
    """Waits for the last save; raises OSError, saying what is there, if it failed."""
    if self._closed:
      return
    self._closed = True
    self._settle()
    self._checkpointer.close()
    logging.get_absl_logger().removeFilter(_not_of_orbax)
    if self._failed:
      raise OSError(f'{self._failed}; the same command goes on from the newest')


def _not_of_orbax(record):
  """Orbax reports each failure many times over; here it becomes one error or warning."""
  return 'orbax' not in record.pathname or record.levelno < py_logging.ERROR


def _may_be_damage(error):
  """Whether a failure to read may be the checkpoint's fault: not memory, rights, or the storage."""
  while error:
    if isinstance(error, MemoryError) or re.search(NOT_DAMAGE, str(error)):
      return False
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
      return False
    error = error.__cause__ or error.__context__
  return True


NOT_DAMAGE = (
  'RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAVAILABLE|DEADLINE_EXCEEDED|OS error|[Oo]ut of memory'
)


def _open_all(folder):
  """Raises OSError if the system cannot read the files of a checkpoint."""
  for path in folder.rglob('*'):
    if path.is_file():
      with path.open('rb') as file:
        file.read(1)


def _first_line(error):
  return f'{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ""}'


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


def abstract(state: Any) -> Any:
  """Shapes, types and shardings of a pytree of arrays."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)

"""The only door to Orbax: numbered checkpoints of a pytree below `<workdir>/checkpoints`.

Saves run in the background and appear under their number only when complete.
"""

import contextlib
import fcntl
import json
import os
import pathlib

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp


class Checkpoints:
  """Numbered checkpoints; the newest `keep` stay. Without `keep`, nothing there is changed."""

  def __init__(self, workdir, keep=None):
    self._directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._keep = keep
    self._open()

  def _open(self):
    self._checkpointer = ocp.training.Checkpointer(
      self._directory,
      preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
      cleanup_tmp_directories=self._keep is not None,
    )

  def save(self, step, state):
    """Starts saving; returns as soon as `state` may be changed."""
    if step not in self.steps():
      self._checkpointer.save_async(step, state, force=True)

  def restore(self, like, step=None):
    """The newest checkpoint that can be read, with `like`'s shapes and shardings; None if none is.

    One that cannot be read is put aside as `<step>.unreadable`, and the one before is taken.

    Args:
      like: pytree of shapes, types and shardings.
      step: the number of the checkpoint to take instead of the newest.

    Raises:
      ValueError: if a checkpoint is whole but holds other arrays than `like`, naming them, if there
        are checkpoints and none can be read, or if there is none of this number.
    """
    steps = sorted(self.steps(), reverse=True)
    if step is not None and step not in steps:
      raise ValueError(f'no checkpoint {step} in {self._directory}; there are {steps[::-1]}')
    steps = steps if step is None else [step]
    for step in steps:
      try:
        saved = self._checkpointer.metadata(step).metadata
        if not jax.tree.leaves(saved):
          raise ValueError('its metadata are empty')
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

  def _put_aside(self, step, error):
    if self._keep is None:
      logging.warning('checkpoint %s/%s cannot be read: %s', self._directory, step, error)
      return
    self.close()
    path = self._directory / str(step)
    taken = len(list(self._directory.glob(f'{step}.unreadable*')))
    aside = path.rename(self._directory / f'{step}.unreadable{taken or ""}')
    logging.warning('checkpoint %s cannot be read, it is now %s: %s', path, aside, error)
    self._open()

  def close(self):
    """Waits for the last save."""
    self._checkpointer.close()


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
  """Holds `workdir` for this run, with `config` (a dict) in its config.json.

  Raises:
    ValueError: as `check_same` does, or if another process holds it; nothing is changed then.
  """
  check_same(workdir, config)
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  with (workdir / '.lock').open('a+') as lock:  # the system lets go of it if the process dies
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise ValueError(
        f'{workdir} is in use by process {lock.read() or "?"}: wait for it, or take another '
        '--workdir'
      ) from None
    lock.truncate(0)
    print(os.getpid(), end='', file=lock, flush=True)
    partial = workdir / 'config.json.partial'
    partial.write_text(json.dumps(config, indent=2) + '\n')
    partial.replace(workdir / 'config.json')
    yield

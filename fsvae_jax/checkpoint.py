"""The only door to Orbax: numbered checkpoints of a pytree below `<workdir>/checkpoints`.

Saves run in the background and appear under their number only when complete.
"""

import json
import pathlib

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp


class Checkpoints:
  """Numbered checkpoints; the newest `keep` stay."""

  def __init__(self, workdir, keep):
    self._directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._keep = keep
    self._open()

  def _open(self):
    self._checkpointer = ocp.training.Checkpointer(
      self._directory,
      preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
      cleanup_tmp_directories=True,
    )

  def save(self, step, state):
    """Starts saving; returns as soon as `state` may be changed."""
    if all(saved.step != step for saved in self._checkpointer.checkpoints):
      self._checkpointer.save_async(step, state, force=True)

  def restore(self, like):
    """The newest checkpoint that can be read, with `like`'s shapes and shardings, or None.

    One that cannot be read is put aside as `<step>.unreadable`, and the one before is taken.
    """
    for saved in sorted(self._checkpointer.checkpoints, key=lambda saved: -saved.step):
      try:
        return self._checkpointer.load(saved.step, like)
      except Exception as error:  # a damaged file raises whatever its format's reader raises
        self._put_aside(pathlib.Path(saved.path), error)
    return None

  def _put_aside(self, path, error):
    self.close()
    aside = path.rename(path.with_name(f'{path.name}.unreadable'))
    logging.warning('checkpoint %s cannot be read, it is now %s: %s', path, aside, error)
    self._open()

  def close(self):
    """Waits for the last save."""
    self._checkpointer.close()


def abstract(state):
  """Shapes, types and shardings of a pytree of arrays."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def claim(workdir, config):
  """Keeps `config` (a dict) in `<workdir>/config.json`; one of another model may not be there.

  Raises:
    ValueError: naming the fields of `config['model']` that differ from the existing run's.
  """
  path = pathlib.Path(workdir) / 'config.json'
  new = json.loads(json.dumps(config))
  if path.exists():
    old = json.loads(path.read_text())
    fields = sorted(old['model'].keys() | new['model'].keys())
    differing = [
      f'model.{field}: {old["model"].get(field)} there, {new["model"].get(field)} now'
      for field in fields
      if old['model'].get(field) != new['model'].get(field)
    ]
    if differing:
      raise ValueError(
        f'{workdir} holds a run of another model; take another --workdir, or these fields as '
        'they were:\n  ' + '\n  '.join(differing)
      )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(new, indent=2) + '\n')

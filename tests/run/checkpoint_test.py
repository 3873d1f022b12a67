"""Checkpoints of a small tree: what is damaged gives way, what is not is left alone."""

import contextlib
import errno

import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.run import checkpoint

STATE = {'step': jnp.int32(0), 'weights': jnp.arange(2000.0)}
LIKE = checkpoint.abstract(STATE)


def state(step):
  return {'step': jnp.int32(step), 'weights': STATE['weights'] + step}


@pytest.fixture
def workdir(tmp_path):
  """A folder with checkpoints 2 and 4."""
  with contextlib.closing(checkpoint.Checkpoints(tmp_path, keep=3)) as checkpoints:
    for step in (2, 4):
      checkpoints.save(step, state(step))
  return tmp_path


def names(workdir):
  return sorted(path.name for path in (workdir / 'checkpoints').iterdir())


def restore(workdir, **kwargs):
  with contextlib.closing(checkpoint.Checkpoints(workdir, keep=3)) as checkpoints:
    return checkpoints.restore(LIKE, **kwargs)


def damage(path, kind):
  content = path.read_bytes()
  if kind == 'gone':
    path.unlink()
  else:
    half = content[: len(content) // 2]
    path.write_bytes({'half': half, 'empty': b'', 'zeros': bytes(len(content))}[kind])


FILES = ['state/_METADATA', 'state/manifest.ocdbt', 'state/d/*', 'state/ocdbt.process_0/d/*']


@pytest.mark.parametrize('kind', ['half', 'empty', 'zeros', 'gone'])
@pytest.mark.parametrize('file', FILES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(workdir, file, kind, caplog):
  for path in (workdir / 'checkpoints' / '4').glob(file):
    damage(path, kind)
  restored = restore(workdir)
  assert int(restored['step']) == 2
  np.testing.assert_array_equal(restored['weights'], state(2)['weights'])
  assert names(workdir) == ['2', '4.unreadable'] and '4 cannot be read' in caplog.text


@pytest.mark.parametrize(
  'error',
  [
    MemoryError('cannot allocate'),
    OSError(errno.EIO, 'Input/output error'),
    OSError(errno.ESTALE, 'Stale file handle'),
    PermissionError(errno.EACCES, 'Permission denied'),
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes'),
    ValueError('PERMISSION_DENIED: Error opening file'),
    KeyError('no handler', OSError(errno.EMFILE, 'Too many open files')),
  ],
  ids=repr,
)
def test_a_failure_that_is_not_the_checkpoints_own_changes_nothing(workdir, monkeypatch, error):
  def load(self, step, like):
    if isinstance(error, KeyError):
      raise KeyError(error.args[0]) from error.args[1]  # as Orbax wraps what it caught
    raise error

  monkeypatch.setattr(checkpoint.ocp.training.Checkpointer, 'load', load)
  with pytest.raises(type(error)):
    restore(workdir)
  assert names(workdir) == ['2', '4']


def test_where_none_can_be_read_none_is_touched_and_nothing_begins_anew(workdir, monkeypatch):
  def load(self, step, like):
    raise RuntimeError('something of the library')

  monkeypatch.setattr(checkpoint.ocp.training.Checkpointer, 'load', load)
  for _ in range(3):
    with pytest.raises(ValueError, match='(?s)can be read, and none was touched.*4: RuntimeError'):
      restore(workdir)
    assert names(workdir) == ['2', '4']


def test_a_step_that_was_asked_for_is_not_put_aside(workdir):
  damage(workdir / 'checkpoints' / '4' / 'state' / '_METADATA', 'half')
  with pytest.raises(ValueError, match='none was touched'):
    restore(workdir, step=4)
  assert int(restore(workdir, step=2)['step']) == 2 and names(workdir) == ['2', '4']


def test_a_reader_renames_nothing(workdir, caplog):
  damage(workdir / 'checkpoints' / '4' / 'state' / '_METADATA', 'half')
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:
    assert int(checkpoints.restore(LIKE)['step']) == 2
  assert names(workdir) == ['2', '4'] and '4 cannot be read' in caplog.text


@pytest.mark.parametrize(
  'name', ['a b', 'µ-run', 'lr=1e-3', 'a{1}', 'a#b', '50%20', "it's", '(x)', 'a,b;c', '$x&y', '~a']
)
def test_folders_of_any_other_name_can_be_read_again(tmp_path, name):
  with contextlib.closing(checkpoint.Checkpoints(tmp_path / name, keep=1)) as checkpoints:
    checkpoints.save(1, state(1))
  assert int(restore(tmp_path / name)['step']) == 1


def test_importing_changes_nobodys_logging(tmp_path):
  from absl import logging

  before = list(logging.get_absl_logger().filters)
  restore(tmp_path)
  assert logging.get_absl_logger().filters == before == []


FULL = OSError(errno.ENOSPC, 'No space left on device')


def test_a_save_without_room_is_warned_of_and_the_next_one_tries_again(
  tmp_path, monkeypatch, caplog
):
  with contextlib.closing(checkpoint.Checkpoints(tmp_path, keep=3)) as checkpoints:
    checkpoints.save(2, state(2))
    with monkeypatch.context() as patch:
      patch.setattr(checkpoint.ocp.training.Checkpointer, 'save_async', fails)
      checkpoints.save(4, state(4))
    assert 'checkpoint 4 could not be saved' in caplog.text and 'There are [2]' in caplog.text
    checkpoints.save(6, state(6))
  assert names(tmp_path) == ['2', '6'] and int(restore(tmp_path)['step']) == 6


def test_a_last_save_without_room_is_an_error_that_says_what_there_is(tmp_path, monkeypatch):
  checkpoints = checkpoint.Checkpoints(tmp_path, keep=3)
  checkpoints.save(2, state(2))
  checkpoints._settle()
  with monkeypatch.context() as patch:
    patch.setattr(checkpoint.ocp.training.Checkpointer, 'save_async', fails)
    checkpoints.save(4, state(4))
  with pytest.raises(
    OSError, match=r'checkpoint 4 .*No space left.* There are \[2\]; the same comm'
  ):
    checkpoints.close()
  checkpoints.close()  # which has nothing more to say
  assert int(restore(tmp_path)['step']) == 2


def fails(*_, **__):
  raise FULL

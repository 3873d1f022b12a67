"""Files are written whole, locked, and named as people name them."""

import errno
import fcntl
import json
import multiprocessing
import pathlib
import subprocess
import sys
import time

import filelock
import pytest

from fsvae_jax.run import files


def test_a_file_is_whole_or_as_it_was(tmp_path):
  path = tmp_path / 'a.json'
  files.write_text(path, 'one')
  with pytest.raises(RuntimeError), files.replacing(path) as partial:
    partial.write_text('tw')
    raise RuntimeError
  assert path.read_text() == 'one'
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('there', [True, False])
def test_a_folder_is_whole_or_as_it_was(tmp_path, monkeypatch, there):
  folder = tmp_path / 'export' / 'nir'
  if there:
    folder.mkdir(parents=True)
    (folder / 'a').touch()
  rename = pathlib.Path.rename

  def interrupted(path, target):
    if path.name == 'made':
      raise KeyboardInterrupt
    return rename(path, target)

  monkeypatch.setattr(pathlib.Path, 'rename', interrupted)
  with pytest.raises(KeyboardInterrupt), files.replacing_folder(folder) as made:
    (made / 'b').touch()
  assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['a'] * there
  monkeypatch.undo()
  with files.replacing_folder(folder) as made:
    (made / 'b').touch()
  assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['b']


def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(tmp_path):
  code = (
    'import os, pathlib, signal, sys; from fsvae_jax.run import files\n'
    'with files.replacing(pathlib.Path(sys.argv[1])) as partial:\n'
    '  partial.write_text("half"); os.kill(os.getpid(), signal.SIGKILL)'
  )
  path = tmp_path / 'a[1].json'
  subprocess.run([sys.executable, '-c', code, path])
  assert len(list(tmp_path.iterdir())) == 1
  with files.replacing(path) as mine:
    mine.write_text('three')
    assert list(tmp_path.iterdir()) == [mine]
    files.write_text(path, 'two')
    assert mine.exists() and path.read_text() == 'two'
  assert list(tmp_path.iterdir()) == [path] and path.read_text() == 'three'


def test_json_stays_json():
  value = {'a': [1.0, float('inf'), {'b': float('nan')}], 'c': None}
  assert json.loads(files.to_json(value)) == {'a': [1.0, None, {'b': None}], 'c': None}


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(pathlib.Path, 'write_bytes', full)
  with pytest.raises(OSError, match='No space left on device: .*x.json'):
    files.write_text(tmp_path / 'x.json', '{}')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', [b'', b'\0' * 40, b'{"a": ', b'\xff\xfe'])
def test_a_damaged_file_is_named(tmp_path, content):
  (tmp_path / 'x.json').write_bytes(content)
  with pytest.raises(ValueError, match='x.json is damaged'):
    files.read_json(tmp_path / 'x.json')
  assert files.read_json(tmp_path / 'absent.json') == {}


@pytest.mark.parametrize('address', ['gs://bucket/run', 's3://b', 'gs:/bucket', 'https://a/b'])
def test_addresses_are_refused_in_words(address):
  with pytest.raises(ValueError, match=f'--workdir is {address}.*mount the storage'):
    files.expand(address, '--workdir')


def test_the_home_folder_is_found_or_asked_for(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert files.expand('~/x', 'data.path') == tmp_path / 'x'

  def nobody(path):
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(pathlib.Path, 'expanduser', nobody)
  with pytest.raises(ValueError, match='data.cache_dir is ~/x, and there is no home folder'):
    files.expand('~/x', 'data.cache_dir')


def hold(path, began, ended):
  with files.locked(path):
    began.set()
    time.sleep(0.5)
    ended.set()


def test_a_lock_is_waited_for_or_refused(tmp_path):
  spawn = multiprocessing.get_context('spawn')
  began, ended = spawn.Event(), spawn.Event()
  holder = spawn.Process(target=hold, args=(tmp_path / 'lock', began, ended))
  holder.start()
  assert began.wait(60)
  with (
    pytest.raises(BlockingIOError, match='held by another'),
    files.locked(tmp_path / 'lock', wait=False),
  ):
    pass
  with files.locked(tmp_path / 'lock'):
    assert ended.is_set()
  holder.join()


@pytest.mark.parametrize(
  'error', [OSError(errno.ENOLCK, 'No locks available'), NotImplementedError('no flock')]
)
def test_storage_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog, error):
  def acquire(*_, **__):
    raise error

  monkeypatch.setattr(filelock.FileLock, 'acquire', acquire)
  with files.locked(tmp_path / 'lock'):
    pass
  assert 'cannot be locked' in caplog.text and 'do not start two runs' in caplog.text


def test_where_the_system_has_no_locks_no_marker_takes_their_place(tmp_path, monkeypatch, caplog):
  def flock(*_):
    raise OSError(errno.ENOSYS, 'Function not implemented')

  monkeypatch.setattr(fcntl, 'flock', flock)
  with files.locked(tmp_path / 'lock'), files.locked(tmp_path / 'lock', wait=False):
    pass  # a marker of a process that died on another machine would be waited for without end
  assert caplog.text.count('cannot be locked') == 2

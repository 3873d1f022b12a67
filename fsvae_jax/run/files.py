"""Files that runs and caches consist of: one way to name them, to write them, to lock them."""

import contextlib
import glob
import itertools
import json
import math
import os
import pathlib
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import filelock
from absl import logging

FOREIGN_SECONDS = 24 * 3600  # after that, an unfinished file of another machine is a leftover
NOTICE_SECONDS = 2  # of waiting for a lock, before it is said
_count = itertools.count()


def expand(path: str | pathlib.Path, field: str) -> pathlib.Path:
  """A path that somebody has given, with `~` replaced by the home folder.

  Args:
    path: text or path.
    field: the flag or field that it comes from, for messages.

  Raises:
    ValueError: for an address such as gs://bucket/run, and where there is no home folder.
  """
  if re.match(r'[A-Za-z][A-Za-z0-9+.-]*:/', str(path)):
    raise ValueError(
      f'{field} is {path}: only folders can be read and written; mount the storage (gcsfuse, '
      's3fs; launch/tpu_pod.sh does it) and name the folder'
    )
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(f'{field} is {path}, and there is no home folder: name another one') from error


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary path beside `path` that becomes `path` at the end, whole; on an error it goes.

  What killed processes have left of earlier attempts goes as well.
  """
  for leftover in path.parent.glob(f'.{glob.escape(path.name)}.*.partial'):
    if _abandoned(leftover):
      leftover.unlink(missing_ok=True)
  partial = path.with_name(f'.{path.name}.{platform.node()}-{os.getpid()}-{next(_count)}.partial')
  try:
    yield partial
    with partial.open('rb') as written:
      os.fsync(written.fileno())  # else the name could outlive a power cut, and the bytes not
    partial.replace(path)
  except OSError as error:
    error.filename = error.filename or str(path)  # a full disk does not name it
    raise
  finally:
    partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """An empty folder that becomes `path` at the end; on an error, what was there stays."""
  with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parents[1]) as temporary:
    made, before = pathlib.Path(temporary, 'made'), pathlib.Path(temporary, 'before')
    made.mkdir()
    yield made
    path.parent.mkdir(exist_ok=True)
    try:
      if path.exists():
        path.rename(before)
      made.rename(path)
    except BaseException:
      if before.exists() and not path.exists():
        before.rename(path)
      raise


def _abandoned(partial):
  host, pid, _ = partial.name.removesuffix('.partial').rsplit('-', 2)
  if not host.endswith(f'.{platform.node()}'):
    with contextlib.suppress(FileNotFoundError):
      return time.time() - partial.stat().st_mtime > FOREIGN_SECONDS
    return False
  try:
    os.kill(int(pid), 0)
  except OSError as error:  # PermissionError: it lives, as another user's
    return isinstance(error, ProcessLookupError)
  return False


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Writes a whole file, or leaves what was there."""
  with replacing(path) as partial:
    partial.write_bytes(content)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a whole UTF-8 file, or leaves what was there."""
  write_bytes(path, text.encode('utf-8', 'backslashreplace'))  # names of files need not be UTF-8


def to_json(value: Any, indent: int | None = None) -> str:
  """JSON, in which a number that is not finite is null."""
  return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value):
  if isinstance(value, dict):
    return {name: _finite(v) for name, v in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(v) for v in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: pathlib.Path) -> dict:
  """The object in a JSON file; {} if it is not there.

  Raises:
    ValueError: naming the file, if it is damaged.
  """
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(value, dict):
      raise ValueError(f'it holds a {type(value).__name__}, not an object')
    return value
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise ValueError(f'{path} is damaged ({error})') from error


@contextlib.contextmanager
def locked(path: pathlib.Path, wait: bool = True) -> Iterator[None]:
  """Holds the lock file `path` against other processes; the system lets go if this one dies.

  Where the storage has no locks, that is said; where nothing may be written, or the folder cannot
  even be made, none is needed.

  Raises:
    BlockingIOError: if another process holds it, unless `wait`.
  """
  # A marker file in the place of a lock would stay when a process dies on another machine.
  lock = filelock.FileLock(path, fallback_to_soft=False)
  try:
    lock.acquire(timeout=NOTICE_SECONDS if wait else 0)
  except filelock.Timeout:
    if not wait:
      raise BlockingIOError(f'{path} is held by another process') from None
    logging.warning('waiting for another process, which holds %s', path)
    lock.acquire()
  except (OSError, NotImplementedError) as error:
    if is_writable(path.parent):
      logging.warning('%s cannot be locked (%s): do not start two runs there at once', path, error)
  try:
    yield
  finally:
    lock.release()


def nearest(path: pathlib.Path) -> pathlib.Path:
  """The path, or the nearest one above it that is there; OSError for one that cannot be."""
  return next(p for p in (path, *path.absolute().parents) if p.exists() or p.is_symlink())


def is_writable(folder: pathlib.Path) -> bool:
  """Whether it is a folder in which files can be written."""
  return os.path.isdir(folder) and os.access(folder, os.W_OK)

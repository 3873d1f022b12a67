"""How a file that cannot be read is told."""

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator
from typing import Any

FORBIDDEN = errno.EACCES, errno.EPERM
# What the system says of a storage or of this process, not of a file.
STORAGE = errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ENOMEM

# The search for more faulty files ends after so many of them, or so many files after the first.
NAMED, LOOKED_AT = 20, 5000


class Unusable(ValueError):
  """A fault of one file; what is wrong with others can be told with it."""

  def __init__(self, name: object, message: str):
    super().__init__(message)
    self.name = str(name)


def each(function: Callable[[Any], Any], items: Iterable) -> Iterator[Any]:
  """Yields `function(item)` of all items but those whose file is `Unusable`.

  Raises:
    ValueError: at the end, naming all of these, so that they can be mended together.
  """
  faulty: list[Unusable] = []
  items, left = iter(items), LOOKED_AT
  for item in items:
    try:
      yield function(item)
    except Unusable as error:
      faulty.append(error)
    left -= bool(faulty)
    if len(faulty) == NAMED or not left:
      break
  if faulty:
    others = [error.name for error in faulty[1:]]
    others += ['perhaps more'] * (next(items, None) is not None)
    nor = f'; nor can these be used: {", ".join(others)}' if others else ''
    raise ValueError(f'{faulty[0]}{nor}') from faulty[0]


@contextlib.contextmanager
def told(name: object, kind: str, remedy: str) -> Iterator[None]:
  """Whatever a reader raises becomes one ValueError: what cannot be read, why, and the way out.

  Libraries raise all kinds at damaged files: zlib.error, struct.error, SyntaxError, IndexError.
  They become `Unusable`.
  What is not the file's fault is left (memory) or has a way out of its own (storage, permissions).

  Args:
    name: of the file, or of the image in it.
    kind: what it was read as.
    remedy: what can be done.
  """
  try:
    yield
  except MemoryError:
    raise
  except Exception as error:
    storage = isinstance(error, OSError) and error.errno in STORAGE
    if storage:
      remedy = 'see whether the storage can be read; the same command goes on'
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
      remedy = 'see who may read it'
    said = str(error).partition('\n')[0]
    if 'pickle' in said:  # NumPy's advice to run what the file says is no way out
      said = 'it holds Python objects'
    reason = ': '.join(filter(None, (type(error).__name__, said)))
    message = f'{name} cannot be read as {kind} ({reason}): {remedy}'
    raise (ValueError(message) if storage else Unusable(name, message)) from error

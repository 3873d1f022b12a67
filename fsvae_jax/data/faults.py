"""How a file that cannot be read is told."""

import contextlib
import errno
from collections.abc import Iterator

FORBIDDEN = errno.EACCES, errno.EPERM
# What the system says of a storage or of this process, not of a file.
STORAGE = errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ENOMEM


@contextlib.contextmanager
def told(name: object, kind: str, remedy: str) -> Iterator[None]:
  """Whatever a reader raises becomes one ValueError: what cannot be read, why, and the way out.

  Libraries raise all kinds at damaged files: zlib.error, struct.error, SyntaxError, IndexError.
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
    if isinstance(error, OSError) and error.errno in STORAGE:
      remedy = 'see whether the storage can be read; the same command goes on'
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
      remedy = 'see who may read it'
    said = str(error).partition('\n')[0]
    if 'pickle' in said:  # NumPy's advice to run what the file says is no way out
      said = 'it holds Python objects'
    reason = ': '.join(filter(None, (type(error).__name__, said)))
    raise ValueError(f'{name} cannot be read as {kind} ({reason}): {remedy}') from error

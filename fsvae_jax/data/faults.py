"""How a file that cannot be read is told."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def told(name: object, kind: str, remedy: str) -> Iterator[None]:
  """Whatever a reader raises becomes one ValueError: what cannot be read, why, and the way out.

  Libraries raise all kinds at damaged files: zlib.error, struct.error, SyntaxError, IndexError.

  Args:
    name: of the file, or of the image in it.
    kind: what it was read as.
    remedy: what can be done.
  """
  try:
    yield
  except Exception as error:
    said = str(error).partition('\n')[0]
    if 'pickle' in said:  # NumPy's advice to run what the file says is no way out
      said = 'it holds Python objects'
    reason = ': '.join(filter(None, (type(error).__name__, said)))
    raise ValueError(f'{name} cannot be read as {kind} ({reason}): {remedy}') from error

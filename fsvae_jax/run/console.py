"""What is printed for people."""

import contextlib
import os
import sys
from typing import TextIO

import jax
from tqdm import tqdm


def say(text: str) -> None:
  """Prints a line, once (from process 0), above a progress bar if there is one.

  Nothing that becomes of the output ends a run: to a reader that has gone (`| head`) or a disk that
  is full, no more is printed.
  """
  if jax.process_index() != 0 or sys.stdout is None:
    return
  encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
  try:
    tqdm.write(text.encode(encoding, 'backslashreplace').decode(encoding), file=sys.stdout)
    sys.stdout.flush()
  except (OSError, ValueError):  # ValueError: closed
    silence(sys.stdout)


def complain(text: str) -> None:
  """Prints a line on standard error, of any process; as with `say`, nobody need read it."""
  with contextlib.suppress(OSError, ValueError):  # ValueError: closed
    print(text, file=sys.stderr, flush=True)


def silence(stream: TextIO) -> None:
  """Lets everything that is still to come on a stream go nowhere, as on one that is closed."""
  with contextlib.suppress(ValueError):  # a closed one has no descriptor
    descriptor = stream.fileno()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def settle() -> None:
  """Lets a program whose output could not be written end as if it could."""
  for stream in (sys.stdout, sys.stderr):
    try:
      if stream is not None:
        stream.flush()
    except (OSError, ValueError):  # ValueError: closed
      silence(stream)

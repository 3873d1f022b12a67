"""The memory of this process."""

import contextlib
import ctypes
import resource
import sys


def trim():
  """Gives memory that was freed back to the system.

  Compilation frees some 600 MB, which glibc would keep beside the arrays of the training step.
  Where the C library has no `malloc_trim`, nothing happens.
  """
  with contextlib.suppress(OSError, AttributeError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)


def peak_gb():
  """The most memory that the process has had, in GB (10^9 bytes)."""
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

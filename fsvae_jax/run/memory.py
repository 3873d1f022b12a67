"""The memory of this process and its devices."""

import contextlib
import ctypes
import resource
import sys

import jax


def trim() -> None:
  """Gives memory that was freed back to the system.

  Compilation frees some 600 MB, which glibc would keep beside the arrays of the training step.
  Where the C library has no `malloc_trim`, nothing happens.
  """
  with contextlib.suppress(OSError, AttributeError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)


def peak_gb() -> float:
  """Most memory in use so far, in GB: of the first device, or of this process where devices share
  its memory (CPU)."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 1e9
  unit = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss, in bytes
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

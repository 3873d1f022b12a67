"""What this machine's processor is slow in."""

import contextlib
import functools
import pathlib
import platform

import jax
from absl import logging


@functools.cache
def warn_if_slow(dtype: str | None) -> None:
  """Says, once in a process, if models in bfloat16 are slower than in float32 here, and why."""
  if dtype == 'bfloat16' and (why := _slow_in_bfloat16()):
    logging.warning('model.dtype bfloat16 is slower than float32 here: %s', why)


def _slow_in_bfloat16(cpuinfo: str = '/proc/cpuinfo') -> str:
  """The reason; '' if there is none, or if nobody can tell."""
  if jax.default_backend() != 'cpu':
    return ''
  x86 = platform.machine().lower() in ('x86_64', 'amd64')
  with contextlib.suppress(OSError):
    if x86 and 'avx512_bf16' not in pathlib.Path(cpuinfo).read_text():
      return 'this processor has no products of bfloat16 (avx512_bf16)'
  if jax.__version_info__ < (0, 11):
    return (
      f'jax {jax.__version__} moves it through float32 on CPUs; jax 0.12 (Python 3.12) does not'
    )
  return ''

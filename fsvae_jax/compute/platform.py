"""The choice between a CPU's way of computing something and all other platforms'."""

import contextlib
import contextvars
import functools
import pathlib
import platform
from collections.abc import Callable, Iterator

import jax
from absl import logging
from jax import lax

ANY = 'any'
_chosen = contextvars.ContextVar('chosen', default='')


def choose(*args, cpu: Callable, default: Callable):
  """`cpu(*args)` in a program for CPUs, `default(*args)` in one for anything else.

  Where a process has nothing but CPUs, only their way is traced, which halves the time of tracing;
  `for_any` undoes that. Otherwise it is `lax.platform_dependent`, for functions that choose again
  inside: there the choice is made, and only one of the two ways is traced.
  """
  ways = {'cpu': cpu, 'default': default}
  chosen = _chosen.get() or ('cpu' if jax.default_backend() == 'cpu' else ANY)
  if chosen != ANY:
    return ways[chosen](*args)

  def remembered(name):
    def run(*args):
      with _choosing(name):
        return ways[name](*args)

    return run

  return lax.platform_dependent(*args, **{name: remembered(name) for name in ways})


def for_any() -> contextlib.AbstractContextManager[None]:
  """Within, programs are traced for all platforms: on a CPU, for other machines."""
  return _choosing(ANY)


@contextlib.contextmanager
def _choosing(name: str) -> Iterator[None]:
  token = _chosen.set(name)
  try:
    yield
  finally:
    _chosen.reset(token)


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

"""The choice between a CPU's way of computing something and all other platforms'."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax
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

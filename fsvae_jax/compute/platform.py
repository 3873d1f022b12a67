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
  `for_any` undoes that. Otherwise it is `lax.platform_dependent`; a function that chooses again
  inside one of the ways keeps that choice, so that only one is traced there.
  """
  ways = {'cpu': cpu, 'default': default}
  chosen = _chosen.get() or ('cpu' if jax.default_backend() == 'cpu' else ANY)
  if chosen != ANY:
    return ways[chosen](*args)

  remembering = {name: _choosing(name)(way) for name, way in ways.items()}
  return lax.platform_dependent(*args, **remembering)


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

"""The choice between a CPU's way of computing something and all other platforms'."""

import contextvars
from collections.abc import Callable

from jax import lax

_chosen = contextvars.ContextVar('chosen', default=None)


def choose(*args, cpu: Callable, default: Callable):
  """`cpu(*args)` in a program for CPUs, `default(*args)` in one for anything else.

  As `lax.platform_dependent`, for functions that choose again inside: there the choice is made, and
  only one of the two ways is traced.
  """
  ways = {'cpu': cpu, 'default': default}
  if _chosen.get():
    return ways[_chosen.get()](*args)

  def remembered(name):
    def run(*args):
      token = _chosen.set(name)
      try:
        return ways[name](*args)
      finally:
        _chosen.reset(token)

    return run

  return lax.platform_dependent(*args, **{name: remembered(name) for name in ways})

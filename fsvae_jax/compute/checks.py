"""What a public function cannot take is refused by name, before anything is computed.

Only what is known while tracing is looked at (types, shapes, Python numbers), never an array's
values: every function can be jitted, differentiated and batched.
"""

import math
import numbers
import operator

import jax
import jax.numpy as jnp


class ArgumentError(ValueError, AssertionError):
  """An argument that a function cannot take. It is an AssertionError too, as chex's errors are."""


def floats(name: str, x, *shape, hint: str = '') -> jax.Array:
  """x, of floating point and of `shape`, as a JAX array; lists and NumPy arrays will do.

  Args:
    name: what messages call it.
    shape: sizes; a string stands for any size, ... for any number of axes.
    hint: how to make it a float array.

  Raises:
    ArgumentError: names the argument, what it is, and what it should be.
  """
  return _array(name, x, shape, jnp.floating, f'floating point{hint and ": " + hint}')


def integers(name: str, x, *shape) -> jax.Array:
  """`floats`, for integers."""
  return _array(name, x, shape, jnp.integer, 'integers')


def _array(name, x, shape, kind, kind_in_words):
  try:
    x = jnp.asarray(x) if x is not None else x
    given, dtype = tuple(x.shape), x.dtype
  except (AttributeError, TypeError, ValueError) as error:
    raise ArgumentError(f'{name} is a {type(x).__name__}; it must be an array') from error
  if not jnp.issubdtype(dtype, kind):
    raise ArgumentError(f'{name} is {dtype}{list(given)}; it must be {kind_in_words}')
  if shape and not _fits(given, shape):
    wanted = ', '.join('...' if size is ... else str(size) for size in shape)
    raise ArgumentError(f'{name} has the shape {given}; it must be ({wanted})')
  return x


def _fits(given, shape):
  if ... in shape:
    i = shape.index(...)
    head, tail = shape[:i], shape[i + 1 :]
    if len(given) < len(head) + len(tail):
      return False
    given, shape = given[:i] + given[len(given) - len(tail) :], head + tail
  return len(given) == len(shape) and all(
    isinstance(size, str) or size == own for size, own in zip(shape, given, strict=True)
  )


def count(name: str, n, least: int = 0, most: float = math.inf) -> int:
  """n, a whole number from `least` to `most`, as an int; raises ArgumentError, which names it."""
  try:
    whole = operator.index(n)
  except TypeError as error:
    traced = ': it is part of a shape, so under jit it must be static' * isinstance(
      n, jax.core.Tracer
    )
    raise ArgumentError(f'{name} is {n!r}; it must be a whole number{traced}') from error
  if whole < least:
    raise ArgumentError(f'{name} is {whole}; it must be at least {least}')
  if whole > most:
    raise ArgumentError(f'{name} is {whole}; it must be at most {most}')
  return whole


def number(name: str, x) -> float:
  """x, a finite Python or NumPy number, as a float; raises ArgumentError, which names it."""
  if not isinstance(x, numbers.Real) or not math.isfinite(x):
    raise ArgumentError(f'{name} is {x!r}; it must be a finite number, not an array')
  return float(x)


def one_of(name: str, value, known):
  """value, which must be among `known`; raises ArgumentError, which names both."""
  if not isinstance(value, str) or value not in known:
    raise ArgumentError(f'unknown {name} {value!r}; known: {", ".join(known)}')
  return value


def promoted(*arrays: jax.Array) -> tuple[jax.Array, ...]:
  """The arrays in the type that their product has."""
  dtype = jnp.result_type(*arrays)
  return tuple(array.astype(dtype) for array in arrays)

"""Products in bfloat16: summed in float32, in both directions, and laid out as CPUs are fast in."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import layout, linear, platform
from fsvae_jax.run import sharding

CPUINFO = pathlib.Path('/proc/cpuinfo')
MULTIPLIES_BFLOAT16 = CPUINFO.exists() and 'avx512_bf16' in CPUINFO.read_text()


def inputs(rows, features=24, outputs=8, dtype=jnp.bfloat16):
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = (rows, features), (features, outputs), (rows, outputs)
  x, kernel, dy = (jax.random.uniform(*pair) for pair in zip(keys, shapes, strict=True))
  return x.astype(dtype), kernel.astype(dtype), dy.astype(dtype)


def value_and_gradients(x, kernel, dy):
  y, pull = jax.vjp(linear.matmul, x, kernel)
  return y, *pull(dy)


product_and_gradients = jax.jit(value_and_gradients)


@pytest.mark.parametrize('way', ['cpu', 'default'])
@pytest.mark.parametrize('rows', [7, 2**14])
def test_products_in_bfloat16_round_a_sum_that_does_not(rows, way, monkeypatch):
  """All values are positive: a sum in bfloat16 of 2^14 of them would end at 256 or so."""
  monkeypatch.setattr(platform, 'choose', lambda *args, **ways: ways[way](*args))
  arrays = inputs(rows)
  x, kernel, dy = (np.asarray(array, np.float64) for array in arrays)
  for ours, exact in zip(
    value_and_gradients(*arrays), (x @ kernel, dy @ kernel.T, x.T @ dy), strict=True
  ):
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(ours, np.float64), exact, rtol=2**-8)


@pytest.mark.skipif(not MULTIPLIES_BFLOAT16, reason='for processors that multiply in bfloat16')
def test_products_in_bfloat16_are_not_converted_on_the_way():
  """XLA's way out, where a product is laid out otherwise, is float32: three times as slow."""
  arrays = inputs(4096, 64, 32)
  text = product_and_gradients.lower(*arrays).compile().as_text()
  computed = re.findall(r'%\S+ = f32\S+ dot\((%[\w.]+), (%[\w.]+)\)', text)
  types = dict(re.findall(r'(%[\w.]+) = (\w+)\[', text))
  assert len(computed) == 3
  assert {types[name] for names in computed for name in names} == {'bf16'}


@pytest.mark.parametrize('rows', [1, 7, 48, 64])
def test_a_transposed_array_is_the_transpose_on_one_device_and_on_several(rows):
  x = jnp.arange(3.0 * rows).reshape(rows, 3)
  np.testing.assert_array_equal(jax.jit(layout.transposed)(x), x.T)
  mesh = sharding.make_mesh()
  if rows % mesh.size == 0:
    with jax.set_mesh(mesh):
      split = jax.device_put(x, sharding.split(mesh))
      x_FN = jax.jit(layout.transposed)(split)
      assert x_FN.sharding.spec[:2] == (None, split.sharding.spec[0])
    np.testing.assert_array_equal(x_FN, x.T)


def test_the_kernels_gradient_in_bfloat16_is_the_same_on_several_devices():
  x, kernel, dy = inputs(64)
  alone = product_and_gradients(x, kernel, dy)
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    x, dy = jax.device_put((x, dy), sharding.split(mesh))
    kernel = jax.device_put(kernel, sharding.replicated(mesh))
    together = product_and_gradients(x, kernel, dy)
  for one, several in zip(alone, together, strict=True):
    np.testing.assert_allclose(*(np.asarray(y, np.float32) for y in (one, several)), rtol=2**-7)

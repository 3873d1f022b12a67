"""Chunks: the whole batch's values and gradients, whatever their size and however it is split."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import chunks, layout
from fsvae_jax.run import sharding

pytestmark = pytest.mark.usefixtures('quick_compilation')


def respond(shared, x_BF):
  gain_F, kernel = shared
  return jnp.tanh(x_BF * layout.per_channel(gain_F, x_BF)) @ kernel


def inputs(batch):
  keys = jax.random.split(jax.random.key(0), 4)
  shared = jax.random.normal(keys[0], (3,)), jax.random.normal(keys[1], (3, 5))
  return (
    shared,
    jax.random.normal(keys[2], (batch, 2, 3)),
    jax.random.normal(keys[3], (batch, 2, 5)),
  )


def both_ways(function, shared, x_BF, dy_BF):
  y_BF, pull = jax.vjp(function, shared, x_BF)
  return y_BF, pull(dy_BF)


@pytest.mark.parametrize(
  'batch, size, count', [(12, 1, 12), (12, 5, 3), (12, 100, 1), (7, 3, 7), (12, 4, 3)]
)
def test_values_and_gradients_are_those_of_the_whole_batch(batch, size, count):
  shared, x, dy = inputs(batch)
  assert chunks._count(size, x) == count
  chunked = functools.partial(chunks.in_chunks, respond, size=size)
  got = jax.jit(functools.partial(both_ways, chunked))(shared, x, dy)
  chex.assert_trees_all_close(got, both_ways(respond, shared, x, dy), rtol=1e-5, atol=1e-5)


def test_a_split_batch_stays_where_it_is():
  mesh = sharding.make_mesh()
  shared, x, dy = inputs(24)
  want = both_ways(lambda shared, x: jnp.sin(shared[0].sum() * x), shared, x, x)

  @jax.jit
  def run(shared, x):
    function = lambda shared, x: jnp.sin(jnp.sum(shared[0]) * x)
    return both_ways(functools.partial(chunks.in_chunks, function, size=2), shared, x, x)

  with jax.set_mesh(mesh):
    split = sharding.spread(mesh, np.asarray(x))
    assert chunks._count(2, split) == 3  # six examples a device
    got = run(shared, split)
    assert got[0].sharding.spec[0] == 'data' and got[1][1].sharding.spec[0] == 'data'
    text = run.lower(shared, split).compile().as_text()
  chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-5)
  assert 'all-gather' not in text and 'all-to-all' not in text
  loops, main = text.split('\nENTRY ')
  assert 'all-reduce(' in main and 'all-reduce(' not in loops  # once, not once a chunk


def test_fitting_keeps_the_largest_array_in_cache():
  rows = chunks.CACHE_BYTES // 4 // 1000
  assert chunks.fitting((99, 10, 100), (99, 5)) == rows
  assert chunks.fitting((2, 10 * chunks.CACHE_BYTES)) == 1

"""The loop of CPUs and the unrolled steps of accelerators are one recurrence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import recurrence
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.spiking import filters, neurons


def test_steps_see_the_carry_and_the_value_that_they_replace():
  x_BT = jnp.arange(8.0).reshape(2, 4)
  step = lambda t, carry, x_B: (carry + x_B, 10 * carry + t)
  total, kept = recurrence.scan(step, 4, jnp.zeros(2), x_BT)
  np.testing.assert_array_equal(total, [6, 22])
  np.testing.assert_array_equal(kept, [[0, 1, 12, 33], [0, 41, 92, 153]])
  total, kept = recurrence.scan(step, 4, jnp.zeros(2), x_BT, reverse=True)
  np.testing.assert_array_equal(kept, [[60, 51, 32, 3], [180, 131, 72, 3]])


def lif(x, gain, offset, residue, _):
  return neurons.lif(neurons.LIF(), x, gain, offset, residue)


def readout(x, gain, offset, *_):
  return neurons.lif_readout(neurons.LIF(), x, gain, offset, filters.readout_weights(6))


def sampled(x, gain, offset, residue, picks):
  def step(input_BI, residues):
    residues = residue if residues is None else residues
    drive = input_BI[:, None, :4] + input_BI[:, None, 4:]
    spikes, residues = neurons.lif(neurons.LIF(), drive, gain, offset, residues)
    return jnp.stack([spikes[:, 0], 1 - spikes[:, 0]], -1), residues

  return bernoulli.sample(step, picks, x)


@pytest.mark.parametrize('function', [lif, readout, sampled])
def test_platform_variants_agree_in_values_and_gradients(function, monkeypatch):
  key = jax.random.split(jax.random.key(0), 6)
  x_BTC, residue_BC = jax.random.normal(key[0], (3, 6, 4)), jax.random.normal(key[1], (3, 4))
  gain_C, offset_C = 1 + jax.random.uniform(key[2], (4,)), jax.random.normal(key[3], (4,))
  picks = jax.random.randint(key[4], (3, 6, 4), 0, 2)

  def values_and_gradients(x, *inputs):
    y, pull = jax.vjp(lambda *inputs: function(*inputs, picks), x, *inputs)
    cotangents = jax.tree.map(lambda y: jax.random.normal(key[5], y.shape), y)
    return y, pull(cotangents)

  inputs = x_BTC, gain_C, offset_C, residue_BC
  want = jax.jit(values_and_gradients)(*inputs)
  monkeypatch.setattr(recurrence, '_in_place', recurrence._unrolled)
  got = jax.jit(lambda *inputs: values_and_gradients(*inputs))(*inputs)
  chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
  assert any(np.any(x) for x in jax.tree.leaves(want[1]))

"""LIF: traces by hand, the reference's arrays, and the hand-written gradient against autodiff."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from fsvae_jax.spiking import filters, neurons, surrogate
from tests import golden

LAYERS = golden.load('layers')


def plain_lif(neuron, x_BTF, residue_BF):
  """The docstring's equations with an autodiff spike: the oracle."""
  derivative = surrogate.SURROGATES[neuron.surrogate]

  @jax.custom_jvp
  def spike(u):
    return (u > neuron.v_th).astype(u.dtype)

  spike.defjvp(lambda u, du: (spike(u[0]), derivative(u[0], neuron.v_th) * du[0]))
  spikes = []
  for t in range(x_BTF.shape[1]):
    u = residue_BF + x_BTF[:, t]
    spikes.append(spike(u))
    residue_BF = neuron.tau * u * (1 - spikes[-1])
  return jnp.stack(spikes, 1), residue_BF


def drive(gain_C, offset_C, x):
  return gain_C.reshape((1,) * (x.ndim - 1) + (-1,)) * x + offset_C.reshape(
    (1,) * (x.ndim - 1) + (-1,)
  )


def spikes_of(x_BTC):
  """Spikes of the default neuron on x itself, from rest."""
  one, zero = jnp.ones(x_BTC.shape[-1]), jnp.zeros(x_BTC.shape[-1])
  return neurons.lif(neurons.LIF(), x_BTC, one, zero, neurons.rest(x_BTC))[0]


def random_inputs(steps=5):
  key = jax.random.split(jax.random.key(0), 4)
  x_BTF = jax.random.normal(key[0], (3, steps, 2, 4))
  return (
    x_BTF,
    1 + 0.3 * jax.random.normal(key[1], (4,)),
    0.2 * jax.random.normal(key[2], (4,)),
    0.1 * jax.random.normal(key[3], (3, 2, 4)),
  )


class LIFTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  def test_trace_by_hand(self):
    # tau 1/4, threshold 0.2: .1 | .1/4+.15 | .175/4+.2 fires, resets | .2 does not (strict) |
    # .2/4+.16 fires
    x_BTF = jnp.array([0.1, 0.15, 0.2, 0.2, 0.16]).reshape(1, 5, 1)
    one, zero = jnp.ones(1), jnp.zeros(1)
    run = self.variant(lambda x: neurons.lif(neurons.LIF(), x, one, zero, neurons.rest(x)))
    spikes, residue = run(x_BTF)
    np.testing.assert_array_equal(spikes.ravel(), [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(residue.ravel(), [0])

  def test_recorded_trace(self):
    trace = golden.group(LAYERS, 'trace')
    spikes = spikes_of(trace['x'].reshape(1, 7, 1))
    np.testing.assert_array_equal(spikes.ravel(), trace['spikes'])

  def test_recorded_spikes_and_gradient(self):
    recorded = {k: golden.time_first(v) for k, v in golden.group(LAYERS, 'lif').items()}
    spikes, pull = jax.vjp(spikes_of, recorded['x'])
    np.testing.assert_array_equal(spikes, recorded['spikes'])
    (grad,) = pull(jnp.asarray(recorded['cotangent']))
    np.testing.assert_allclose(grad, recorded['grad_x'], rtol=1e-6, atol=1e-7)

  @parameterized.parameters(*surrogate.SURROGATES)
  def test_gradient_is_that_of_the_equations(self, name):
    neuron = neurons.LIF(surrogate=name)
    inputs = random_inputs()

    def plain(x, gain, offset, residue):
      return plain_lif(neuron, drive(gain, offset, x), residue)

    def fused(*inputs):
      return neurons.lif(neuron, *inputs)

    want, plain_pull = jax.vjp(plain, *inputs)
    got, pull = jax.vjp(fused, *inputs)
    chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
    cotangents = jax.tree.map(lambda y: jax.random.normal(jax.random.key(9), y.shape), want)
    chex.assert_trees_all_close(pull(cotangents), plain_pull(cotangents), rtol=2e-5, atol=1e-6)

  def test_readout_is_the_weighted_sum_of_the_spikes(self):
    x, gain, offset, _ = random_inputs()
    weights_T = filters.readout_weights(5)

    def stored(x, gain, offset):
      spikes, _ = neurons.lif(neurons.LIF(), x, gain, offset, neurons.rest(x))
      return jnp.einsum('btfc,t->bfc', spikes, weights_T)

    def fused(x, gain, offset):
      return neurons.lif_readout(neurons.LIF(), x, gain, offset, weights_T)

    want, stored_pull = jax.vjp(stored, x, gain, offset)
    got, pull = jax.vjp(fused, x, gain, offset)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    cotangent = jax.random.normal(jax.random.key(9), want.shape)
    chex.assert_trees_all_close(pull(cotangent), stored_pull(cotangent), rtol=1e-5, atol=1e-6)

  def test_membranes_of_bfloat16_inputs_are_float32(self):
    x, gain, offset, residue = random_inputs()
    x = x.astype(jnp.bfloat16)
    run = lambda x: neurons.lif(neurons.LIF(), x, gain, offset, residue)
    (spikes, end), pull = jax.vjp(run, x)
    (want, want_end), want_pull = jax.vjp(run, x.astype(jnp.float32))
    assert spikes.dtype == jnp.bfloat16 and end.dtype == jnp.float32
    np.testing.assert_array_equal(spikes.astype(jnp.float32), want)
    np.testing.assert_array_equal(end, want_end)
    (dx,), (want_dx,) = pull((spikes, end)), want_pull((want, want_end))
    assert dx.dtype == jnp.bfloat16
    np.testing.assert_allclose(dx.astype(jnp.float32), want_dx, rtol=2**-8)

  def test_residue_carries_a_run_over_a_cut(self):
    x, gain, offset, residue = random_inputs(steps=6)
    neuron = neurons.LIF()
    whole, end = neurons.lif(neuron, x, gain, offset, residue)
    first, middle = neurons.lif(neuron, x[:, :2], gain, offset, residue)
    second, cut_end = neurons.lif(neuron, x[:, 2:], gain, offset, middle)
    np.testing.assert_array_equal(jnp.concatenate([first, second], 1), whole)
    np.testing.assert_array_equal(cut_end, end)

  def test_no_gradient_flows_from_a_spike_to_later_inputs(self):
    x, gain, offset, residue = random_inputs()
    grad = jax.grad(lambda x: neurons.lif(neurons.LIF(), x, gain, offset, residue)[0][:, 2].sum())(
      x
    )
    assert np.any(grad[:, :3] != 0)
    np.testing.assert_array_equal(grad[:, 3:], 0)

  def test_shapes_that_do_not_fit_raise(self):
    x, gain, offset, residue = random_inputs()
    with pytest.raises(AssertionError):
      neurons.lif(neurons.LIF(), x, gain[:2], offset, residue)
    with pytest.raises(AssertionError):
      neurons.lif(neurons.LIF(), x, gain, offset, residue[:1])


@pytest.mark.parametrize('name', [n for n in surrogate.SURROGATES if 'rectangle' not in n])
def test_smooth_surrogates_peak_at_the_threshold(name):
  u = jnp.linspace(-2, 2.4, 221)
  derivative = surrogate.SURROGATES[name](u, 0.2)
  assert float(u[jnp.argmax(derivative)]) == pytest.approx(0.2, abs=1e-6)
  assert float(derivative.min()) >= 0


def test_rectangles_have_the_stated_windows():
  u = jnp.array([-0.6, -0.4, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55])
  np.testing.assert_array_equal(surrogate.reference_rectangle(u, 0.2), [0, 1, 1, 1, 1, 1, 1, 0])
  np.testing.assert_allclose(surrogate.paper_rectangle(u, 0.2), [0, 0, 0, 5, 5, 0, 0, 0])

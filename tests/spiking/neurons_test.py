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


def plain_lif(neuron, x_BTF, residue_BF, tau=None, v_th=None):
  """The docstring's equations with an autodiff spike: the oracle."""
  of = surrogate.SURROGATES[neuron.surrogate]
  derivative = lambda u, v_th: of(v_th + (u - v_th) / neuron.width, v_th)
  tau, v_th = neuron.tau if tau is None else tau, neuron.v_th if v_th is None else v_th

  @jax.custom_jvp
  def spike(u, v_th):
    return (u > v_th).astype(u.dtype)

  spike.defjvp(lambda at, d: (spike(*at), derivative(*at) * (d[0] - d[1])))
  spikes = []
  for t in range(x_BTF.shape[1]):
    u = residue_BF + x_BTF[:, t]
    spikes.append(spike(u, v_th))
    residue_BF = tau * u * (1 - spikes[-1])
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

  @parameterized.parameters(*((name, 1.0) for name in surrogate.SURROGATES), ('triangle', 2.0))
  def test_gradient_is_that_of_the_equations(self, name, width):
    neuron = neurons.LIF(surrogate=name, width=width)
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

  @parameterized.product(name=['arctan', 'triangle'], shape=[(), (4,)], readout=[False, True])
  def test_gradients_of_time_constant_threshold_and_weights_are_those_of_the_equations(
    self, name, shape, readout
  ):
    neuron, (x, gain, offset, residue) = neurons.LIF(surrogate=name), random_inputs()
    spread = 0.1 * jnp.arange(4.0) if shape else jnp.zeros(())
    constants = {'tau': 0.3 + spread, 'v_th': 0.2 - spread}
    weight_T = jnp.linspace(0.5, 1.5, 5)
    wide = lambda value: value.reshape(1, 1, 4) if shape else value

    def plain(gain, weight_T, constants):
      start = neurons.rest(x) if readout else residue
      own = {name: wide(value) for name, value in constants.items()}
      spikes, end = plain_lif(neuron, drive(gain, offset, x), start, **own)
      return jnp.einsum('btfc,t->bfc', spikes, weight_T) if readout else (spikes, end)

    def fused(gain, weight_T, constants):
      if readout:
        return neurons.lif_readout(neuron, x, gain, offset, weight_T, constants)
      return neurons.lif(neuron, x, gain, offset, residue, constants)

    want, plain_pull = jax.vjp(plain, gain, weight_T, constants)
    got, pull = jax.vjp(fused, gain, weight_T, constants)
    chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
    cotangents = jax.tree.map(lambda y: jax.random.normal(jax.random.key(9), y.shape), want)
    of_gain, of_weights, of_constants = plain_pull(cotangents)
    assert all(np.all(g != 0) for g in jax.tree.leaves((of_gain, of_constants)))
    assert np.all(of_weights != 0) == readout
    wanted = of_gain, of_weights, of_constants
    chex.assert_trees_all_close(pull(cotangents), wanted, rtol=2e-5, atol=1e-5)

  def test_constants_as_arrays_give_what_numbers_give(self):
    x, gain, offset, residue = random_inputs()
    neuron = neurons.LIF(tau=0.4, v_th=0.3)
    constants = {'tau': jnp.float32(0.4), 'v_th': jnp.full(4, 0.3)}
    got = neurons.lif(neurons.LIF(), x, gain, offset, residue, constants)
    chex.assert_trees_all_equal(got, neurons.lif(neuron, x, gain, offset, residue))

  def test_constants_of_another_name_or_shape_are_refused(self):
    x, gain, offset, residue = random_inputs()
    wrong = ({'theta': jnp.ones(4)}, "unknown constant 'theta'"), ({'tau': jnp.ones(3)}, 'tau has')
    for constants, message in wrong:
      with pytest.raises(ValueError, match=message):
        neurons.lif(neurons.LIF(), x, gain, offset, residue, constants)

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

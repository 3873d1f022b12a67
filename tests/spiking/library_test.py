"""The layers as a library: under every transformation, in every type, and with wrong arguments."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import checks, chunks, conv, layout, linear, recurrence
from fsvae_jax.models import losses
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.run import sharding
from fsvae_jax.spiking import filters, neurons, norm, surrogate
from tests.spiking.neurons_test import drive, plain_lif

pytestmark = pytest.mark.usefixtures('quick_compilation')

SMOOTH = neurons.LIF(surrogate='arctan')  # its gradient has a gradient
PICKS = np.random.default_rng(0).integers(0, 2, (2, 6, 4)).astype(np.int32)


def array(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tdbn(x, scale, bias):
  mean, var = norm.batch_statistics(x, 4)
  gain, offset = norm.gain_offset(mean, var, scale, bias, 0.2)
  return norm.move(mean, norm.unbiased(var, 7)), drive(gain, offset, x)


def step(gain, offset):
  """A network of one spike and its complement."""

  def run(input_BI, residues):
    x = input_BI[:, None, :4] + 1
    residues = neurons.rest(x) if residues is None else residues
    spikes, residues = neurons.lif(SMOOTH, x, gain, offset, residues)
    return jnp.stack([spikes[:, 0], 1 - spikes[:, 0]], -1), residues

  return run


def chunked(gain, offset, x):
  function = lambda shared, x: neurons.lif(SMOOTH, x, *shared, neurons.rest(x))[0]
  return chunks.in_chunks(function, (gain, offset), x, 1)


AFFINE = array(1, 4), array(2, 4)
KERNEL = array(3, 3, 3, 4, 5)
SCHEDULE = bernoulli.draw_schedule(jax.random.key(0), 2, 6, 4)
PIXELS = array(4, 2, 4, 6, 4)
SPIKES = (array(5, 2, 6, 4) > 0).astype(np.float32)
# name: (function of float arrays, the arrays)
LAYERS = {
  'lif': (
    lambda x, *affine: neurons.lif(SMOOTH, x, *affine),
    (array(6, 2, 6, 4), *AFFINE, array(7, 2, 4)),
  ),
  'lif_readout': (
    lambda x, *rest: neurons.lif_readout(SMOOTH, x, *rest),
    (array(6, 2, 6, 4), *AFFINE, array(8, 6)),
  ),
  'conv': (conv.conv, (PIXELS, KERNEL)),
  'conv_transpose_phases': (conv.conv_transpose_phases, (PIXELS, KERNEL)),
  'conv_transpose_stride1': (conv.conv_transpose_stride1, (PIXELS, KERNEL)),
  'matmul': (linear.matmul, (PIXELS, KERNEL[0, 0])),
  'tdbn': (tdbn, (PIXELS, *AFFINE)),
  'chunks': (chunked, (*AFFINE, array(6, 2, 6, 4))),
  'psp': (filters.psp, (SPIKES,)),
  'interleave': (layout.interleave, (PIXELS,)),
  'take': (lambda s: bernoulli.take(s, PICKS), (array(9, 2, 6, 4, 2),)),
  'bernoulli': (
    lambda gain, offset, x: bernoulli.sample(step(gain, offset), PICKS, x),
    (*AFFINE, SPIKES),
  ),
  'scheduled': (
    lambda gain, offset, z: bernoulli.scheduled(step(gain, offset), z, SCHEDULE, 0.9, 1),
    (*AFFINE, SPIKES),
  ),
  'mmd': (losses.mmd, (SPIKES[..., None], 1 - SPIKES[..., None])),
  'kld': (losses.kld, (SPIKES[..., None], 1 - SPIKES[..., None])),
  **{
    name: (lambda u, function=function: function(u, 0.2), (array(6, 2, 6, 4),))
    for name, function in surrogate.SURROGATES.items()
  },
}
every_layer = pytest.mark.parametrize('name', LAYERS)


def total(function):
  """A number that depends on every output of `function`, each in its own way."""

  def number(*inputs):
    leaves = jax.tree.leaves(function(*inputs))
    return sum(
      jnp.sum(y * jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)) for y in leaves
    )

  return number


@every_layer
def test_vmap_jit_grad_and_checkpoint_agree_with_plain_calls(name):
  function, inputs = LAYERS[name]
  wrt = tuple(range(len(inputs)))
  twice = jax.tree.map(lambda x: jnp.stack([x, x[..., ::-1]]), inputs)
  differentiate = jax.value_and_grad(total(function), wrt)
  each = [jax.tree.map(lambda x, i=i: x[i], twice) for i in (0, 1)]
  want = jax.tree.map(lambda *y: jnp.stack(y), *(differentiate(*one) for one in each))
  chex.assert_trees_all_close(jax.jit(jax.vmap(differentiate))(*twice), want, rtol=1e-4, atol=1e-5)
  again = jax.jit(jax.value_and_grad(jax.checkpoint(total(function)), wrt))(*each[0])
  chex.assert_trees_all_close(again, differentiate(*each[0]), rtol=1e-4, atol=1e-5)


@every_layer
def test_float32_stays_float32_under_x64_and_float64_is_computed_in_float64(name):
  function, inputs = LAYERS[name]

  @jax.jit
  def run(*inputs):
    y, pull = jax.vjp(function, *inputs)
    return y, pull(jax.tree.map(jnp.ones_like, y))

  want = run(*inputs)
  with jax.enable_x64(True):
    got = run(*inputs)
    wide = run(*(np.asarray(x, np.float64) for x in inputs))
  chex.assert_trees_all_equal_dtypes(got, want)
  chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
  assert {x.dtype for x in jax.tree.leaves(wide)} == {np.dtype('float64')}
  chex.assert_trees_all_close(jax.tree.map(np.float32, wide), want, rtol=1e-3, atol=1e-4)


# Gradients written by hand are of reverse mode alone.
REVERSE = 'lif lif_readout conv conv_transpose_phases conv_transpose_stride1 matmul tdbn chunks'
REVERSE = {*REVERSE.split(), 'bernoulli'}


@every_layer
def test_forward_mode_is_right_or_refused_in_words(name):
  function, inputs = LAYERS[name]
  function, tangents = total(function), tuple(array(11, *x.shape) for x in inputs)
  grads = jax.jit(jax.grad(function, tuple(range(len(inputs)))))(*inputs)
  want = sum(jnp.vdot(g, t) for g, t in zip(grads, tangents, strict=True))
  forward = jax.jit(lambda *args: jax.jvp(function, *args))
  if name in REVERSE:
    with pytest.raises(TypeError, match='forward-mode.*custom_vjp function'):
      forward(inputs, tangents)
  else:
    np.testing.assert_allclose(forward(inputs, tangents)[1], want, rtol=1e-3, atol=1e-4)


def plain_readout(x, gain, offset, weights):
  spikes, _ = plain_lif(SMOOTH, drive(gain, offset, x), jnp.zeros_like(x[:, 0]))
  return jnp.einsum('btc,t->bc', spikes, weights, precision='highest')


def plain_tdbn(x, scale, bias):
  mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
  gain = scale * 0.2 / jnp.sqrt(var + norm.EPSILON)
  return 0.9 * mean + 0.1 * var * 7 / 6, drive(gain, bias - gain * mean, x)


# What autodiff makes of the plain equations.
PLAIN = {
  'lif': lambda x, gain, offset, residue: plain_lif(SMOOTH, drive(gain, offset, x), residue),
  'lif_readout': plain_readout,
  'conv': conv._conv_native,
  'conv_transpose_phases': conv._transpose_native,
  'conv_transpose_stride1': conv._stride1_native,
  'matmul': lambda x, kernel: jnp.matmul(x, kernel, precision='highest'),
  'tdbn': plain_tdbn,
  'chunks': lambda gain, offset, x: plain_lif(
    SMOOTH, drive(gain, offset, x), jnp.zeros_like(x[:, 0])
  )[0],
}


@pytest.mark.parametrize('name', PLAIN)
def test_gradients_and_their_gradients_are_those_of_a_plain_loop(name):
  function, inputs = LAYERS[name]
  wrt = tuple(range(len(inputs)))

  def first_and_second(function):
    grads = jax.grad(total(function), wrt)
    size = lambda *inputs: sum(jnp.sum(jnp.sin(g)) for g in grads(*inputs))
    return jax.jit(lambda *inputs: (grads(*inputs), jax.grad(size, wrt)(*inputs)))(*inputs)

  got, want = first_and_second(function), first_and_second(PLAIN[name])
  chex.assert_trees_all_close(got, want, rtol=2e-3, atol=2e-4)
  assert all(np.any(g) for g in want[0])


def test_the_readouts_weights_get_their_gradient_only_where_it_is_asked_for():
  function, inputs = LAYERS['lif_readout']
  *others, weights = inputs
  spikes = plain_lif(SMOOTH, drive(*others[1:], others[0]), jnp.zeros((2, 4)))[0]
  d_total = array(12, 2, 4)
  grad = jax.vjp(function, *inputs)[1](d_total)[-1]
  np.testing.assert_allclose(grad, jnp.einsum('btc,bc->t', spikes, d_total), rtol=1e-5, atol=1e-6)

  def loops(wrt):
    grads = jax.grad(lambda *inputs: jnp.sum(function(*inputs)), wrt)
    return jax.jit(grads).lower(*inputs).as_text().count('stablehlo.while')

  assert loops((0, 1, 2)) == 2 and loops((0, 1, 2, 3)) == 3


def test_bfloat16_weights_and_types_meet_in_the_wider_one():
  x, gain, offset, residue = LAYERS['lif'][1]
  spikes, end = neurons.lif(SMOOTH, jnp.asarray(x, jnp.bfloat16), gain.tolist(), offset, residue)
  assert spikes.dtype == jnp.bfloat16 and end.dtype == jnp.float32
  assert linear.matmul(jnp.asarray(x, jnp.bfloat16), KERNEL[0, 0]).dtype == jnp.float32
  with jax.enable_x64(True):
    spikes, end = neurons.lif(SMOOTH, x, np.float64(gain), offset, residue)
    assert spikes.dtype == jnp.float32 and end.dtype == jnp.float64


def test_an_empty_batch_gives_an_empty_result():
  for name in ('lif', 'conv', 'conv_transpose_phases', 'conv_transpose_stride1', 'matmul', 'psp'):
    function, (x, *others) = LAYERS[name]
    others[2:] = [residue[:0] for residue in others[2:]]
    y = jax.tree.leaves(function(x[:0], *others))[0]
    assert y.shape == (0, *jax.tree.leaves(function(*LAYERS[name][1]))[0].shape[1:])
  assert chunked(*AFFINE, array(6, 0, 6, 4)).shape == (0, 6, 4)


def test_lists_are_arrays():
  got = filters.psp(SPIKES.tolist())
  np.testing.assert_array_equal(got, filters.psp(SPIKES))


X, RESIDUE = LAYERS['lif'][1][0], LAYERS['lif'][1][3]
READOUT = array(8, 6)
INTEGERS = np.ones((2, 6, 4), np.int32)
lif = lambda x=X, gain=AFFINE[0], offset=AFFINE[1], residue=RESIDUE, neuron=SMOOTH: neurons.lif(
  neuron, x, gain, offset, residue
)
readout = lambda x=X, weights=READOUT: neurons.lif_readout(SMOOTH, x, *AFFINE, weights)
scan = lambda timesteps, kept=None: recurrence.scan(
  lambda t, c, _: (c, c), timesteps, X[:, 0], kept
)
# what the message must say: the call
WRONG = [
  ('tau is nan', lambda: neurons.LIF(tau=math.nan)),
  ('width is 0', lambda: neurons.LIF(width=0.0)),
  ("learned constant 'w'", lambda: neurons.LIF(learned=('w',))),
  ('to be learned, it must be between', lambda: neurons.LIF(tau=1.0, learned=('tau',))),
  ('v_th is inf', lambda: neurons.LIF(v_th=math.inf)),
  ("tau is '0.25'", lambda: neurons.LIF(tau='0.25')),
  ('tau is Array', lambda: neurons.LIF(tau=jnp.ones(2))),
  ("surrogate 'box'; known: reference_rectangle, paper", lambda: neurons.LIF(surrogate='box')),
  ('surrogate None', lambda: neurons.LIF(surrogate=None)),
  (r'x_BTF is int32\[2, 6, 4\]; it must be floating', lambda: lif(INTEGERS)),
  (r'x_BTF is bool', lambda: lif(X > 0)),
  (r'x_BTF has the shape \(2, 4\); it must be \(B, T, ..., C\)', lambda: lif(X[:, 0])),
  (r'x_BTF has the shape \(2, 0, 4\); it needs one', lambda: lif(X[:, :0])),
  ('x_BTF is a NoneType', lambda: lif(None)),
  (r'gain_C has the shape \(3,\); it must be \(4\)', lambda: lif(gain=AFFINE[0][:3])),
  ('offset_C is int', lambda: lif(offset=[0, 0, 0, 0])),
  (r'residue_BF has the shape \(1, 4\); it must be \(2, 4\)', lambda: lif(residue=RESIDUE[:1])),
  ('neuron is 0.25; it must be a neurons.LIF', lambda: lif(neuron=0.25)),
  (r'weight_T has the shape \(5,\); it must be \(6\)', lambda: readout(weights=array(8, 5))),
  ('weight_T is int', lambda: readout(weights=np.arange(6))),
  (r'x_BTF is int', lambda: readout(INTEGERS)),
  (r'x_BTF has the shape \(2, 0, 4\)', lambda: neurons.rest(X[:, :0])),
  (r'x_NHWC has the shape \(4, 6, 4\)', lambda: conv.conv(PIXELS[0], KERNEL)),
  ('H and W must be even', lambda: conv.conv(PIXELS[:, :3], KERNEL)),
  ('H and W must be even', lambda: conv.conv(PIXELS[:, :, :3], KERNEL)),
  ('x_NHWC is int', lambda: conv.conv(np.ones((1, 4, 4, 4), int), KERNEL)),
  (r'it must be \(3, 3, 4, out\)', lambda: conv.conv(PIXELS, KERNEL[:, :, :3])),
  ('kernel is int', lambda: conv.conv_transpose_phases(PIXELS, np.ones((3, 3, 4, 5), int))),
  (r'\(3, 3, 4, out\)', lambda: conv.conv_transpose_stride1(PIXELS, KERNEL[:2])),
  (r'x has the shape \(2, 6, 4\); it must be \(..., 3\)', lambda: linear.matmul(X, array(0, 3, 2))),
  (r'kernel_IO has the shape \(4,\)', lambda: linear.matmul(X, array(0, 4))),
  ('x is int', lambda: linear.matmul(INTEGERS, array(0, 4, 2))),
  ('a multiple of 3 channels', lambda: norm.batch_statistics(X, 3)),
  ('it must have values', lambda: norm.batch_statistics(X[:0], 4)),
  ('channels is 0', lambda: norm.batch_statistics(X, 0)),
  ('x is int', lambda: norm.batch_statistics(INTEGERS, 4)),
  ('scale_C has the shape', lambda: norm.gain_offset(*AFFINE, RESIDUE, AFFINE[0], 0.2)),
  ('amplitude is nan', lambda: norm.gain_offset(*AFFINE, *AFFINE, math.nan)),
  (r'batch_C has the shape \(2,\)', lambda: norm.move(AFFINE[0], AFFINE[0][:2])),
  ('count is 0', lambda: norm.unbiased(AFFINE[0], 0)),
  ('x_BTD is int', lambda: filters.psp(INTEGERS)),
  ('x_BTD has the shape', lambda: filters.psp(PIXELS)),
  ('time_constant is 0', lambda: filters.psp(X, 0)),
  ('time_constant is 0.5', lambda: filters.psp(X, 0.5)),
  ('time_constant is nan', lambda: filters.psp(X, math.nan)),
  ('timesteps is -1', lambda: filters.readout_weights(-1)),
  ('timesteps is 2.5; it must be a whole', lambda: filters.readout_weights(2.5)),
  ('decay is inf', lambda: filters.readout_weights(3, math.inf)),
  ('u is int', lambda: surrogate.reference_rectangle(INTEGERS, 0.2)),
  ('size is 0', lambda: chunks.in_chunks(lambda s, x: x, (), X, 0)),
  ('x_B is int', lambda: chunks.in_chunks(lambda s, x: x, (), INTEGERS)),
  ('timesteps is 0', lambda: scan(0)),
  (r'kept_BTF has the shape \(2, 6, 4\); T is 5', lambda: scan(5, X)),
  ('5 rows on 1 device.* in 2 equal parts', lambda: layout.take_part(jnp.ones((5, 2)), 0, 2)),
  ('count is 0', lambda: layout.take_part(jnp.ones((5, 2)), 0, 0)),
  ('does not fit channels', lambda: layout.per_channel(jnp.ones(3), X)),
  (r'phases are \(..., H, W, 4 C\)', lambda: layout.interleave(array(0, 2, 2, 2, 6))),
  ('draws is 0', lambda: bernoulli.draw_picks(jax.random.key(0), 2, 3, 4, 0)),
  ('batch is -2', lambda: bernoulli.draw_picks(jax.random.key(0), -2, 3, 4, 5)),
  ('timesteps is 1.5', lambda: bernoulli.draw_picks(jax.random.key(0), 2, 1.5, 4, 5)),
  ('picks_D is float32', lambda: bernoulli.take(array(9, 2, 4, 2), array(9, 2, 4))),
  (r'picks_D has the shape \(2, 6, 4\)', lambda: bernoulli.take(array(9, 2, 4, 2), PICKS)),
  ('spikes_DK is int', lambda: bernoulli.take(np.ones((2, 6, 4, 2), int), PICKS)),
  ('z_BTD is int', lambda: bernoulli.shift(INTEGERS)),
  ('picks_BTD is float32', lambda: bernoulli.sample(step(*AFFINE), X)),
  (r'x_BTD has the shape \(2, 5, 4\)', lambda: bernoulli.sample(step(*AFFINE), PICKS, X[:, :5])),
  ('z_BTD is int', lambda: bernoulli.scheduled(step(*AFFINE), INTEGERS, SCHEDULE, 0.5)),
  ('rate has the shape', lambda: bernoulli.scheduled(None, SPIKES, SCHEDULE, [0.5])),
]  # fmt: skip


@pytest.mark.parametrize('message, call', WRONG)
def test_a_wrong_argument_is_refused_by_name(message, call):
  with pytest.raises(ValueError, match=message) as caught:
    call()
  assert isinstance(caught.value, checks.ArgumentError)


def test_what_is_drawn_for_a_batch_that_devices_cannot_share_is_whole():
  with jax.set_mesh(sharding.make_mesh()):
    draw = lambda batch: bernoulli.draw_picks(jax.random.key(0), batch, 2, 3, 4)
    assert draw(8).sharding.spec[0] == 'data' and draw(3).sharding.is_fully_replicated


def test_constants_that_are_learned_may_be_a_list():
  learned = neurons.LIF(learned=['tau'])
  assert hash(learned) == hash(neurons.LIF(learned=('tau',))) and learned.learned == ('tau',)


@pytest.mark.parametrize('derivative', [lambda u, v_th: 1.0, lambda u, v_th: np.sqrt(2.0) * u])
def test_a_surrogate_of_ones_own_may_have_numbers_of_another_width(monkeypatch, derivative):
  monkeypatch.setitem(surrogate.SURROGATES, 'mine', derivative)
  neuron, x_BTC = neurons.LIF(surrogate='mine'), jnp.ones((1, 3, 2), jnp.float32)
  ones_C = jnp.ones(2, jnp.float32)
  total = lambda x: neurons.lif(neuron, x, ones_C, 0 * ones_C, neurons.rest(x))[0].sum()
  with jax.enable_x64(True):
    assert jax.grad(total)(x_BTC).dtype == jnp.float32

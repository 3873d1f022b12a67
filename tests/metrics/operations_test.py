"""What layers record of their operations, against brute force; tables made of it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fsvae_jax import models
from fsvae_jax.compute import conv, layout
from fsvae_jax.metrics import operations, spikes
from fsvae_jax.models import ann, fsvae, passes
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.models.records import Operations

pytestmark = pytest.mark.usefixtures('quick_compilation')

SIZES = {'image_size': 8, 'channels': 1, 'features': (3, 4), 'latent_dim': 5}
TIMESTEPS, DRAWS = 4, 2
PJ = (0.9, 4.6)


@pytest.fixture(scope='module')
def recorded():
  """{way: (spikes [1, T, ...], operations)} of one image in a small model, by layer."""
  model = fsvae.make(timesteps=TIMESTEPS, draws=DRAWS, **SIZES)
  variables = model.init(jax.random.key(0))
  # Thresholds near the membranes, so that all layers fire, and differently everywhere.
  variables['params'] = jax.tree.map(lambda x: x * 2, variables['params'])
  image = jax.random.uniform(jax.random.key(1), (1, 8, 8, 1), minval=-1)
  z_BTD = jax.random.bernoulli(jax.random.key(2), 0.4, (1, TIMESTEPS, 5)).astype('float32')

  def run(v):
    of = lambda *on: (model.record('spikes', v, z_BTD, *on), model.operations(v, z_BTD, *on))
    return {'reconstruct': of(image), 'generate': of()}

  return jax.device_get(jax.jit(run)(variables))


CONVOLUTIONS = {
  'conv': conv.conv,
  'transposed': lambda x, kernel: layout.interleave(conv.conv_transpose_phases(x, kernel)),
  'stride1': conv.conv_transpose_stride1,
}


def reached(kind, size):
  """[size, size]: how many outputs one spike reaches, by the convolution itself, spike by spike."""
  with jax.ensure_compile_time_eval():
    spikes_NHWC = jnp.eye(size * size).reshape(size * size, size, size, 1)
    once = CONVOLUTIONS[kind](spikes_NHWC, jnp.ones((3, 3, 1, 1)))
    return np.asarray(jnp.sum(once, (1, 2, 3)).reshape(size, size))


# layer: (kind, what feeds it, the shape of those neurons, its channels), written down by hand
ENCODER = {
  'encoder/conv_0': ('conv', 'pixels', (8, 8, 1), 3),
  'encoder/conv_1': ('conv', 'encoder/conv_0', (4, 4, 3), 4),
  'encoder/dense': ('dense', 'encoder/conv_1', (16,), 5),
}
MLP = {'dense_0': 10, 'dense_1': 20, 'dense_2': 10}
DECODER = {
  'decoder/dense': ('dense', 'latent/z', (5,), 16),
  'decoder/conv_0': ('transposed', 'decoder/dense', (2, 2, 4), 3),
  'decoder/conv_1': ('transposed', 'decoder/conv_0', (4, 4, 3), 3),
  'decoder/pixels': ('stride1', 'decoder/conv_1', (8, 8, 3), 1),
}


def brute_force(kind, inputs, channels):
  """Additions that the spikes [T, ...] of a layer's inputs cause."""
  if kind == 'dense':
    return channels * inputs.sum()
  outputs_HW = reached(kind, inputs.shape[1])
  return channels * (inputs * outputs_HW[None, :, :, None]).sum()


def history(z_TD):
  return np.concatenate([np.zeros_like(z_TD[:1]), z_TD[:-1]])


@pytest.mark.parametrize('path', ['reconstruct', 'generate'])
def test_accumulates_are_those_of_every_single_spike(recorded, path):
  fired, counted = recorded[path]
  fired = {name: x[0] for name, x in fired.items()}
  network = {'reconstruct': 'posterior', 'generate': 'prior'}[path]
  given = history(fired['latent/z'])
  if path == 'reconstruct':
    given = np.concatenate([fired['encoder/dense'], given], 1)
  layers = (ENCODER if path == 'reconstruct' else {}) | DECODER
  wanted = {
    name: brute_force(kind, fired[source].reshape(TIMESTEPS, *shape), channels)
    for name, (kind, source, shape, channels) in layers.items()
    if source != 'pixels'
  }
  for layer, channels in MLP.items():
    wanted[f'{network}/{layer}'] = brute_force('dense', given, channels)
    given = fired[f'{network}/{layer}']
  got = {name: operations.count(layer) for name, layer in counted.items()}
  if path == 'reconstruct':
    image = got.pop('encoder/conv_0')  # pixels: all count, once
    assert image['multiply_accumulates'] == brute_force('conv', np.ones((1, 8, 8, 1)), 3)
    assert image['accumulates'] == image['most_accumulates'] == 0
  assert set(got) == set(wanted)
  for name, want in wanted.items():
    assert got[name]['accumulates'] == pytest.approx(want, rel=1e-5), name
    assert got[name]['multiply_accumulates'] == 0
  assert sum(want > 0 for want in wanted.values()) >= 7  # most layers did get spikes


def test_rates_in_bfloat16_are_those_of_its_spikes():
  """Shares of 7 x 4 spikes, which 8 bits would round."""
  model = fsvae.make(timesteps=TIMESTEPS, draws=DRAWS, dtype='bfloat16', **SIZES)
  variables = model.init(jax.random.key(0))
  variables['params'] = jax.tree.map(lambda x: x * 2, variables['params'])
  z_BTD = jax.random.bernoulli(jax.random.key(2), 0.4, (7, TIMESTEPS, 5)).astype('float32')
  spikes_BTF = np.asarray(model.record('spikes', variables, z_BTD)['decoder/dense'], 'f')
  counted = model.operations(variables, z_BTD)['decoder/conv_0']
  share_F = np.mean(spikes_BTF, (0, 1)).reshape(counted.rates.shape)
  np.testing.assert_allclose(counted.rates, share_F, rtol=1e-6)
  assert len(set(share_F.ravel())) > 3


@pytest.mark.slow
def test_the_loss_counts_the_same_with_the_gradient_of_every_single_spike():
  """By hand: the spikes of a training pass, as arrays, times what they reach."""
  nets = fsvae.build(fsvae.FSVAEConfig(timesteps=TIMESTEPS, draws=DRAWS, **SIZES))
  variables = fsvae.init(nets, jax.random.key(0))
  image = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1), minval=-1)
  draws = fsvae.draw(nets, jax.random.key(2), 3)

  def counted(params):
    arguments = {**variables, 'params': params}, {'image': image}, draws
    return fsvae.loss(nets, *arguments, count=True)[1][1]['accumulates']

  def by_hand(params):
    run = passes.Pass(nets.modules, {**variables, 'params': params}, train=True, record='spikes')
    x_BTD = run('encoder', image)
    z_BTD, _ = nets.latent.infer(run, x_BTD, draws)
    told_BTD = bernoulli.shift(nets.latent.encode(run, x_BTD, draws))
    fired = {**run.records, 'latent/z': z_BTD}
    run('decoder', z_BTD)
    fired |= run.records
    given, total = jnp.concatenate([x_BTD, told_BTD], -1), 0.0
    for kind, source, shape, channels in (ENCODER | DECODER).values():
      if source != 'pixels':
        total += brute_force(kind, fired[source].reshape(-1, *shape), channels)
    for layer, channels in MLP.items():
      total += brute_force('dense', given, channels)
      given = fired[f'posterior/{layer}']
    return total / len(image)

  ours, theirs = (jax.jit(jax.value_and_grad(f))(variables['params']) for f in (counted, by_hand))
  np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
  assert all(optax.tree.norm(theirs[1][name]) > 1 for name in ('encoder', 'posterior', 'decoder'))
  chex.assert_trees_all_close(ours[1], theirs[1], rtol=1e-3, atol=1e-2)


def test_the_most_possible_is_every_neuron_at_every_step(recorded):
  for name, (kind, source, shape, channels) in (ENCODER | DECODER).items():
    if source != 'pixels':
      most = brute_force(kind, np.ones((TIMESTEPS, *shape)), channels)
      assert operations.count(recorded['reconstruct'][1][name])['most_accumulates'] == most, name


def test_layers_come_in_the_order_of_computation(recorded):
  order = list(recorded['reconstruct'][1])
  networks = ['encoder'] * 3 + ['posterior'] * 3 + ['decoder'] * 4
  assert [name.split('/')[0] for name in order] == networks
  assert order[-1] == 'decoder/pixels'


def test_the_ann_of_the_same_shape_multiplies_for_each_synapse():
  layers = spikes.layers_of(ann.make_vae(**SIZES), SIZES)['reconstruct']
  for name, (kind, _, shape, channels) in (ENCODER | DECODER).items():
    heads = 2 if name == 'encoder/dense' else 1  # mean and variance
    want = heads * brute_force(kind, np.ones((1, *shape)), channels)
    assert operations.count(layers[name])['multiply_accumulates'] == want, name
  assert set(layers) == set(ENCODER | DECODER)


def test_an_autoencoder_has_its_own_energy_and_generates_nothing():
  layers, vae = (
    spikes.layers_of(make(**SIZES), SIZES) for make in (ann.make_autoencoder, ann.make_vae)
  )
  assert set(layers) == {'reconstruct'} and set(vae) == {'reconstruct', 'generate'}
  (one, two) = (operations.count(of['reconstruct']['encoder/dense']) for of in (layers, vae))
  assert 2 * one['multiply_accumulates'] == two['multiply_accumulates']  # one head, not two


def test_the_known_energy_of_the_ann_of_mnists_size():
  sizes = {'image_size': 32, 'channels': 1, 'features': (32, 64, 128, 256), 'latent_dim': 128}
  layers = spikes.layers_of(models.ann_of(sizes), sizes)['reconstruct']
  macs = sum(operations.count(layer)['multiply_accumulates'] for layer in layers.values())
  assert operations.energy_uj(0.0, macs, PJ) == pytest.approx(40.5, abs=0.05)


def test_break_even_is_where_the_energies_meet(recorded):
  layers = recorded['reconstruct'][1]
  twin = spikes.layers_of(ann.make_vae(**SIZES), SIZES)['reconstruct']

  def at(rate):
    fired = {
      name: layer if layer.rates is None else layer._replace(rates=np.full_like(layer.rates, rate))
      for name, layer in layers.items()
    }
    rates = {name: np.full((1,), rate) for name in layers}
    return operations.totals(operations.table(fired, rates, twin, TIMESTEPS, PJ))

  assert at(0.3)['sop_rate'] == pytest.approx(0.3)
  total = at(operations.break_even(at(0.2), PJ))
  assert total['energy_uj'] == pytest.approx(total['ann_energy_uj'])


def test_the_firing_rate_is_the_neurons_mean_not_the_layers():
  one = Operations(np.ones(1), np.int32(4), np.ones(1))
  rates = {'a': np.zeros((30, 1)), 'b': np.ones((10, 1))}
  rows = operations.table({'a': one, 'b': one}, rates, {}, 4, PJ)
  assert operations.totals(rows)['firing_rate'] == pytest.approx(0.25)


def test_dead_channels_and_rates():
  rates = np.full((4, 4, 3), 0.5)
  rates[..., 1] = 0
  layers = {'encoder/conv_0': Operations(np.ones((8, 8, 1)), np.int32(1), None)}
  (row,) = operations.table(layers, {'encoder/conv_0': rates}, {}, 4, PJ)
  assert (row['dead_channels'], row['channels']) == (1, 3)
  assert row['firing_rate'] == pytest.approx(1 / 3)
  assert row['neuron_updates'] == 4 * 48 and row['multiply_accumulates'] == 64

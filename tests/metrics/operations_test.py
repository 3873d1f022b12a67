"""Counts of operations against brute force, and against the published table."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.compute import conv, layout
from fsvae_jax.metrics import operations
from fsvae_jax.models import fsvae

pytestmark = pytest.mark.usefixtures('quick_compilation')

SMALL = {'image_size': 8, 'channels': 1, 'features': (3, 4), 'latent_dim': 5, 'draws': 2}
MNIST = {
  'image_size': 32,
  'channels': 1,
  'features': (32, 64, 128, 256),
  'latent_dim': 128,
  'draws': 20,
}
PJ = (0.9, 4.6)


@pytest.fixture(scope='module')
def spikes():
  """Spikes [T, ...] of one image through a small model, with random statistics."""
  model = fsvae.make(timesteps=4, **SMALL)
  variables = model.init(jax.random.key(0))
  # Thresholds near the membranes, so that all layers fire, and differently everywhere.
  variables['params'] = jax.tree.map(lambda x: x * 2, variables['params'])
  image = jax.random.uniform(jax.random.key(1), (1, 8, 8, 1), minval=-1)
  z_BTD = jax.random.bernoulli(jax.random.key(2), 0.4, (1, 4, 5)).astype('float32')
  records = jax.jit(lambda v: model.record('spikes', v, z_BTD, image))(variables)
  return {name: np.asarray(x[0]) for name, x in records.items()}


CONVOLUTIONS = {
  'conv': conv.conv,
  'transposed': lambda x, kernel: layout.interleave(conv.conv_transpose_phases(x, kernel)),
  'stride1': conv.conv_transpose_stride1,
}


def reached(kind, size):
  """[size, size]: how many outputs one spike reaches, by the convolution itself, spike by spike."""
  spikes_NHWC = jnp.eye(size * size).reshape(size * size, size, size, 1)
  return jnp.sum(CONVOLUTIONS[kind](spikes_NHWC, jnp.ones((3, 3, 1, 1))), (1, 2, 3)).reshape(
    size, size
  )


@pytest.mark.parametrize('kind', CONVOLUTIONS)
def test_targets_are_what_the_convolution_reaches(kind):
  layer = operations.Synapses('any', kind, ('any',), (6, 6, 2), features=3)
  np.testing.assert_array_equal(operations.targets(layer)[..., 0], 3 * reached(kind, 6))


def brute_force(layer, inputs):
  """Additions that the spikes [T, ...] of a layer's inputs cause, one by one."""
  if layer.kind == 'dense':
    return sum(layer.features for spike in inputs.ravel() if spike)
  outputs_HW = np.asarray(reached(layer.kind, layer.inputs[0]))
  return sum(
    inputs[t, h, w, c] * outputs_HW[h, w] * layer.features
    for t, h, w, c in itertools.product(*map(range, inputs.shape))
  )


def test_accumulates_are_those_of_every_single_spike(spikes):
  rates = {name: x.mean(0) for name, x in spikes.items()}
  counted = 0
  for layer in operations.layers(**SMALL):
    got = operations.count(layer, rates, timesteps=4)
    if not layer.sources:
      image = np.ones((1, *layer.inputs))  # pixels: all count, once
      assert (got.accumulates, got.multiply_accumulates) == (0, brute_force(layer, image))
      continue
    inputs = np.concatenate([spikes[s].reshape(4, -1) for s in layer.sources], axis=1)
    want = brute_force(layer, inputs.reshape(4, *layer.inputs))
    assert got.accumulates == pytest.approx(want, rel=1e-5), layer.name
    assert got.multiply_accumulates == 0
    counted += want > 0
  assert counted >= 10  # most layers did get spikes


def test_every_layer_of_the_model_is_listed_with_its_shape(spikes):
  layers = operations.layers(**SMALL)
  assert {layer.name for layer in layers} - {'decoder/pixels'} == {
    name for name in spikes if not name.startswith('latent/')
  }
  for layer in layers:
    if layer.name != 'decoder/pixels':
      assert spikes[layer.name].shape[1:] == layer.outputs


def uniform(layers, rate):
  rates = {layer.name: np.full(layer.outputs, rate) for layer in layers}
  del rates['decoder/pixels']
  return rates | {name: np.full(128, rate) for name in ('latent/z', 'latent/history')}


def test_known_energies_of_the_mnist_model_at_30_percent():
  layers = operations.layers(**MNIST)
  rows = operations.path_table(layers, 'reconstruct', uniform(layers, 0.3), 16, PJ, rule='nominal')
  total = operations.totals(rows)
  assert total['ann_energy_uj'] == pytest.approx(46.9, abs=0.05)
  assert total['energy_uj'] == pytest.approx(50.0, abs=0.2)
  assert total['sop_rate'] == pytest.approx(0.3)
  assert operations.break_even(total, PJ) == pytest.approx(0.28, abs=0.005)
  events = operations.path_table(layers, 'reconstruct', uniform(layers, 0.3), 16, PJ)
  assert operations.totals(events)['ann_energy_uj'] == pytest.approx(40.5, abs=0.05)


def test_break_even_is_where_the_energies_meet():
  layers = operations.layers(**MNIST)
  table = lambda rate: operations.totals(
    operations.path_table(layers, 'reconstruct', uniform(layers, rate), 16, PJ)
  )
  total = table(operations.break_even(table(0.2), PJ))
  assert total['energy_uj'] == pytest.approx(total['ann_energy_uj'])


@pytest.mark.parametrize('column, published', [(0, 5.0e10), (1, 5.6e8)])
def test_the_published_table_by_its_own_rules(column, published):
  """Each column alone tells the rate, were it the same everywhere: both say about 30 %."""
  layers = operations.layers(**MNIST)
  at = lambda rate: operations.reference_table(layers, uniform(layers, rate), 16)[column]
  implied = (published - at(0)) / (at(1) - at(0))
  assert implied == pytest.approx(0.3, abs=0.01)
  assert at(0.3) == pytest.approx(published, rel=0.03)


def test_dead_channels_and_rates():
  layers = operations.layers(**SMALL)
  rates = {layer.name: np.full(layer.outputs, 0.5) for layer in layers[:-1]}
  rates |= {name: np.full(5, 0.5) for name in ('latent/z', 'latent/history')}
  rates['encoder/conv_0'][..., 1] = 0
  first = operations.path_table(layers, 'reconstruct', rates, 4, PJ)[0]
  assert (first['dead_channels'], first['channels']) == (1, 3)
  assert first['firing_rate'] == pytest.approx(1 / 3)

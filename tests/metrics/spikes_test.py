"""Figures of spikes that are known."""

import functools
import operator
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsvae_jax.metrics import operations, spikes
from fsvae_jax.models import fsvae
from fsvae_jax.models.records import Operations

PJ = (0.9, 4.6)


def test_a_channel_that_always_fires_does_so_in_batches_of_any_number():
  always = functools.reduce(operator.add, [0.1] * 10)  # as means over ten batches add up
  assert always != 1
  layers = {'encoder/conv_0': Operations(np.ones((8, 8, 1)), np.int32(16), np.ones((8, 8, 1)))}
  rates = {'encoder/conv_0': np.full((4, 4, 3), 0.5)}
  rates['latent/z'] = np.array([always, 1 - 1 / 16_000, 0.0, 0.5])
  table = lambda path, rates, layers: operations.table(layers, rates, {}, 16, PJ)
  per_seed = [dict.fromkeys(spikes.PATHS, (rates, layers))]
  figures = spikes.figures_of(per_seed, table, dict.fromkeys(spikes.PATHS, 1000), PJ).figures
  for name in ('latent_always_fires', 'latent_never_fires'):
    assert figures[name].values == pytest.approx([1 / 4])


def test_each_way_has_the_spikes_of_its_own_images():
  asked = []
  made = types.SimpleNamespace(latents='LLL', test_images='TTT', samples='SSS')
  made.trained = types.SimpleNamespace(means=lambda function, *arrays: asked.append(arrays))
  assert set(spikes.measure(made, {'reconstruct': 2, 'generate': 1})) == set(spikes.PATHS)
  assert asked == [('LL', 'TT'), ('S',)]


def test_the_rate_latents_prior_is_one_product_a_sample():
  model = fsvae.make(image_size=8, features=(3, 4), timesteps=3, latent_dim=5, latent='rate')
  variables = model.init(jax.random.key(0))
  _, layers = spikes.records(model, variables, jax.random.key(0), jnp.zeros((2, 3, 5)))
  assert operations.count(layers['prior/dense'])['multiply_accumulates'] == 5 * 5


@pytest.mark.parametrize('fields', [{'latent': 'rate'}, {'readout': 'attention'}], ids=str)
def test_every_member_of_the_family_is_recorded_and_counted_layer_by_layer(fields):
  own = {'image_size': 8, 'features': (3, 4), 'timesteps': 3, 'latent_dim': 5, 'draws': 2}
  model = fsvae.make(**own, **fields)
  variables = jax.eval_shape(model.init, jax.random.key(0))
  z_BTD, image = jnp.zeros((2, 3, 5)), jnp.zeros((2, 8, 8, 1))
  networks = {'reconstruct': {'encoder', 'decoder'}, 'generate': {'prior', 'decoder'}}
  for path, on in {'reconstruct': (z_BTD, image), 'generate': (z_BTD,)}.items():
    rates, layers = jax.eval_shape(
      functools.partial(spikes.records, model), variables, jax.random.key(0), *on
    )
    assert {name.partition('/')[0] for name in layers} >= networks[path]
    assert set(rates) - set(layers) <= {'latent/z'} | {n for n in rates if n.startswith('prior/')}
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), (rates, layers))
    rows = operations.table(zeros[1], zeros[0], {}, 3, PJ)
    assert [row['layer'] for row in rows] == list(layers)

"""Figures of spikes that are known."""

import functools
import operator

import numpy as np
import pytest

from fsvae_jax.metrics import operations, spikes
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

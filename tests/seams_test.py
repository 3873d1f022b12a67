"""The seams, tried: a latent and a read-out of one's own are a function and a row each."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from fsvae_jax import evaluate, train
from fsvae_jax.compute import layout
from fsvae_jax.models import readouts
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.latents import LATENTS
from fsvae_jax.models.layers import SpikingLayer
from fsvae_jax.models.readouts import READOUTS
from fsvae_jax.run import writer
from tests import smoke

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


class Prior(nn.Module):
  """Rates [D], and a spiking layer on random spikes, for something to be counted."""

  latent_dim: int
  neuron: object

  @nn.compact
  def __call__(self, noise_BTD, train=False):
    SpikingLayer(self.latent_dim, self.neuron, name='dense')(noise_BTD, train)
    return nn.sigmoid(self.param('logits', nn.initializers.zeros, (self.latent_dim,)))


def independent(config, neuron):
  """z[t, d] ~ Bernoulli(mean_t x[t, d]), independently; the prior's rates are learned numbers."""

  def draw(key, count, train=False):
    shape = count, config.timesteps, config.latent_dim
    return jax.random.uniform(key, shape, out_sharding=layout.batch_split(count))

  def spikes(rates, draws_BTD):  # straight-through
    z_BTD = (draws_BTD < rates).astype(draws_BTD.dtype)
    return rates + jax.lax.stop_gradient(z_BTD - rates)

  def sample(run, draws):
    return spikes(run('prior', draws)[None, None], draws)

  def infer(run, x_BTD, draws, schedule):
    rates_B1D = x_BTD.mean(1, keepdims=True)
    return spikes(rates_B1D, draws), {'q': rates_B1D, 'p': run('prior', draws)}

  return Latent(
    networks={'prior': Prior(config.latent_dim, neuron)},
    shapes={'prior': (1, config.timesteps, config.latent_dim)},
    draw=draw,
    encode=lambda run, x_BTD, draws: spikes(x_BTD.mean(1, keepdims=True), draws),
    sample=sample,
    infer=infer,
    distance=lambda terms: jax.numpy.square(terms['q'].mean((0, 1)) - terms['p']).mean(),
    weight=1.0,
    replay=lambda run, z_BTD, x_BTD=None: None if x_BTD is not None else run('prior', z_BTD),
  )


def mean(module, neuron, drive, pixels):
  weights_T = np.full(drive.timesteps, 1 / drive.timesteps, np.float32)
  return readouts.weighted(neuron, drive, pixels(gain=1.0), weights_T, total=1.0)


def test_a_latent_and_a_readout_of_ones_own_train_are_counted_and_reported(tmp_path, monkeypatch):
  monkeypatch.setitem(LATENTS, 'independent', independent)
  monkeypatch.setitem(READOUTS, 'mean', mean)
  fields = {'model.latent': 'independent', 'model.readout': 'mean', 'train.steps': 20}
  config = smoke.config(tmp_path / 'cache', **fields)
  config.train.update(batch_size=32, learning_rate=1e-2, log_every=1, test_every=0)
  config.eval.update(metrics=('reconstruction', 'spikes'), seeds=1, images=16, probe=16)
  assert train.train_and_evaluate(config, tmp_path / 'run')[0]
  rows = writer.read_metrics(tmp_path / 'run')
  first, last = rows[0]['train/loss'], rows[-1]['train/loss']
  assert last < 0.8 * first and 0 < rows[-1]['train/rate/z'] < 1
  results = evaluate.evaluate(config, tmp_path / 'run')
  assert results['figures']['energy_uj_generate']['mean'] > 0
  counted = {row['layer'] for row in results['details']['spikes']['layers']['generate']}
  assert {'prior/dense', 'decoder/dense', 'decoder/pixels'} <= counted
  report = (tmp_path / 'run' / 'report.html').read_text()
  assert 'prior/dense' in report and 'independent' in report

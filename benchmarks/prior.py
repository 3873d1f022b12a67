"""Where the prior loses quality: Frechet distances of samples that begin as an image of the data.

    python -m benchmarks.prior --workdir runs/digits
    python -m benchmarks.prior --workdir runs/mnist eval.fad_reference=DIR --components 50 200 1000

First, the prior goes on from the posterior's first steps for each test image: from none, where its
network begins, to all, which is reconstruction. Then its first steps are drawn from mixtures of so
many patterns, fitted to the posterior's for training images as model.latent 'mixture' does.
Distances are in the code that evaluation uses, with eval.fad_reference the authors'; one seed.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import fields
from benchmarks.tables import header, row
from fsvae_jax import inference
from fsvae_jax.compute import checks
from fsvae_jax.compute.recurrence import at
from fsvae_jax.metrics import fad, frechet
from fsvae_jax.models import fsvae, inputs
from fsvae_jax.models.latents import bernoulli, mixture
from fsvae_jax.models.passes import Pass

TRAINED_ON = 20_000  # training images at most that a mixture is fitted to


def from_first(nets: fsvae.Networks):
  """A function for `Trained.over` of latents [B, T, D] and [B] of how many steps of each the prior
  is given: to the images of what it goes on to."""

  def go_on(model, variables, key, first_BTD, given_B):
    def begin_with(t, z_BD):
      return jnp.where(t < given_B[:, None], at(first_BTD, t), z_BD)

    picks_BTD = nets.latent.draw(key, len(first_BTD))['picks']
    unlabelled = inputs.labels(nets.config.classes, None, len(first_BTD))
    step = Pass(nets.modules, variables, unlabelled).step('prior')
    return model.decode(variables, bernoulli.sample(step, picks_BTD, begin_with=begin_with))

  return go_on


def begun(patterns: dict, count: int, timesteps: int) -> np.ndarray:
  """Latents [count, T, D] whose first steps are those of a mixture's patterns; the rest is zero."""
  (components, features), dim = patterns['rate'].shape, len(patterns['mixing'])
  module = mixture.Patterns(components, features // dim, dim)
  uniform_BU = jax.random.uniform(jax.random.key(0), (count, 1 + dim))
  first_NTD, _ = module.apply({'batch_stats': patterns}, uniform_BU)
  return np.pad(first_NTD, ((0, 0), (0, timesteps - first_NTD.shape[1]), (0, 0)))


def space_of(trained: inference.Trained):
  """The code that distances are measured in, with its statistics."""
  if not trained.config.eval.fad_reference:
    return fad.own_space(trained.config, trained.images)
  space = fad.authors_space(trained.config, trained.mesh)
  if reason := fad.of_others(trained.config, space, trained.images('test')):
    raise ValueError(reason)
  return space


def rows(trained: inference.Trained, components: list[int]):
  """(what the prior begins with, distance), one after the other."""
  config = trained.config
  checks.one_of('model.latent', config.model.latent, ('bernoulli', 'mixture'))
  nets = fsvae.networks_of(config.model)
  space = space_of(trained)
  go_on = from_first(nets)

  def distance(first_NTD, steps):
    images = trained.over(go_on, first_NTD, np.full(len(first_NTD), steps))
    return frechet.distance(frechet.gaussian(space.code(images)), space.statistics)

  timesteps = config.model.timesteps
  images = trained.images('test')[: config.eval.images]
  seeds = range(-(-config.eval.images // len(images)))  # as many latents as images are generated
  test_NTD = np.concatenate([trained.encode(images, seed) for seed in seeds])
  for steps in range(timesteps + 1):
    yield f'{steps} steps of the posterior', distance(test_NTD, steps)
  images = trained.images('train')
  chosen = np.linspace(0, len(images) - 1, min(len(images), TRAINED_ON)).astype(int)
  train_NTD = trained.encode(images[chosen])
  for steps in sorted({max(1, n * timesteps // 4) for n in (0, 1, 2, 3, 4)}):
    for count in components:
      patterns = mixture.fit(count, 0, train_NTD[:, :steps])['patterns']
      first_NTD = begun(patterns, config.eval.images, timesteps)
      yield f'{steps} steps of {count} patterns', distance(first_NTD, steps)


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--components', type=int, nargs='+', default=[1, 10, 50, 200])
  args = parser.parse_args()
  trained = fields.trained(args)
  header('the prior begins with', 'FAD')
  for begins, distance in rows(trained, args.components):
    row(begins, distance)


if __name__ == '__main__':
  main()

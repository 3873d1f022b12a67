"""MNIST in an hour on two CPU cores.

    python -m fsvae_jax.main --config=mnist_best

Expect a test reconstruction error of .030 and, in the authors' features, a Frechet distance of 18
(published: .031 and 35.5, after 150 epochs). What each choice does, and what more steps bring:
docs/explanation/recipes.md.
"""

from fsvae_jax.configs import default


def get_config(kind=''):
  """The published model with half of the steps, a quarter of the draws, and a mixture for the
  prior's first steps; a wider surrogate; Muon, small batches, cosine schedule, averaged
  parameters."""
  config = default.get_config()
  config.data.name = 'mnist'
  config.model.timesteps = 8
  config.model.draws = 5
  config.model.latent = 'mixture'
  config.model.components = 400
  config.model.surrogate = 'triangle'
  config.model.surrogate_width = 1.5
  config.train.batch_size = 50
  config.train.steps = 4600
  config.train.optimizer = 'muon'
  config.train.learning_rate = 1e-2
  config.train.schedule = 'cosine'
  config.train.warmup_steps = 100
  config.train.ema_decay = 0.99
  config.train.test_every = 1150
  config.train.checkpoint_every = 200
  return default.of_kind(config, kind, batches=1200)

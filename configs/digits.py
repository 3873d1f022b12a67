"""scikit-learn's 1,797 handwritten digits: nothing to download, done within minutes on a laptop.

    python -m fsvae_jax.main --config=digits

Expect a test reconstruction error of about 0.04 and samples that are legible digits.
"""

from fsvae_jax.configs import default


def get_config(kind=''):
  """The model at 16x16 (the digits are 8x8), one convolution less; 22 epochs, cosine schedule."""
  config = default.get_config()
  config.data.name = 'digits'
  config.model.image_size = 16
  config.model.features = (32, 64, 128)
  config.train.batch_size = 48
  config.train.steps = 700
  config.train.learning_rate = 2e-3
  config.train.schedule = 'cosine'
  config.train.test_every = 350
  config.train.checkpoint_every = 100
  config.test.batch_size = 179  # all test images: a smaller last batch would compile anew
  config.eval.images = 1000
  config.eval.fad_epochs = 50  # of 6 steps
  return default.of_kind(config, kind, batches=32)

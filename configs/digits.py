"""scikit-learn's 1,797 handwritten digits: nothing to download, done within minutes on a laptop.

    python -m fsvae_jax.main --config=digits

Expect a test reconstruction error below 0.03, legible digits, and not much more than half of the
ANN's energy.
"""

from fsvae_jax.configs import default, mnist_best


def get_config(kind=''):
  """The recipe of configs/mnist_best.py at 16x16 (the digits are 8x8): one convolution less, half
  as many latent channels and patterns, smaller batches, half the learning rate, a shorter moving
  average; 15 epochs."""
  config = mnist_best.get_config()
  config.data.name = 'digits'
  config.model.image_size = 16
  config.model.latent_dim = 128
  config.model.components = 200  # of 1,618 training images
  config.model.features = (32, 64, 128)
  config.train.batch_size = 48
  config.train.steps = 500
  config.train.learning_rate = 1e-2
  config.train.warmup_steps = 50
  config.train.ema_decay = 0.98
  config.train.test_every = 250
  config.train.checkpoint_every = 100
  config.test.batch_size = 179  # all test images: a smaller last batch would compile anew
  config.eval.images = 1000
  config.eval.fad_epochs = 50  # of 6 steps
  # MNIST's batches, 240: by one over the digits' own 33 an ANN's latent collapses (error .154).
  return default.of_kind(config, kind, batches=240)

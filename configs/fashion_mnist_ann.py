"""The conventional VAE of the FSVAE's shape, on Fashion-MNIST: what the paper compares with.

    python -m fsvae_jax.main --config=configs/fashion_mnist_ann.py

Published test reconstruction after the 150 epochs: .050 (mean squared error, images in [-1, 1]).
"""

from configs import default


def get_config():
  """The defaults, with the published baseline's model and weight decay."""
  return default.conventional('fashion_mnist')

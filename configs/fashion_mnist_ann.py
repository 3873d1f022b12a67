"""The ANN VAE of the FSVAE's shape, on Fashion-MNIST: what the paper compares with.

    python -m fsvae_jax.main --config=configs/fashion_mnist_ann.py

Published test reconstruction after 150 epochs: .050 (mean squared error, images in [-1, 1]).
"""

from configs import default, fashion_mnist


def get_config():
  """The data set's configuration, with the other model."""
  return default.ann_vae(fashion_mnist.get_config(), batches=240)

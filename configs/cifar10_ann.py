"""The ANN VAE of the FSVAE's shape, on CIFAR-10: what the paper compares with.

    python -m fsvae_jax.main --config=configs/cifar10_ann.py

Published test reconstruction after 150 epochs: .105 (mean squared error, images in [-1, 1]).
"""

from configs import cifar10, default


def get_config():
  """The data set's configuration, with the other model."""
  return default.ann_vae(cifar10.get_config(), batches=200)

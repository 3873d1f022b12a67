"""Fashion-MNIST with the recipe of configs/mnist_best.py.

python -m fsvae_jax.main --config=fashion_mnist_best
"""

from fsvae_jax.configs import mnist_best


def get_config(kind=''):
  """That recipe, on Fashion-MNIST."""
  config = mnist_best.get_config(kind)
  config.data.name = 'fashion_mnist'
  return config

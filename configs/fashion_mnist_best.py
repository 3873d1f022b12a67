"""Fashion-MNIST in an hour on two CPU cores.

python -m fsvae_jax.main --config=fashion_mnist_best

"""

from fsvae_jax.configs import mnist_best


def get_config(kind=''):
  """The recipe of configs/mnist_best.py, with twice the steps."""
  config = mnist_best.get_config(kind)
  config.data.name = 'fashion_mnist'
  config.train.steps = 4600
  return config

"""scikit-learn's handwritten digits: nothing to download, pictures within minutes on a laptop.

python -m fsvae_jax.main --config=configs/digits.py
"""

from configs import default


def get_config():
  """The full model on 8x8 digits, resized to 32x32."""
  config = default.get_config()
  config.data.name = 'digits'
  config.train.batch_size = 32
  config.train.steps = 400
  config.train.log_every = 20
  config.train.test_every = 200
  config.train.checkpoint_every = 100
  config.test.batch_size = 60
  return config

"""Models by name: `make(config.model)` gives the `Model` whose file `config.model.name` names."""

from fsvae_jax.compute import checks
from fsvae_jax.models import ann, fsvae
from fsvae_jax.models.interface import Model

MODELS = {'fsvae': fsvae.make, 'ann_vae': ann.make_vae, 'autoencoder': ann.make_autoencoder}


def make(config) -> Model:
  """The model of `config.model`; raises ValueError, naming the known ones, for an unknown name."""
  fields = dict(config)
  name = checks.one_of('model', fields.pop('name', None), MODELS)
  return MODELS[name](**fields)


def ann_of(config) -> Model:
  """The ANN VAE of the same sizes as `config.model`: what spikes are compared with."""
  sizes = ('image_size', 'channels', 'features', 'latent_dim')
  return ann.make_vae(**{name: config[name] for name in sizes})

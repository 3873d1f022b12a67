"""Models by name: `make(config.model)` gives the `Model` whose file `config.model.name` names."""

import functools
from collections.abc import Mapping
from typing import Any

from fsvae_jax.compute import checks
from fsvae_jax.models import ann, fsvae, losses
from fsvae_jax.models.interface import Model
from fsvae_jax.models.latents import LATENTS, bernoulli
from fsvae_jax.models.readouts import READOUTS, SO_FAR
from fsvae_jax.spiking.surrogate import SURROGATES

MODELS = {'fsvae': fsvae.make, 'ann_vae': ann.make_vae, 'autoencoder': ann.make_autoencoder}


def make(config: Mapping[str, Any]) -> Model:
  """The model of `config.model`; raises ValueError, naming the known ones, for an unknown name.

  Equal configurations give one and the same model, so that what is compiled of it serves again.

  Examples:
    >>> model = make({'name': 'fsvae', 'image_size': 32, 'latent_dim': 64})
    >>> model.sample is not None and model.record is not None
    True
  """
  fields = {name: tuple(x) if isinstance(x, list) else x for name, x in dict(config).items()}
  name = checks.one_of('model', fields.pop('name', None), MODELS)
  try:
    return _made(MODELS[name], _rows(), **fields)
  except TypeError:  # a value that has no hash, which the model itself names
    return MODELS[name](**fields)


@functools.lru_cache(maxsize=16, typed=True)  # 2 and 2.0 are equal, but not both allowed
def _made(function, rows, **fields):
  return function(**fields)


def _rows():
  """What a model looks up by name: another function of the same name makes another model."""
  tables: tuple = LATENTS, READOUTS, SO_FAR, SURROGATES, bernoulli.PICK_GRADIENTS
  tables += losses.DISTANCES, losses.RATE_DISTANCES, losses.RECONSTRUCTIONS
  return tuple(tuple(table.items()) for table in tables)


def ann_of(config: Mapping[str, Any]) -> Model:
  """The ANN VAE of the same sizes as `config.model`: what spikes are compared with.

  Examples:
    >>> sizes = {'image_size': 32, 'channels': 1, 'features': (32, 64), 'latent_dim': 64}
    >>> ann_of(sizes).record is None  # it has no spikes
    True
  """
  sizes = ('image_size', 'channels', 'features', 'latent_dim')
  if without := [f'model.{name}' for name in sizes if name not in config]:
    raise ValueError(f'{", ".join(without)} are missing, of which the ANN is made to compare with')
  return make({'name': 'ann_vae', **{name: config[name] for name in sizes}})

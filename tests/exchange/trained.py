"""Models of the smallest size, with random weights, as if trained."""

import math

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import inference, models
from fsvae_jax.run import sharding
from tests import smoke

ANN = {'image_size': 8, 'channels': 1, 'features': (6,), 'latent_dim': 6}


def make(workdir, **fields):
  """`inference.Trained` of tests/smoke.py's configuration with other `config.model` fields."""
  config = smoke.config(workdir / 'cache')
  if fields.get('name', 'fsvae') != 'fsvae':
    config = ConfigDict(config.to_dict() | {'model': ANN | fields})
  else:
    config.model.update(fields)
  model, mesh = models.make(config.model), sharding.make_mesh()
  rng = np.random.default_rng(0)

  def some(path, x):
    """Kernels as they start, and vectors, and patterns of a mixture, with which neurons fire, but
    not always."""
    name, bound = path[-1].key, math.prod(x.shape[:-1]) ** -0.5
    low, high = {'mean': (-0.1, 0.1), 'var': (0.01, 0.1), 'bias': (0.01, 0.1)}.get(name, (0.1, 1))
    if x.ndim > 1 and name != 'rate':
      low, high = -bound, bound
    return rng.uniform(low, high, x.shape).astype('f')

  variables = jax.tree.map_with_path(some, jax.eval_shape(model.init, jax.random.key(0)))
  variables = jax.device_put(variables, sharding.replicated(mesh))
  return inference.Trained(config, workdir, 3, model, variables, mesh)


def assert_same(variables, others):
  """The same tree of the same arrays."""
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(variables), jax.device_get(others))

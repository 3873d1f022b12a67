"""What rounding to bfloat16 does to a trained model: to its gradient, and to its spikes.

    python -m benchmarks.bfloat16 --workdir runs/mnist [--images 32]

One training step's gradient and the spikes of reconstructions, of the same test images and draws in
float64, float32 and bfloat16: for each network |g - g64| / |g64|, and for each layer the share of
neurons and timesteps in which it fires and does not in float64, or the other way round. The last
column is the measure for a gradient's error: how far the gradient moves with other draws.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import fields
from benchmarks.tables import header, row
from fsvae_jax import data, inference, models
from fsvae_jax.compute import checks

COMPARED = ('float32', 'bfloat16')


def computed(
  config: ConfigDict, dtype: str, variables: dict, image_BHWC: np.ndarray, seed: int = 0
) -> tuple:
  """Gradients {network: arrays} and spikes {'network/layer': [B, T, ...]} of a model in `dtype`.

  float64 is the type of the variables, the others are that of the synapses.
  """
  model = models.make({**config.model, 'dtype': dtype if dtype == 'bfloat16' else 'float32'})
  with jax.enable_x64(dtype == 'float64'):
    widened = 'float64' if dtype == 'float64' else 'float32'
    variables = jax.tree.map(lambda x: jnp.asarray(x, widened), variables)
    image_BHWC = jnp.asarray(image_BHWC, widened)
    with jax.enable_x64(False):
      draws = model.draw(jax.random.key(seed), len(image_BHWC))  # in float64 others would be drawn

    def loss(params):
      batch = {'image': image_BHWC}
      return model.loss({**variables, 'params': params}, batch, draws, schedule=1)[0]

    z_BTD = model.posterior(variables, image_BHWC, draws)
    gradients = jax.jit(jax.grad(loss))(variables['params'])
    spikes = jax.jit(model.record, static_argnums=0)('spikes', variables, z_BTD, image_BHWC)
    return jax.device_get((gradients, spikes))


def relative_error(tree, exact) -> float:
  """|tree - exact| / |exact|, both taken as one vector."""
  pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(exact), strict=True)
  squares = [(np.sum((np.float64(x) - y) ** 2), np.sum(y**2)) for x, y in pairs]
  off, size = np.sum(squares, 0)
  return float(np.sqrt(off / size))


def compare(trained: inference.Trained, count: int) -> None:
  """Prints both tables, of `count` test images."""
  checks.one_of('model.name', trained.config.model.name, ('fsvae',))
  image_BHWC = np.asarray(data.normalize(np.asarray(trained.images('test')[:count])))
  variables = jax.device_get(trained.variables)
  run = functools.partial(computed, trained.config)
  made = [run(dtype, variables, image_BHWC) for dtype in COMPARED]
  exact_gradients, exact_spikes = run('float64', variables, image_BHWC)
  other_gradients, _ = run('float64', variables, image_BHWC, seed=1)
  header('gradient, relative error', *COMPARED, 'other draws')
  for network, exact in exact_gradients.items():
    if exact:
      gradients = [*(gradients for gradients, _ in made), other_gradients]
      row(network, *(relative_error(tree[network], exact) for tree in gradients))
  header('share of spikes that flip', *COMPARED)
  for layer, exact in exact_spikes.items():
    row(layer, *(float(np.mean(spikes[layer] != exact)) for _, spikes in made))


def main() -> None:
  parser = fields.parser(__doc__)
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--images', type=int, default=32)
  args = parser.parse_args()
  compare(fields.trained(args), args.images)


if __name__ == '__main__':
  main()

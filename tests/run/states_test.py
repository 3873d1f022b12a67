"""Optimizer, schedules and the moving average, each against what it should do to one parameter."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fsvae_jax import configuration, models
from fsvae_jax.configs import default
from fsvae_jax.run import states


def updates(steps, gradient=1.0, **fields):
  """The updates [steps] that a parameter of zero gets from a constant gradient."""
  config = default.get_config().train
  config.update(fields)
  optimizer = states.make_optimizer(config, steps)
  param, moves = jnp.zeros(3), []
  opt_state = optimizer.init(param)
  for _ in range(steps):
    update, opt_state = optimizer.update(jnp.full(3, gradient), opt_state, param)
    moves.append(float(update[0]))
  return np.array(moves)


def test_the_published_recipe_steps_by_the_learning_rate():
  np.testing.assert_allclose(updates(5), -1e-3, rtol=1e-4)


def test_weight_decay_shrinks_every_parameter():
  config = default.get_config().train
  optimizer = states.make_optimizer(config, 1)
  param = jnp.full(2, 3.0)
  update, _ = optimizer.update(jnp.zeros(2), optimizer.init(param), param)
  np.testing.assert_allclose(update, -1e-3 * 1e-3 * 3.0, rtol=1e-5)


def test_warmup_rises_and_cosine_falls_to_zero():
  moves = -updates(21, warmup_steps=5, schedule='cosine')
  assert moves[0] == 0 and np.all(np.diff(moves[:6]) > 0) and np.all(np.diff(moves[6:]) < 0)
  assert moves[5] == pytest.approx(1e-3, rel=1e-3) and moves[-1] < 1e-4


def test_clipping_bounds_the_gradient_that_adam_sees():
  config = default.get_config().train
  config.clip_norm = 0.5
  optimizer = states.make_optimizer(config, 1)
  param = jnp.zeros(4)
  _, opt_state = optimizer.update(jnp.full(4, 100.0), optimizer.init(param), param)
  (first_moment,) = (s.mu for s in opt_state[-1] if isinstance(s, optax.ScaleByAdamState))
  np.testing.assert_allclose(np.linalg.norm(first_moment), 0.1 * 0.5, rtol=1e-5)


def test_tests_use_the_moving_average_if_there_is_one():
  variables = {'params': {'encoder': jnp.ones(2)}, 'batch_stats': jnp.zeros(1)}
  optimizer = states.make_optimizer(default.get_config().train, 1)
  plain = states.create(variables, optimizer, 0.0)
  assert plain.ema == {} and plain.evaluated() is plain.variables
  averaged = states.create(variables, optimizer, 0.9)
  assert averaged.evaluated() is averaged.ema


@pytest.mark.parametrize('shape', [(3, 3, 4, 8), (12, 5), (4, 9)])
def test_muon_moves_a_kernel_by_an_orthogonal_matrix_as_large_as_adamws_update(shape):
  config = default.get_config().train
  config.update(optimizer='muon', weight_decay=0.0)
  optimizer = states.make_optimizer(config, 1)
  param = jnp.zeros(shape)
  gradient = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
  update, _ = optimizer.update(gradient, optimizer.init(param), param)
  matrix = np.asarray(update).reshape(-1, shape[-1])
  values = np.linalg.svd(matrix, compute_uv=False)
  assert values.max() < 1.8 * values.min()  # five iterations make them about equal
  assert np.sqrt(np.mean(matrix**2)) == pytest.approx(0.2e-3, rel=0.2)
  assert np.sum(matrix * gradient.reshape(matrix.shape)) < 0


@pytest.mark.parametrize('shape, width', [((600, 640), 128), ((3, 600, 780), 78)])
def test_muon_moves_a_large_kernel_as_it_moves_each_block_of_outputs_alone(shape, width):
  config = default.get_config().train
  config.update(optimizer='muon')
  optimizer = states.make_optimizer(config, 1)
  gradient = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)

  def moved(gradient):
    state = optimizer.init(jnp.ones_like(gradient))
    update, after = optimizer.update(gradient, state, jnp.ones_like(gradient))
    chex.assert_trees_all_equal_shapes(after, state)
    return update, after

  update, state = moved(gradient)
  assert shape in [x.shape for x in jax.tree.leaves(state)]  # momentum, as in any checkpoint
  for first in range(0, shape[-1], width):
    alone, _ = moved(gradient[..., first : first + width])
    np.testing.assert_allclose(update[..., first : first + width], alone, rtol=1e-3, atol=1e-7)
  assert not np.allclose(update[..., :width], moved(gradient[..., : 2 * width])[0][..., :width])


def test_muon_takes_a_large_kernel_whole_where_no_block_divides_its_outputs():
  kernel = jax.ShapeDtypeStruct((600, 1031), jnp.float32)
  assert jax.eval_shape(states._in_blocks, kernel).shape == (600, 1, 1031)


def test_muon_takes_kernels_of_a_narrow_latent_whole():
  for name in ('digits', 'mnist_long'):
    model = models.make(configuration.load(name).model)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    for kernel in jax.tree.leaves(variables['params']):
      assert states._in_blocks(kernel) is kernel


def test_muon_moves_scales_and_biases_as_adamw_with_nesterovs_momentum_does():
  moves = updates(7, optimizer='muon', weight_decay=0.3)
  optimizer = optax.adamw(1e-3, weight_decay=0.3, nesterov=True)
  param, opt_state = jnp.zeros(3), optimizer.init(jnp.zeros(3))
  for got in moves:
    update, opt_state = optimizer.update(jnp.ones(3), opt_state, param)
    np.testing.assert_allclose(got, update[0], rtol=1e-5)


def test_only_the_networks_named_learn():
  params = {'encoder': jnp.ones(1), 'prior': jnp.ones(2)}
  assert list(states.learning(params, ('prior',))) == ['prior']
  assert states.learning(params, ()) == params

"""Perturbations of spikes do what their names say."""

import types

import numpy as np

from fsvae_jax.metrics import robustness

RNG = np.random.default_rng(0)
Z = (RNG.random((20, 16, 32)) < 0.3).astype(np.float32)


def test_dropout_only_removes_and_as_many_as_asked():
  np.testing.assert_array_equal(robustness.dropout(Z, 0.0, RNG), Z)
  assert not robustness.dropout(Z, 1.0, RNG).any()
  lost = robustness.dropout(Z, 0.25, RNG)
  assert (lost <= Z).all() and abs(lost.sum() / Z.sum() - 0.75) < 0.03


def test_flips_go_both_ways():
  np.testing.assert_array_equal(robustness.flip(Z, 0.0, RNG), Z)
  np.testing.assert_array_equal(robustness.flip(Z, 1.0, RNG), 1 - Z)
  changed = robustness.flip(Z, 0.2, RNG) != Z
  assert all(abs(changed[value == Z].mean() - 0.2) < 0.03 for value in (0, 1))


def test_shuffle_moves_whole_steps_and_each_image_by_itself():
  shuffled = robustness.shuffle(Z, RNG)
  steps = lambda z_TD: sorted(map(tuple, z_TD))
  assert all(steps(a) == steps(b) for a, b in zip(Z, shuffled, strict=True))
  same = robustness.shuffle(np.tile(Z[:1], (2, 1, 1)), RNG)
  assert (shuffled != Z).any() and (same[0] != same[1]).any()


def test_interpolation_starts_and_ends_at_its_images_and_never_turns_back():
  way = robustness.interpolate(Z[0], Z[1], 9, RNG)
  np.testing.assert_array_equal(way[0], Z[0])
  np.testing.assert_array_equal(way[-1], Z[1])
  assert (np.abs(np.diff(way, axis=0)).sum(0) == np.abs(Z[1] - Z[0])).all()


def test_early_stops_end_with_all_steps():
  assert robustness.early_stops(16) == [4, 8, 12, 16]
  assert robustness.early_stops(5)[-1] == 5 and robustness.early_stops(1) == [1]


def curves_of(latents):
  """Of a model whose image is the first step of the latent."""
  decode = lambda z_NTD: z_NTD[:, 0].reshape(len(z_NTD), 4, 4, 1)
  made = types.SimpleNamespace(
    trained=types.SimpleNamespace(config=types.SimpleNamespace(seed=0), decode=decode),
    seed=0,
    latents=latents,
    test_images=np.full((len(latents), 4, 4, 1), 255, np.uint8),
    reconstructions=decode(latents),
  )
  return robustness.curves(made, len(latents))


def test_each_curve_is_of_its_own_perturbation():
  silent = curves_of(np.zeros((50, 8, 16), np.float32))
  assert len(set(silent['dropout'].values())) == 1  # there is nothing to lose
  errors = [silent['flip'][level] for level in robustness.FLIPS]
  assert errors == sorted(errors, reverse=True) and errors[0] == 1 > errors[-1] > 0.7
  early = np.zeros((50, 8, 16), np.float32)
  early[:, 0] = 1
  assert curves_of(early)['dropout'][0.0] == 0 and curves_of(early)['shuffle'][1] > 0.7


def test_each_figure_is_its_own_point():
  levels = {
    'dropout': robustness.DROPOUTS,
    'flip': robustness.FLIPS,
    'shuffle': (1,),
    'steps': (2, 4, 6, 8),
  }
  points = {(name, level): i for i, (name, of) in enumerate(levels.items()) for level in of}
  curves = {
    name: {level: 100 * points[name, level] + level for level in of} for name, of in levels.items()
  }
  figures = robustness.figures_of([curves], 10, half=4).figures
  assert {name: figure.values[0] for name, figure in figures.items()} == {
    'mse_unperturbed': 0.0,
    'mse_dropout_10': 0.1,
    'mse_flip_5': 100.05,
    'mse_shuffled': 201,
    'mse_half_time': 304,
  }

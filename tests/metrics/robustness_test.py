"""Perturbations of spikes do what their names say."""

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

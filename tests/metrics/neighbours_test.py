"""Overlap of two sets of features on cases with a known answer."""

import itertools

import numpy as np
import pytest
import sklearn

from fsvae_jax import data
from fsvae_jax.metrics import neighbours

RNG = np.random.default_rng(0)
SET = RNG.normal(size=(60, 4))


def test_a_set_has_precision_and_recall_one_with_itself():
  assert neighbours.precision_recall(SET, SET) == (1, 1)


def test_disjoint_sets_have_none():
  assert neighbours.precision_recall(SET, SET + 100) == (0, 0)


@pytest.mark.parametrize('seed', range(5))
def test_copies_are_among_each_other(seed):
  drawn = np.random.default_rng(seed).normal(size=(200, 64)).astype(np.float32)
  for copies in (np.repeat(drawn, 5, 0), np.tile(drawn[:1], (20, 1))):
    assert neighbours.precision_recall(copies, copies.copy()) == (1, 1)


def test_copies_of_one_image_are_precise_and_recall_next_to_nothing():
  precision, recall = neighbours.precision_recall(np.tile(SET[:1], (60, 1)), SET)
  assert precision == 1 and recall <= 1 / 60


def test_half_of_the_modes_is_half_of_the_recall():
  real = np.concatenate([SET, SET + 100])
  assert neighbours.precision_recall(np.concatenate([SET, SET]), real) == (1, 0.5)


def test_a_vector_on_a_line_is_among_those_that_reach_it():
  line = np.arange(5.0)[:, None]  # the ends reach 3 far, their neighbours and the middle 2
  distances = [2.5, 3.5]  # beyond the last one, which reaches 3
  among = [neighbours.share_among(np.full((4, 1), 4 + d), line) for d in distances]
  assert among == [1, 0]


def test_blocks_give_what_the_whole_matrix_gives():
  a, b = RNG.normal(size=(700, 3)), RNG.normal(size=(700, 3)) + 1
  distance = lambda x, y: np.linalg.norm(x[:, None] - y[None], axis=-1)
  radius = np.sort(distance(b, b), axis=1)[:, neighbours.NEAREST]
  want = (distance(a, b) <= radius[None]).any(1).mean()
  with sklearn.config_context(working_memory=1):
    assert neighbours.share_among(a, b) == want
  assert 0.1 < want < 0.9


def slow_kernel_distance(a, b):
  k = lambda x, y: (x @ y / len(x) + 1) ** 3
  within = lambda x: np.mean([k(*pair) for pair in itertools.permutations(x, 2)])
  return within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_the_kernel_distance_is_the_mean_over_pairs():
  a, b = SET[:20], SET[20:50] + 0.5
  assert neighbours.kernel_distance(a, b) == pytest.approx(slow_kernel_distance(a, b))


def test_the_kernel_distance_of_one_distribution_is_zero_on_average():
  draw = lambda shift=0.0: RNG.normal(size=(150, 4)) + shift
  same = [neighbours.kernel_distance(draw(), draw()) for _ in range(40)]
  assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(40) and min(same) < 0
  assert neighbours.kernel_distance(draw(), draw(0.5)) > 3 * np.std(same)


@pytest.mark.parametrize('count', [1, 3])
def test_sets_without_neighbours_are_refused(count):
  with pytest.raises(ValueError, match='are too few: more than 3 vectors are needed'):
    neighbours.precision_recall(SET[:count], SET)
  with pytest.raises(ValueError, match='few'):
    neighbours.kernel_distance(SET[:1], SET)
  with pytest.raises(ValueError, match=r'have the shape \(4,\); it must be \(N, D\)'):
    neighbours.precision_recall(SET[0], SET)


def test_the_nearest_image_is_found_in_any_block():
  pixels = RNG.integers(0, 256, (50, 4, 4, 1), np.uint8)
  images = data.Images('train', pixels.shape, lambda rows: pixels[rows], streamed=False)
  changed = pixels[[40, 3, 17]].copy()
  changed[:, 0, 0] ^= 1
  np.testing.assert_array_equal(neighbours.nearest(changed, images, rows=8), [40, 3, 17])

"""Figures of generated images whose classes are known."""

import types

import numpy as np
import pytest

from fsvae_jax import data
from fsvae_jax.configs import digits
from fsvae_jax.metrics import labels


def test_entropy_is_in_bits():
  assert labels.entropy(np.repeat(np.arange(4), 5)) == 2
  assert str(labels.entropy(np.zeros(9))) == '0.0'  # and not -0


def test_a_generator_that_draws_what_is_asked_for_is_right_and_one_that_does_not_is_not(tmp_path):
  config = digits.get_config()
  config.data.cache_dir = str(tmp_path)
  config.eval.update(probe=100, images=60)
  images = {split: data.load(config.data, 8, 1, split) for split in ('train', 'test')}
  train = images['train']
  first = np.array([np.flatnonzero(train.labels == label)[0] for label in range(10)])
  drawn = lambda label_N: data.normalize(train[:][first[label_N]])

  def figures(shift, classes=10):
    generate = lambda count, seed, label: drawn((label + shift) % 10)
    model = types.SimpleNamespace(sample=True, classes=classes)
    trained = types.SimpleNamespace(config=config, model=model, generate=generate)
    metric = labels.evaluate(trained, images.__getitem__)
    made = types.SimpleNamespace(generated=drawn(np.arange(60) % 10), seed=0)
    return metric.result([metric.measure(made)]).figures

  right = figures(0)
  assert right['label_accuracy'].values[0] == 1 and figures(1)['label_accuracy'].values[0] == 0
  untrained = figures(0, classes=12)  # nobody asks for classes that no training image has
  assert untrained['label_accuracy'].values[0] == 1
  assert right['label_entropy'].values[0] == pytest.approx(np.log2(10))
  assert 'classes of 60 samples' in right['label_entropy'].protocol
  assert 'share of 100 samples' in right['label_accuracy'].protocol


def test_more_classes_than_it_can_tell_apart_are_left_alone():
  trained = types.SimpleNamespace(model=types.SimpleNamespace(sample=True))
  images = types.SimpleNamespace(labels=np.arange(labels.CLASSES + 1))
  assert '201 classes are too many' in labels.missing(trained, images, images)
  images.labels[-1] = 0
  assert not labels.missing(trained, images, images)

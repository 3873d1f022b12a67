"""Every field of a configuration has a range, which is checked at the start."""

import math

import numpy as np
import pytest

from fsvae_jax import evaluate, fields, train
from fsvae_jax.configs import celeba, default, digits
from fsvae_jax.models import ann, fsvae


@pytest.mark.parametrize('config', [default.get_config(), digits.get_config()])
def test_every_field_has_a_row_and_its_default_is_allowed(config):
  fields.check_all(config)
  assert set(fields.flatten(config)) <= set(fields.FIELDS)
  assert set(fields.flatten(celeba.get_config('ann'))) <= set(fields.FIELDS)


NUMBERS = [name for name, field in fields.FIELDS.items() if field.holds(1) or field.holds(0.5)]


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, None, '3', [3]])
@pytest.mark.parametrize('name', NUMBERS)
def test_no_number_may_be_something_else(name, value):
  section, _, field = name.rpartition('.')
  with pytest.raises(ValueError, match=f'{name} is .*it must be '):
    fields.check(section, {field: value})


COUNTS = [name for name in NUMBERS if not fields.FIELDS[name].holds(0.5)]


@pytest.mark.parametrize('name', COUNTS)
def test_counts_are_whole_and_not_negative(name):
  section, _, field = name.rpartition('.')
  for value in (-1, 1.5, True):
    with pytest.raises(ValueError, match=f'{name} is {value}; it must be '):
      fields.check(section, {field: value})


@pytest.mark.parametrize(
  'name, value, words',
  [
    ('train.keep', 0, 'at least 1'),
    ('train.epochs', 0, 'at least 1'),
    ('train.micro_batches', 0, 'at least 1'),
    ('train.learning_rate', 0.0, 'above 0'),
    ('train.learning_rate', -1e-3, 'above 0'),
    ('train.ema_decay', 1.0, 'at least 0, below 1'),
    ('train.weight_decay', -0.1, 'at least 0'),
    ('train.clip_norm', -1.0, 'at least 0'),
    ('test.samples', 0, 'at least 1'),
    ('test.batch_size', 0, 'at least 1'),
    ('seed', 2**31, 'from 0 to'),
    ('eval.seeds', 0, 'at least 1'),
    ('eval.ac_pj', -0.9, 'at least 0'),
    ('data.decoded_gb', -1.0, 'at least 0'),
    ('data.flip', 1, 'True or False'),
    ('model.features', (), 'one width of at least 1'),
    ('model.features', (4, 0), 'one width of at least 1'),
    ('model.features', 8, 'one width of at least 1'),
    ('model.scheduled_sampling', (0.1,), 'two rates'),
    ('model.scheduled_sampling', (0.1, math.nan), 'two rates'),
    ('model.channels', 4, 'grey'),
    ('model.learned', ('tau', 'tau'), 'each once'),
    ('data.cache_dir', '', 'a folder'),
  ],
)
def test_a_value_out_of_range_is_named_before_anything_is_written(tmp_path, name, value, words):
  config = digits.get_config()
  section, _, field = name.rpartition('.')
  with config.unlocked(), config.ignore_type():
    (config[section] if section else config)[field] = value
  with pytest.raises(ValueError, match=f'(?s){name} is .*it must be .*{words}'):
    train.train_and_evaluate(config, tmp_path / 'run')
  assert not list(tmp_path.iterdir())


def test_all_faults_are_told_at_once():
  config = digits.get_config()
  config.train.update(keep=0, steps=-1)
  config.seed = -1
  with pytest.raises(ValueError, match='(?s)seed is -1.*train.keep is 0.*train.steps is -1'):
    fields.check_all(config)


def test_a_model_made_by_hand_is_checked_alike():
  with pytest.raises(ValueError, match='model.timesteps is 0; it must be an integer, at least 1'):
    fsvae.make(timesteps=0)
  with pytest.raises(ValueError, match='model.kl_weight is -1'):
    ann.make_vae(kl_weight=-1.0)
  assert fsvae.make(timesteps=np.int64(2)) is not None


@pytest.mark.parametrize('metric, count', [('fad', 1), ('inception', 9)])
def test_too_few_generated_images_for_a_metric_are_refused(metric, count):
  config = digits.get_config()
  config.eval.metrics, config.eval.images = (metric,), count
  with pytest.raises(ValueError, match=f'eval.images is {count}, too few for the metric {metric}'):
    evaluate.check(config)
  config.eval.metrics = ('reconstruction',)
  evaluate.check(config)

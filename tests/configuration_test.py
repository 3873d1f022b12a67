"""What `--config` takes."""

import json
import os
import pathlib
import sys

import pytest

from fsvae_jax import configuration, fields, models

ROOT = pathlib.Path(__file__).parent.parent
OWN = """
from fsvae_jax.configs import mnist

def get_config(width='narrow'):
  config = mnist.get_config()
  config.model.features = (8, 8) if width == 'narrow' else (64, 64)
  return config
"""

WITH = """
import numpy as np
from fsvae_jax.configs import mnist

def get_config():
  config = mnist.get_config()
  config.model.{}
  return config
"""
WITHOUT = """
from fsvae_jax.configs import mnist

def get_config():
  config = mnist.get_config()
  with config.unlocked():
    del config.{}
  return config
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
  """A user's own file, in a folder that holds another package of the name `configs`."""
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / '__init__.py').write_text('raise ImportError("not this one")')
  (tmp_path / 'my.py').write_text(OWN)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path / 'my.py'


@pytest.mark.parametrize('name', configuration.names())
def test_every_name_is_a_file_of_the_repository_and_loads_in_any_folder(name, own):
  stem, _, kind = name.partition(':')
  path = ROOT / 'configs' / f'{stem}.py'
  config = configuration.load(name)
  assert config == configuration.load(f'{path}:{kind}') and config.is_locked
  assert config.model.name == ('ann_vae' if kind == 'ann' else 'fsvae')
  models.make(config.model)


def test_the_ann_vae_has_the_shape_and_data_of_the_model_it_is_compared_with():
  for name in configuration.names():
    model, twin = configuration.load(name.partition(':')[0]), configuration.load(name)
    assert model.data == twin.data and model.model.features == twin.model.features
    assert model.model.image_size == twin.model.image_size
  assert configuration.load('celeba:ann').model.kl_weight == 1 / 651


def test_the_family_is_named():
  esvae, taid = (configuration.load(f'mnist:{kind}').model for kind in ('esvae', 'taid'))
  assert (esvae.latent, esvae.latent_dim, esvae.readout) == ('rate', 32, 'leaky')
  assert (taid.latent, taid.latent_dim, taid.readout) == ('bernoulli', 128, 'attention')


def test_a_clone_takes_the_paths_of_its_files(monkeypatch):
  monkeypatch.chdir(ROOT)
  assert configuration.load('configs/mnist.py') == configuration.load('mnist')
  assert configuration.load('configs/mnist.py:ann') == configuration.load('mnist:ann')


def test_a_file_of_ones_own_starts_from_one_of_the_packages(own, monkeypatch):
  monkeypatch.setenv('HOME', str(own.parent))
  for text in ('my.py', './my.py', str(own), '~/my.py'):
    assert configuration.load(text).model.features == (8, 8)
    assert configuration.load(f'{text}:wide').model.features == (64, 64)
  with_colon = own.parent / 'at 12:30'
  with_colon.mkdir()
  (with_colon / 'my.py').write_text(OWN)
  assert configuration.load(f'{with_colon}/my.py:wide').model.features == (64, 64)


@pytest.mark.parametrize('known', [False, True])  # to the caller
def test_a_file_of_ones_own_may_import_files_beside_it_and_leaves_the_path_alone(
  tmp_path, monkeypatch, known
):
  (tmp_path / 'beside.py').write_text('WIDTHS = (8, 16)')
  (tmp_path / 'my.py').write_text('from beside import WIDTHS\n' + OWN.replace('(64, 64)', 'WIDTHS'))
  if known:
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
  before = list(sys.path)
  assert configuration.load(f'{tmp_path}/my.py:wide').model.features == (8, 16)
  assert sys.path == before


@pytest.mark.parametrize('text', configuration.names())
def test_every_configuration_that_is_named_loads_and_holds_what_it_may(text):
  fields.check_all(configuration.load(text))


@pytest.mark.parametrize(
  'text', ['mnst', '', 'mnist:an', 'mnist_ann', 'configs/mnist_ann.py', 'default', '.', '/', 'a\nb']
)
def test_what_is_not_there_is_refused_and_the_known_are_named(text, own):
  with pytest.raises(ValueError, match='known: celeba, celeba:ann, .* mnist, mnist:ann'):
    configuration.load(text)


@pytest.mark.parametrize(
  'text, content, message',
  [
    ('configs/mnist.py:foo', None, "no kind 'foo' of this configuration; known: ann"),
    ('gs://bucket/my.py', None, 'only folders can be read'),
    ('empty.py', '', 'empty.py has no function get_config'),
    ('none.py', 'def get_config(): pass', r'none.py: get_config\(\) returned NoneType'),
    ('dict.py', 'def get_config(): return {}', r'dict.py: get_config\(\) returned dict'),
    ('five.py', 'get_config = 5', 'five.py has no function get_config'),
    (
      'my.py:wide',
      'def get_config(): pass',
      'my.py: .* does not take .*my.py:wide: too many .*leave',
    ),
    (
      'two.py',
      'def get_config(width): pass',
      "two.py: .* missing .*'width'; give it behind a colon",
    ),
    (
      'a.py',
      WITHOUT.format('train'),
      'a.py: .* lacks train; begin with',
    ),
    ('n.py', WITH.format('features = tuple(4 * 2 ** np.arange(2))'), 'n.py: .*int64.*int.x.'),
    (
      'i.py',
      'def get_config():\n  return int("abc")',
      'i.py, line 2: invalid literal',
    ),
    (
      'j.py:foo',
      'from fsvae_jax.configs.mnist import get_config',
      "j.py: there is no kind 'foo' of this configuration; known: ann",
    ),
    ('b.py', WITHOUT.format('seed'), 'b.py: .* lacks seed; begin with'),
    ('c.py', WITHOUT.format('model.channels'), 'c.py: .* lacks model.channels; begin with'),
  ],
)
def test_what_is_no_configuration_says_why(text, content, message, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT if content is None else tmp_path)
  if content is not None:
    (tmp_path / text.partition(':')[0]).write_text(content)
  with pytest.raises(ValueError, match=message):
    configuration.load(text)


@pytest.mark.parametrize(
  'text, name',
  [
    ('mnist', 'mnist'),
    ('mnist:ann', 'mnist_ann'),  # where runs/mnist looks for what it is compared with
    ('configs/mnist.py:ann', 'mnist_ann'),
    ('/a/b/my.py', 'my'),
    ('my.py:lr=1e-3,wide', 'my_lr=1e-3,wide'),
    ('my.py:../../etc', 'my_.._.._etc'),
  ],
)
def test_a_run_is_named_after_configuration_and_argument(text, name):
  assert configuration.run_name(text) == name
  assert os.sep not in name


def test_a_model_of_a_few_fields_has_the_others_as_they_are_by_default(tmp_path):
  own = {'name': 'fsvae', 'image_size': 32, 'channels': 1, 'timesteps': 3}
  file = tmp_path / 'own.py'
  file.write_text(
    'from ml_collections import ConfigDict\nfrom fsvae_jax.configs import mnist\n\n'
    f'def get_config():\n  config = mnist.get_config()\n  config.model = ConfigDict({own})\n'
    "  config.data.crop = config.model.get_ref('image_size')\n  return config\n"
  )
  want = configuration.defaults().model.to_dict() | own
  config = configuration.load(str(file))
  assert config.model.to_dict() == want
  with config.unlocked():
    config.model.image_size = 64  # what refers to it follows
  assert config.data.crop == 64
  config.model.image_size = 32
  record = config.to_dict() | {'model': own}  # as of an earlier version
  (tmp_path / 'config.json').write_text(json.dumps(record))
  assert configuration.of_run(tmp_path).model.to_dict() == want


def test_the_command_of_a_loss_with_energy_says_what_a_spike_costs_and_no_places():
  config = configuration.load('digits')
  config.train.update(energy_weight=0.1, start='/home/me/runs/ann')
  config.eval.update(ac_pj=0.5, images=7)
  said = configuration.command(config)
  config.train.energy_weight = 0.0
  assert 'ac_pj' not in configuration.command(config)
  assert '--config.eval.ac_pj=0.5' in said and '--config.train.start=ann' in said
  assert 'images=7' not in said


def test_a_frozen_configuration_is_one(tmp_path):
  (tmp_path / 'f.py').write_text(
    'from ml_collections import FrozenConfigDict\nfrom fsvae_jax.configs import mnist\n\n'
    'def get_config():\n  return FrozenConfigDict(mnist.get_config())\n'
  )
  assert configuration.load(str(tmp_path / 'f.py')) == configuration.load('mnist')


def test_a_field_of_ones_own_is_no_flag_of_the_command():
  config = configuration.load('mnist')
  with config.unlocked():
    config.note = 'wide sweep 3'
  assert configuration.command(config).endswith(' --config=mnist')


def test_the_command_of_a_run_leaves_out_what_had_no_effect():
  config = configuration.load('mnist')
  config.train.update(steps=40, epochs=7)
  assert configuration.command(config).endswith('--config=mnist --config.train.steps=40')


@pytest.mark.parametrize('name', ['mnist', 'digits', 'mnist_best'])
def test_the_rate_latent_has_its_papers_rate_where_steps_are_not_the_recipes(name):
  config, own = configuration.load(f'{name}:esvae'), configuration.load(name)
  published = config.train.epochs, config.train.learning_rate
  recipe = own.train.epochs, own.train.learning_rate
  assert published == ((300, 3e-3) if name == 'mnist' else recipe)

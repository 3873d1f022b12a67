"""A run's folder: which names it may have, and what it refuses to be mixed with."""

import json
import os
import pathlib

import numpy as np
import pytest
from ml_collections import ConfigDict

from fsvae_jax import data, evaluate, fields, samples, train
from fsvae_jax.configs import default, digits
from fsvae_jax.run import files, workdir


@pytest.fixture
def run(tmp_path):
  """A workdir with a configuration and something to go on from."""
  config = digits.get_config()
  config.data.path = '/data/a'
  folder = tmp_path / 'run'
  (folder / 'checkpoints' / '6').mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps(config.to_dict()))
  (folder / 'data.json').write_text(json.dumps({'train': IMAGES, 'test': IMAGES}))
  return config, folder


def check_same(folder, config):
  return workdir.check_same(folder, config.to_dict(), default.get_config().to_dict())


IMAGES = {'count': 3, 'shape': [8, 8, 1], 'digest': 'a'}
OTHERS = {'count': 3, 'shape': [8, 8, 1], 'digest': 'b'}


@pytest.mark.parametrize('name', ['lr[1e-3]', 'a*', 'what?', 'x]', '[ab]/run', 'back\\slash'])
def test_a_folder_that_could_not_be_read_again_is_refused(tmp_path, name):
  with pytest.raises(ValueError, match='could not be read again; take another name'):
    workdir.check(tmp_path / name)
  assert not list(tmp_path.iterdir())


def test_so_is_one_inside_such_a_folder(tmp_path, monkeypatch):
  (tmp_path / 'a[1]').mkdir()
  monkeypatch.chdir(tmp_path / 'a[1]')
  with pytest.raises(ValueError, match='could not be read again'):
    workdir.check('runs/x')


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
  folder = tmp_path / os.fsdecode(b'caf\xe9')
  with pytest.raises(ValueError, match=r"caf.udce9': checkpoints cannot be saved .* not UTF-8"):
    workdir.check(folder)


def test_what_may_not_be_written_is_refused_before_images_are_made(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir.files, 'is_writable', lambda folder: folder != tmp_path)
  for work in (
    lambda: samples.write(digits.get_config(), tmp_path, 'generate', 5),
    lambda: evaluate.evaluate(digits.get_config(), tmp_path),
    lambda: train.prepare(digits.get_config(), tmp_path),
  ):
    with pytest.raises(ValueError, match='nothing may be written: copy its config.json'):
      work()
  with pytest.raises(ValueError, match='run/1, where nothing may be written: name a folder of you'):
    train.prepare(digits.get_config(), tmp_path / 'run/1')


@pytest.mark.parametrize('name', ['checkpoints', 'pictures', 'tensorboard', 'metrics.jsonl'])
def test_what_lies_in_the_way_of_training_is_refused_before_it(tmp_path, name):
  way = tmp_path / name
  way.mkdir() if way.suffix else way.touch()
  with pytest.raises(ValueError, match=f'{name} is no (file|folder) that can be written: move it'):
    train.prepare(digits.get_config(), tmp_path)
  assert list(tmp_path.iterdir()) == [way]


def test_what_in_it_is_somebody_elses_is_refused_before_training(tmp_path, monkeypatch):
  (tmp_path / 'checkpoints').mkdir()
  may = lambda path, mode: pathlib.Path(path) != tmp_path / 'checkpoints'
  monkeypatch.setattr(workdir.os, 'access', may)
  with pytest.raises(ValueError, match='checkpoints is no folder that can be written'):
    train.prepare(digits.get_config(), tmp_path)


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'run').write_text('')
  with pytest.raises(ValueError, match='is a file; name a folder'):
    workdir.check(tmp_path / 'run')


def test_the_same_configuration_goes_on(run):
  config, folder = run
  assert check_same(folder, config) == {}


OTHER = {
  int: lambda x: x + 1,
  float: lambda x: x + 0.5,
  str: lambda x: x + 'x',
  bool: lambda x: not x,
}


@pytest.mark.parametrize('name', fields.flatten(default.get_config()))
def test_every_field_may_change_and_is_told_or_is_refused_by_name(run, name):
  config, folder = run
  section, _, field = name.rpartition('.')
  part = config[section] if section else config
  old = part[field]
  part[field] = OTHER[type(old)](old) if type(old) in OTHER else (*old, *old) or ('tau',)
  if fields.may_change(name):
    assert check_same(folder, config) == {name: (old, part[field])}
  else:
    with pytest.raises(ValueError, match=f'(?s)another configuration.*{name}: .* there, .* now'):
      check_same(folder, config)


@pytest.mark.parametrize('name', ['model.surrogate_width', 'train.log_every'])
def test_a_field_that_an_earlier_version_did_not_record_had_its_default(run, name):
  config, folder = run
  section, field = name.split('.')
  recorded = config.to_dict()
  del recorded[section][field]
  (folder / 'config.json').write_text(json.dumps(recorded))
  config[section][field] = before = default.get_config()[section][field]
  assert check_same(folder, config) == {}
  config[section][field] = before + 1
  if fields.may_change(name):
    assert check_same(folder, config) == {name: (before, before + 1)}
  else:
    with pytest.raises(ValueError, match=f'{name}: {before} there, {before + 1} now'):
      check_same(folder, config)


@pytest.mark.parametrize(
  'name',
  ['seed', 'data.name', 'data.crop', 'data.flip', 'data.validation', 'model.v_th', 'model.dtype']
  + ['train.batch_size', 'train.schedule', 'train.warmup_steps', 'train.ema_decay'],
)
def test_what_makes_the_numbers_may_not_change(name):
  assert not fields.may_change(name)


def test_other_images_are_refused_wherever_the_same_ones_may_lie(run):
  config, folder = run
  config.data.path = '/data/b'
  workdir.check_images(folder, config, {'train': IMAGES, 'test': IMAGES})  # they were moved
  with pytest.raises(
    ValueError, match="(?s)test images are not those .*'/data/a' there, '/data/b'"
  ):
    workdir.check_images(folder, config, {'train': IMAGES, 'test': OTHERS})
  (folder / 'data.json').unlink()  # as runs of version 0.1 are
  with pytest.raises(ValueError, match='train images are not those .* unknown there'):
    workdir.check_images(folder, config, {'train': IMAGES})


def test_where_nothing_was_trained_anything_may_begin(run):
  config, folder = run
  (folder / 'checkpoints' / '6').rmdir()
  config.seed = 7
  assert check_same(folder, config) == {}
  workdir.check_images(folder, config, {'train': OTHERS})


@pytest.mark.parametrize('content', [b'', b'\0' * 99, b'{"seed": 0'])
def test_a_damaged_record_is_told_and_written_anew(run, caplog, content):
  config, folder = run
  (folder / 'config.json').write_bytes(content)
  (folder / 'data.json').write_bytes(content)
  with pytest.raises(ValueError, match='config.json is damaged .*give it again'):
    workdir.record(folder)
  assert check_same(folder, config) == {}
  workdir.check_images(folder, config, {'train': IMAGES})
  assert 'config.json is damaged' in caplog.text and 'data.json is damaged' in caplog.text
  workdir.write_record(folder, config, {'train': IMAGES})
  assert workdir.record(folder) == config.to_dict()
  assert json.loads((folder / 'data.json').read_text()) == {'train': IMAGES}


def test_identity_is_of_the_content():
  images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
  other = images.copy()
  other[0, 0, 0] ^= 1
  assert data.identity(images) == data.identity(images.copy()) != data.identity(other)


def test_runs_have_the_same_images_as_far_as_their_records_say(tmp_path):
  for name, text in {
    'a': '{"test": {"count": 9, "digest": "1"}}',
    'b': '{"test": {"count": 9, "digest": "1", "labels": "7"}}',  # of a model with classes
    'c': '{"test": {"count": 9, "digest": "2"}}',
    'old': '{}',
    'damaged': '{"te',
  }.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / 'data.json').write_text(text)
  same = {
    name: workdir.same_images(tmp_path / 'a', tmp_path / name, 'test')
    for name in ('b', 'c', 'old', 'damaged', 'nowhere')
  }
  assert same == {'b': True, 'c': False, 'old': True, 'damaged': True, 'nowhere': True}


def test_a_workdir_that_cannot_be_made_is_refused_at_the_start(tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
  for name, message in {
    'file/run': 'file is a file; name a folder',
    'link': 'link is a link that leads nowhere; name a folder',
    'x' * 300: 'cannot be made',
  }.items():
    with pytest.raises(ValueError, match=message):
      workdir.check(tmp_path / name)
  assert workdir.check(tmp_path / 'new/run') == tmp_path / 'new/run'


@pytest.mark.parametrize('content', ['null', '[]', '"x"', '3'])
def test_json_that_is_no_object_is_damaged(tmp_path, content):
  (tmp_path / 'x.json').write_text(content)
  with pytest.raises(ValueError, match='x.json is damaged .it holds a'):
    files.read_json(tmp_path / 'x.json')


@pytest.mark.parametrize('content', ['{"model": null}', '{"data": 3}', '{"train": [1]}'])
def test_a_record_with_a_section_of_another_kind_is_damaged(tmp_path, content):
  (tmp_path / 'config.json').write_text(content)
  with pytest.raises(ValueError, match=r'config.json is damaged \(its .*give it again'):
    workdir.record(tmp_path)


def test_images_of_which_nothing_is_known_are_not_those_of_the_run(run):
  config, folder = run
  (folder / 'data.json').write_text('{"train": null}')
  workdir.check_images(folder, config, {'train': IMAGES})
  config.data.path = 'others'
  with pytest.raises(ValueError, match='the train images are not those'):
    workdir.check_images(folder, config, {'train': IMAGES})


def test_checkpoints_without_a_configuration_are_warned_of(tmp_path, caplog):
  (tmp_path / 'checkpoints/4').mkdir(parents=True)
  with caplog.at_level('WARNING'):
    assert workdir.check_same(tmp_path, {'seed': 7}, {}) == {}
  assert 'has checkpoints and no config.json' in caplog.text


def test_an_imported_run_without_images_takes_any(tmp_path):
  (tmp_path / 'checkpoints/0').mkdir(parents=True)
  (tmp_path / 'config.json').write_text('{"data": {"path": ""}}')
  config = ConfigDict({'data': {'path': 'own.npz'}})
  with pytest.raises(ValueError, match='not those of the run'):
    workdir.check_images(tmp_path, config, {'test': {'count': 3}})
  (tmp_path / 'data.json').write_text('{}')
  workdir.check_images(tmp_path, config, {'test': {'count': 3}})

"""No image is trained on and tested on, whatever names and links people have given."""

import itertools
import os
import random

import numpy as np
import pytest

from fsvae_jax import data
from fsvae_jax.data import sources, splits
from tests.data import making

NAMES = ['', *splits.TRAIN, *splits.TEST, 'cats', 'latest', 'constrained']


def find(config):
  """{split: what the images are called}."""
  found = {split: sources.find(config, split) for split in ('train', 'test')}
  return {split: [s.origin(i) for i in range(s.count)] for split, s in found.items()}


def load(config, side=making.SIDE):
  """{split: levels of the images}."""
  return {s: making.levels(data.load(config, side, 1, s)) for s in ('train', 'test')}


def random_case(rng, name):
  return rng.choice([name, name, name.upper(), name.title()])


def random_tree(rng, root):
  """Folders with names of splits and others, up to three deep, with links among them."""
  folders = [root]
  for _ in range(rng.randint(0, 6)):
    folder = rng.choice(folders) / (random_case(rng, rng.choice(NAMES)) or 'x.png')
    folder.mkdir(exist_ok=True)
    folders.append(folder)
  count = itertools.count()
  paths = []
  for folder in folders:
    for _ in range(rng.choice([0, 1, 3, 12])):
      paths.append(folder / f'{next(count)}{rng.choice([".png", ".JPG", ".txt"])}')
      paths[-1].touch()
  for _ in range(rng.choice([0, 0, 1, 3])):
    target = rng.choice(folders + paths)
    (rng.choice(folders) / f'link{next(count)}{target.suffix}').symlink_to(target)


@pytest.mark.parametrize('seed', range(200))
def test_no_image_file_is_in_two_splits_and_none_is_empty(config, tmp_path, seed):
  root = tmp_path / 'set'
  root.mkdir()
  random_tree(random.Random(seed), root)
  try:
    found = find(config)
  except (ValueError, FileNotFoundError) as error:
    assert str(root) in str(error)  # in words
    return
  train, test = ([os.path.realpath(path) for path in found[s]] for s in ('train', 'test'))
  assert train and test and not set(train) & set(test)
  assert len(set(train)) == len(train) and len(set(test)) == len(test)


@pytest.mark.parametrize('seed', range(60))
def test_no_record_idx_image_or_row_is_in_two_splits_and_none_is_empty(config, tmp_path, seed):
  rng = random.Random(seed)
  root, level = tmp_path / 'set', itertools.count()
  root.mkdir()
  kind = ('record', 'idx', 'npz')[seed % 3]
  names = {random_case(rng, name) for name in rng.sample(NAMES, rng.randint(1, 4))}
  parts = {name: [next(level) for _ in range(rng.choice([1, 5, 12]))] for name in sorted(names)}
  for name, shades in parts.items():
    if kind == 'record':
      making.write_records(root / f'my-{name or "set"}.array_record', *shades)
    elif kind == 'idx':
      making.write_idx(root / f'{name or "my"}-images-idx3-ubyte', making.grey(*shades))
  if kind == 'npz':
    config.path += '.npz'
    np.savez(config.path, **{n or 'images': making.grey(*shades) for n, shades in parts.items()})
  try:
    found = load(config)
  except (ValueError, FileNotFoundError) as error:
    assert str(root) in str(error)
    return
  assert found['train'] and found['test'] and not set(found['train']) & set(found['test'])


LAYOUTS = {
  'both': ({'train': range(3), 'test': range(3, 5)}, range(3), range(3, 5)),
  'any case': ({'Training': range(3), 'TESTING': range(3, 5)}, range(3), range(3, 5)),
  'validation where there is no test': ({'train': [0], 'Val': [1]}, [0], [1]),
  'valid': ({'train': [0], 'valid': [1]}, [0], [1]),
  'validation beside a test is left out': (
    {'train': [0], 'test': [1], 'val': [2], 'more': [3]},
    [0],
    [1],
  ),
  'a tenth of training, not of all': (
    {'train': range(20), 'more': range(20, 60)},
    [i for i in range(20) if i not in (9, 19)],
    [9, 19],
  ),
  'a tenth of all': (
    {'cats': range(10), 'latest': range(10, 20)},
    [i for i in range(20) if i not in (9, 19)],
    [9, 19],
  ),
  'beside a test': ({'test': range(3), 'cats': [3, 4], 'dogs': [5]}, [3, 4, 5], range(3)),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_folders_are_split_by_their_names(config, tmp_path, layout):
  folders, train, test = LAYOUTS[layout]
  for name, shades in folders.items():
    making.write_pictures(tmp_path / 'set' / name / 'inner', *shades)
  assert load(config) == {'train': list(train), 'test': list(test)}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_records_are_split_by_words_of_their_names(config, tmp_path, layout):
  folders, train, test = LAYOUTS[layout]
  for name, shades in folders.items():
    making.write_records(tmp_path / 'set' / f'a_set-{name}.array_record-00000-of-00001', *shades)
  assert load(config) == {'train': list(train), 'test': list(test)}


@pytest.mark.parametrize('name', ['latest', 'constrained', 'retrained', 'contest', 'trainer'])
def test_a_part_of_a_word_is_no_name_of_a_split(config, tmp_path, name):
  making.write_records(tmp_path / 'set' / f'{name}.array_record', *range(10))
  assert load(config) == {'train': list(range(9)), 'test': [9]}
  assert splits.named(f'my-{name}') == ''


@pytest.mark.parametrize(
  'names',
  [('train', 'test'), ('x_train', 'x_test'), ('X_train', 'X_val'), ('TRAIN_images', 't10k')],
)
def test_arrays_are_split_by_words_of_their_names(config, names):
  train, test = names
  config.path += '.npz'
  arrays = {train: making.grey(1, 2), test: making.grey(3), 'y_train': np.zeros(2, int)}
  np.savez(config.path, **arrays)
  assert load(config) == {'train': [1, 2], 'test': [3]}
  np.savez(config.path, **{train: making.grey(*range(10)), 'images': making.grey(50)})
  assert load(config) == {'train': list(range(9)), 'test': [9]}
  np.savez(config.path, **{test: making.grey(7), 'images': making.grey(50)})
  assert load(config) == {'train': [50], 'test': [7]}


def test_idx_training_images_alone_are_divided(config, tmp_path):
  making.write_idx(tmp_path / 'set' / 'train-images-idx3-ubyte', making.grey(*range(10)))
  assert load(config) == {'train': list(range(9)), 'test': [9]}
  making.write_idx(tmp_path / 'set' / 't10k-images-idx3-ubyte', making.grey(50))
  assert load(config) == {'train': list(range(10)), 'test': [50]}  # and no cache of before


def test_folders_of_splits_may_lie_in_others(config, tmp_path):
  making.write_pictures(tmp_path / 'set/archive/train/test', 0, 1)  # a class may be called so
  making.write_pictures(tmp_path / 'set/archive/val/train', 2)
  assert load(config) == {'train': [0, 1], 'test': [2]}


def test_what_is_outside_of_the_splits_is_counted(config, tmp_path, capsys):
  for name, shades in {'train': range(3), 'test': [3], 'val': [4, 5], '': [6]}.items():
    making.write_pictures(tmp_path / 'set' / name, *shades)
  load(config)
  assert capsys.readouterr().out == f'left out of {config.path}: 3 images outside of the splits\n'


@pytest.mark.parametrize(
  'train, test',
  [
    ('training_set', 'test_set'),
    ('seg_train', 'seg_test'),
    ('train2017', 'val2017'),
    ('Train ', 'Test '),
    ('x/my-training', 'x/my-validation'),
  ],
)
def test_words_of_folders_name_splits_where_both_stand_side_by_side(config, tmp_path, train, test):
  for name, shades in {train: (1, 2), test: (3,)}.items():
    making.write_pictures(tmp_path / 'set' / name / 'cats', *shades)
  assert load(config) == {'train': [1, 2], 'test': [3]}


def test_a_word_of_one_split_alone_may_be_a_class(config, tmp_path):
  for name, first in {'train_station': 0, 'bridge': 10}.items():
    making.write_pictures(tmp_path / 'set' / name, *range(first, first + 10))
  assert len(load(config)['train']) == 18
  assert data.load(config, 4, 1, 'train').classes == ('bridge', 'train_station')


def test_images_in_one_folder_are_split_by_words_of_their_own_names(config, tmp_path):
  making.write_pictures(tmp_path / 'set', 1, 2, 3)
  for number, name in {1: 'train_1', 2: 'train_2', 3: 'test_1'}.items():
    (tmp_path / f'set/{number:03d}.png').rename(tmp_path / f'set/{name}.png')
  assert load(config) == {'train': [1, 2], 'test': [3]}


@pytest.mark.parametrize(
  'names, unused',
  [
    (('x_train', 'testX'), 'testX'),
    (('x_train', 'x_dev'), 'x_dev'),
    (('arr_0', 'arr_1'), 'arr_1'),
    (('x_train', 'x_test'), 'labels'),  # of which images?
  ],
)
def test_arrays_that_are_not_used_are_said_to_be_left_out(config, names, unused, capsys):
  config.path += '.npz'
  labels = {'y_train' if 'x' in names[0] else 'y': np.zeros(20, int)}
  labels |= {unused: np.zeros(20, int)} if unused == 'labels' else {}
  np.savez(config.path, **{name: making.grey(*range(20, 40)) for name in names}, **labels)
  load(config)
  assert f'left out of {config.path}: 1 array {unused}\n' == capsys.readouterr().out


@pytest.mark.parametrize('kind', ['records', 'idx'])
def test_what_lies_beside_files_of_images_is_counted(config, tmp_path, kind, capsys):
  making.write_pictures(tmp_path / 'set/test', 1)
  (tmp_path / 'set/.hidden').touch()
  if kind == 'idx':
    making.write_idx(tmp_path / 'set/train-images-idx3-ubyte', making.grey(*range(20, 40)))
    making.write_idx(tmp_path / 'set/train-labels-idx1-ubyte', np.zeros(20, np.uint8))
  else:
    making.write_records(tmp_path / 'set/x.array_record', *range(20, 40))
  load(config)
  assert f'left out of {config.path}: 2 other files and folders\n' == capsys.readouterr().out


@pytest.mark.parametrize('link', [os.link, os.symlink])
@pytest.mark.parametrize('kind', ['file', 'folder', 'record', 'idx'])
def test_one_file_in_both_splits_is_refused_by_name(config, tmp_path, kind, link):
  root = tmp_path / 'set'
  shown = making.write_pictures(root, *range(9)) / 'name'
  if kind == 'record':
    making.write_records(root / 'train.array_record', *range(9))
    link(root / 'train.array_record', root / 'test.array_record')
    shown = 'test.array_record'
  elif kind == 'idx':
    making.write_idx(root / 'train-images-idx3-ubyte', making.grey(*range(9)))
    link(root / 'train-images-idx3-ubyte', root / 't10k-images-idx3-ubyte')
    shown = 't10k-images-idx3-ubyte'
  elif kind == 'file':
    making.write_pictures(root / 'train', 1, 2)
    making.write_pictures(root / 'test', 3)
    link(root / 'train/002.png', root / 'test/other.png')
    shown = 'test/other.png'
  elif link is os.symlink:
    making.write_pictures(root / 'train/cats', 1, 2)
    making.write_pictures(root / 'test', 3)
    link(root / 'train/cats', root / 'test/cats')
    shown = 'test/cats/001.png'
  else:
    return  # folders have no hard links
  for split in ('train', 'test'):
    with pytest.raises(ValueError, match=f'{shown} would be tested on.*trained on: take away'):
      data.load(config, 4, 1, split)


def test_links_beside_their_files_are_not_counted_twice(config, tmp_path, capsys):
  root = making.write_pictures(tmp_path / 'set', *range(10))
  for i in range(10):
    (root / f'{i}.png').symlink_to(root / f'{i:03d}.png')
  assert sorted(sum(load(config).values(), [])) == list(range(10))
  assert '10 links to what is there already' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['train', 'cats'])
def test_fewer_images_than_a_tenth_can_be_held_out_of_are_refused(config, tmp_path, name):
  making.write_pictures(tmp_path / 'set' / name, *range(9))
  with pytest.raises(ValueError, match='set has 9 images to train on and none named test.*10'):
    load(config)


@pytest.mark.parametrize('name', splits.TEST)
def test_images_to_test_on_alone_are_refused(config, tmp_path, name):
  making.write_pictures(tmp_path / 'set' / name, *range(20))
  with pytest.raises(ValueError, match=f'to test on \\(named {name}\\), and none to train on'):
    load(config)


def test_arrays_of_no_images_are_refused(config):
  config.path += '.npz'
  np.savez(config.path, train=making.grey(1), test=np.zeros((0, 4, 4), np.uint8))
  with pytest.raises(ValueError, match='set.npz has no images for the test split'):
    data.load(config, 4, 1, 'test')

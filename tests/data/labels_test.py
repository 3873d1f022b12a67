"""Labels stay with their images, from every source that has them. An image's level tells its label:
`making.levels` of a batch, modulo 7, are the labels that it must have."""

import hashlib
import pathlib
import shutil
import types
import unicodedata

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn import datasets

from fsvae_jax import data
from fsvae_jax.data import sources
from fsvae_jax.run import files
from tests.data import making
from tests.data.prepare_test import prepare, refusal

CLASSES = ('Ants', 'bees', 'cats', 'dogs', 'eels', 'foxes', 'geese')  # as sorting has them
TRAIN = [*range(5, 30), *range(80, 95)]  # levels, in an order that sorting by class would change
TEST = [level for level in range(100, 130) if level % 7]  # without the first class


def right(levels):
  return np.array(levels, np.uint8) % 7


def write_idx(root, name, levels):
  stem = f'{name}-'.lstrip('-')
  making.write_idx(root / f'{stem}images-idx3-ubyte', making.grey(*levels))
  making.write_idx(root / f'{stem}labels-idx1-ubyte.gz', right(levels))


def write_npz(root, name, levels):
  path = root.with_suffix('.npz')
  before = dict(np.load(path)) if path.exists() else {}
  names = (f'x_{name}', f'y_{name}') if name else ('images', 'labels')
  np.savez(path, **before, **{names[0]: making.grey(*levels), names[1]: right(levels)})


def write_folders(root, name, levels):
  for level in levels:
    making.write_pictures(root / name / CLASSES[level % 7] / 'inner', level)


KINDS = {'idx': write_idx, 'npz': write_npz, 'folders': write_folders}


def write(config, root, kind, **splits):
  for name, levels in splits.items():
    KINDS[kind](root, name.replace('all', ''), levels)
  config.path = str(root.with_suffix('.npz') if kind == 'npz' else root)


def is_right(batch):
  """Whether a batch has the labels of its images."""
  label, levels = batch['label'], making.levels(batch['image'])
  assert label.dtype == np.int32 and label.shape == (len(levels),)
  return label.tolist() == [level % 7 for level in levels]


def all_right(images):
  """Whether loaded images have their own labels."""
  return is_right({'image': images[:], 'label': images.labels})


def check_batches(images):
  """That batches of all images and of both parts are right, from any step on, for any process."""
  assert all_right(images)
  for part in (images, *data.hold_out(images, 2)):
    assert all_right(part)
    whole = list(data.batches(part, 2, 0, 0, 6))
    assert len(whole) == 6 and all(map(is_right, whole))
  mine = list(data.batches(part, 2, 0, 3, 6, 1, 2))
  assert all(map(is_right, mine))
  assert [b['label'][-1] for b in whole[3:]] == [b['label'][0] for b in mine]


@pytest.mark.parametrize('decoded_gb', [1.0, 0.0])
@pytest.mark.parametrize('names', [('train', 'test'), ('train',), ('all',)])
@pytest.mark.parametrize('kind', KINDS)
def test_labels_stay_with_their_images(config, tmp_path, kind, names, decoded_gb):
  write(config, tmp_path / 'set', kind, **dict(zip(names, (TRAIN, TEST), strict=False)))
  config.decoded_gb = decoded_gb
  for split in ('train', 'test'):
    images = data.load(config, 4, 1, split)
    assert images.streamed == (not decoded_gb)
    assert images.classes == (CLASSES if kind == 'folders' else ())
    assert len(images) > 3 and len(set(images.labels)) > 1
    check_batches(images)


@pytest.mark.parametrize('decoded_gb', [1.0, 0.0])
def test_digits_have_their_labels(config, decoded_gb):
  known = datasets.load_digits()
  images = (known.images * (255 / 16)).astype(np.uint8)
  label = dict(zip(map(bytes, images), known.target, strict=True))
  config.update(path='', decoded_gb=decoded_gb)
  for split in ('train', 'test'):
    for batch in data.batches(data.load(config, 8, 1, split), 50, 0, 2, 5):
      assert [label[bytes(x)] for x in batch['image']] == batch['label'].tolist()


@pytest.fixture(scope='module')
def tfds_dir(tmp_path_factory):
  """A folder with a data set of TFDS, of images by level."""
  root = tmp_path_factory.mktemp('labels')
  for name, levels in {'train': TRAIN, 'test': TEST}.items():
    images = np.repeat(making.grey(*levels), 7, 1).repeat(7, 2)
    making.write_idx(root / 'idx' / f'{name}-images-idx3-ubyte', images)
    making.write_idx(root / 'idx' / f'{name}-labels-idx1-ubyte', right(levels))
  code, _, error = prepare(root / 'idx', root / 'tfds')
  assert code == 0, error
  return root / 'tfds'


@pytest.fixture
def mnist(config, tfds_dir):
  config.update(name='mnist', path='', tfds_dir=str(tfds_dir))
  return config


@pytest.mark.parametrize('decoded_gb', [1.0, 0.0])
def test_labels_of_tfds_are_those_of_its_records(mnist, decoded_gb):
  mnist.decoded_gb = decoded_gb
  for split in ('train', 'test', 'test'):
    check_batches(data.load(mnist, 4, 1, split))


def test_labels_of_tfds_are_read_without_decoding_and_once(mnist, monkeypatch):
  def stop(*_):
    raise AssertionError('decoded')

  mnist.decoded_gb = 0.0
  with monkeypatch.context() as patch:
    patch.setattr(tfds.features.Image, 'decode_example_np', stop)
    first = data.load(mnist, 4, 1, 'train')
  find = sources.find
  monkeypatch.setattr(sources, 'find', lambda *args: find(*args)._replace(label=stop))
  np.testing.assert_array_equal(data.load(mnist, 4, 1, 'train').labels, first.labels)


def test_a_label_that_cannot_be_read_is_named(mnist, monkeypatch):
  find = sources.find
  broken = lambda *args: find(*args)._replace(label=[0, 1].__getitem__)
  monkeypatch.setattr(sources, 'find', broken)
  with pytest.raises(ValueError, match='mnist/.*image 2 cannot be read as a label .*: get it anew'):
    data.load(mnist, 4, 1, 'train')


@pytest.mark.parametrize(
  'content', [None, b'', b'junk' * 99, bytes(300), np.zeros(3, np.int32), np.zeros(40), 'cut']
)
def test_labels_that_are_not_kept_whole_are_made_anew(mnist, tmp_path, content):
  want = data.load(mnist, 4, 1, 'train').labels
  (path,) = (tmp_path / 'cache').glob('*-labels.npy')
  (images,) = set((tmp_path / 'cache').glob('*.npy')) - {path}
  whole, kept = path.read_bytes(), images.stat().st_mtime_ns
  path.unlink()  # as a cache of earlier versions
  if isinstance(content, np.ndarray):
    np.save(path, content)
  elif content is not None:
    path.write_bytes(whole[:-1] if content == 'cut' else content)
  np.testing.assert_array_equal(data.load(mnist, 4, 1, 'train').labels, want)
  assert path.read_bytes() == whole and images.stat().st_mtime_ns == kept


def test_a_cache_without_labels_that_may_not_be_written_serves(mnist, tmp_path, monkeypatch):
  def refuse(*_):
    raise PermissionError(13, 'Permission denied')

  data.load(mnist, 4, 1, 'train')
  next((tmp_path / 'cache').glob('*-labels.npy')).unlink()
  monkeypatch.setattr(files, 'replacing', refuse)
  assert all_right(data.load(mnist, 4, 1, 'train'))


def test_a_cache_of_earlier_versions_serves_with_the_labels_of_its_source(config, tmp_path):
  write(config, tmp_path / 'set', 'npz', train=TRAIN, test=TEST)
  stat = (tmp_path / 'set.npz').stat()
  recipe = f'{config.path}:{stat.st_size}:{stat.st_mtime_ns}|train|4|1|0'
  name = f'digits-train-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.npy'
  (tmp_path / 'cache').mkdir()
  old = [level + 7 for level in TRAIN]
  np.save(tmp_path / 'cache' / name, making.grey(*old)[..., None])
  images = data.load(config, 4, 1, 'train')
  assert making.levels(images) == old and images.name == name
  assert all_right(images)


def test_a_file_of_labels_may_come_go_and_change(config, tmp_path):
  write(config, tmp_path / 'set', 'idx', train=TRAIN, test=TEST)
  path = tmp_path / 'set/train-labels-idx1-ubyte.gz'
  load = lambda: data.load(config, 4, 1, 'train')
  assert load().labels.tolist() == right(TRAIN).tolist()
  making.write_idx(path, right(TRAIN) + 1)
  assert load().labels.tolist() == (right(TRAIN) + 1).tolist()
  path.unlink()
  assert load().labels is None and data.load(config, 4, 1, 'test').labels is not None


@pytest.mark.parametrize(
  'images, labels',
  [
    ('train-images-idx3-ubyte', 'train-labels.idx1-ubyte'),
    ('Train-Images.idx3-ubyte.gz', 'train_labels_idx1'),
    ('emnist-letters-train-images-idx3-ubyte', 'emnist-letters-train-labels-idx1-ubyte.gz'),
    ('my-images-train-images-idx3-ubyte', 'my-images-train-labels-idx1-ubyte'),
    ('images-idx3-ubyte', 'labels-idx1-ubyte'),
  ],
)
def test_a_file_of_labels_is_known_by_its_name(config, tmp_path, images, labels):
  levels = list(range(30, 50))
  making.write_idx(tmp_path / 'set' / images, making.grey(*levels))
  making.write_idx(tmp_path / 'set' / labels, right(levels))
  for other in ('t10k-labels-idx1-ubyte', 'letters-train-labels-idx1-ubyte'):
    making.write_idx(tmp_path / 'set' / other, np.zeros(3, np.uint8))
  assert all_right(data.load(config, 4, 1, 'train'))


@pytest.mark.parametrize(
  'labels', [right(TRAIN)[1:], right([*TRAIN, 0]), np.zeros((40, 2), np.uint8)]
)
@pytest.mark.parametrize('decoded_gb', [1.0, 0.0])
def test_labels_of_another_number_than_the_images_are_refused(config, tmp_path, labels, decoded_gb):
  config.decoded_gb = decoded_gb
  write(config, tmp_path / 'set', 'idx', train=TRAIN, test=TEST)
  data.load(config, 4, 1, 'train')  # with images in the cache, too
  making.write_idx(tmp_path / 'set/train-labels-idx1-ubyte.gz', labels)
  with pytest.raises(ValueError) as error:
    data.load(config, 4, 1, 'train')
  for part in (
    'train-labels-idx1-ubyte.gz',
    str(len(labels)),
    'train-images-idx3-ubyte',
    '40 images',
  ):
    assert part in str(error.value)
  assert all_right(data.load(config, 4, 1, 'test'))


def test_a_damaged_file_of_labels_is_named(config, tmp_path):
  write(config, tmp_path / 'set', 'idx', train=TRAIN, test=TEST)
  (tmp_path / 'set/train-labels-idx1-ubyte.gz').write_bytes(b'junk')
  with pytest.raises(
    ValueError, match='train-labels-idx1-ubyte.gz is not an IDX file.*get it anew'
  ):
    data.load(config, 4, 1, 'train')


@pytest.mark.parametrize(
  'labels',
  [
    right(TRAIN)[:-1],
    right(TRAIN) / 1,
    right(TRAIN) > 0,
    np.eye(40, dtype=int),
    np.full(40, 2**40),
    np.full(40, 2**63, np.uint64),
    np.array(['a'] * 40),
    np.array([{}] * 40, object),
    np.uint8(3),
  ],
)
def test_arrays_that_are_not_one_integer_for_each_image_are_refused(config, labels):
  config.path += '.npz'
  np.savez(config.path, train=making.grey(*TRAIN), test=making.grey(*TEST), y_train=labels)
  with pytest.raises(
    ValueError, match='set.npz: array y_train (is|cannot).*integer.*or name it otherwise'
  ) as error:
    data.load(config, 4, 1, 'train')
  if labels.dtype != object:
    assert f'{labels.dtype}{labels.shape}' in str(error.value)
    assert 'set.npz: array train has 40 images' in str(error.value)
  assert data.load(config, 4, 1, 'test').labels is None


@pytest.mark.parametrize('shape', [(-1,), (-1, 1)])
@pytest.mark.parametrize(
  'names',
  [
    ('train', 'y_train', 'test', 'y_test'),
    ('train_images', 'train_labels', 'val_images', 'val_labels'),
    ('X_TRAIN', 'Y_TRAIN', 'X_TEST', 'Y_TEST'),
    ('images', 'label', 'test', 'test_target'),
    ('data', 'targets', 'data_test', 'targets_test'),
  ],
)
def test_arrays_of_labels_are_known_by_their_names(config, names, shape):
  config.path += '.npz'
  contents = making.grey(*TRAIN), right(TRAIN), making.grey(*TEST), right(TEST)
  contents = [x.reshape(shape) if x.ndim == 1 else x for x in contents]
  np.savez(config.path, names=np.array([{}]), **dict(zip(names, contents, strict=True)))
  for split in ('train', 'test'):
    images = data.load(config, 4, 1, split)
    assert all_right(images)


@pytest.mark.parametrize('kind', [np.uint8, np.int64, np.uint64, '>i2'])
def test_labels_of_every_type_of_integers_are_read(config, kind):
  config.path += '.npz'
  np.savez(config.path, images=making.grey(*TRAIN), labels=right(TRAIN).astype(kind))
  assert all_right(data.load(config, 4, 1, 'train'))


def without(config, root, kind):
  """Images of which nothing says the class."""
  if kind == 'records':
    making.write_records(root / 'all.array_record', *TRAIN)
  elif kind == 'flat':
    making.write_pictures(root, *TRAIN)
  elif kind == 'one folder':
    making.write_pictures(root / 'archive/set', *TRAIN)
  elif kind == 'some':
    making.write_pictures(root / 'cats', *TRAIN[1:])
    making.write_pictures(root, TRAIN[0])
  elif kind == 'idx':
    making.write_idx(root / 'train-images-idx3-ubyte', making.grey(*TRAIN))
  else:
    config.path += f'.{kind}'
    save = {'npz': np.savez, 'npy': np.save}[kind]
    save(config.path, making.grey(*TRAIN))


@pytest.mark.parametrize('decoded_gb', [1.0, 0.0])
@pytest.mark.parametrize('kind', ['records', 'flat', 'one folder', 'some', 'idx', 'npz', 'npy'])
def test_batches_of_images_without_labels_have_none(config, tmp_path, kind, decoded_gb):
  without(config, tmp_path / 'set', kind)
  config.decoded_gb = decoded_gb
  for split in ('train', 'test'):
    images = data.load(config, 4, 1, split)
    assert images.labels is None and images.classes == ()
    for part in (images, *data.hold_out(images, 2)):
      assert [[*batch] for batch in data.batches(part, 2, 0, 0, 2)] == [['image']] * 2


def test_arrays_are_images_without_labels():
  (batch,) = data.batches(making.grey(*TRAIN), 4, 0, 0, 1)
  assert [*batch] == ['image'] and batch['image'].shape == (4, 4, 4)


def test_celeb_a_has_no_labels(config, monkeypatch):
  record = {'image': making.grey(9)[0], 'attributes': {'Bald': False}}
  builder = types.SimpleNamespace(
    info=types.SimpleNamespace(full_name='celeb_a', features=['image', 'attributes']),
    data_path=config.tfds_dir,
    is_prepared=lambda: True,
    as_data_source=lambda split: splits.append(split) or [record] * 9,
  )
  splits = []
  monkeypatch.setattr(tfds, 'builder', lambda *_, **__: builder)
  pathlib.Path(config.tfds_dir).mkdir()
  config.update(name='celeb_a', path='')
  images = data.load(config, 4, 1, 'train')
  assert making.levels(images) == [9] * 9 and images.labels is None
  assert set(splits) == {'train'}
  data.load(config, 4, 1, 'test')
  assert set(splits) == {'train', 'validation'}  # which the published figures are of


def test_classes_have_one_number_in_both_splits(config, tmp_path):
  root = tmp_path / 'set/archive'
  for name, level in {'train/dogs': 0, 'train/Cats': 1, 'test/dogs': 2, 'test/eels': 3}.items():
    making.write_pictures(root / name, level)
  making.write_pictures(root / 'val/bees', 4)  # outside of the splits: no class of theirs
  train, test = (data.load(config, 4, 1, split) for split in ('train', 'test'))
  assert train.classes == test.classes == ('Cats', 'dogs', 'eels')
  assert dict(zip(making.levels(train), train.labels, strict=True)) == {0: 1, 1: 0}
  assert dict(zip(making.levels(test), test.labels, strict=True)) == {2: 1, 3: 2}


def test_a_class_is_one_however_its_name_is_composed(config, tmp_path):
  for split, form in {'train': 'NFC', 'test': 'NFD'}.items():  # the latter of a Mac
    for level, name in enumerate(('café', 'dog')):
      making.write_pictures(tmp_path / 'set' / split / unicodedata.normalize(form, name), level)
  train, test = (data.load(config, 4, 1, split) for split in ('train', 'test'))
  assert train.classes == test.classes == ('café', 'dog')
  assert train.labels.tolist() == test.labels.tolist() == [0, 1]


def test_images_without_a_class_take_all_labels_away_and_are_named(config, tmp_path, capsys):
  for name in ('train/a', 'train/b', 'test/a', 'train'):
    making.write_pictures(tmp_path / 'set' / name, 1)
  assert data.load(config, 4, 1, 'train').labels is None
  said = f'1 of 3 images are in no folder of a class, {config.path}/train/001.png first: no labels'
  assert said in capsys.readouterr().out


def test_folders_that_are_all_numbers_are_in_the_order_of_these(config, tmp_path):
  for number in (0, 2, 10):
    making.write_pictures(tmp_path / f'set/train/{number}', 20 + number)
  making.write_pictures(tmp_path / 'set/test/10', 40)
  train = data.load(config, 4, 1, 'train')
  assert train.classes == ('0', '2', '10')
  making.write_pictures(tmp_path / 'set/train/x', 50)
  assert data.load(config, 4, 1, 'train').classes == ('0', '10', '2', 'x')


def test_an_image_outside_of_the_splits_takes_no_class_away(config, tmp_path):
  for name, level in {'cats': 0, 'dogs': 1}.items():
    for split, more in {'train': 0, 'test': 2}.items():
      making.write_pictures(tmp_path / f'set/{split}/images/{name}', level + more)
  making.write_pictures(tmp_path / 'set', 9)
  train = data.load(config, 4, 1, 'train')
  assert train.classes == ('cats', 'dogs') and train.labels.tolist() == [0, 1]


def test_a_set_that_is_prepared_anew_is_read_anew(config, tmp_path):
  for level, label in ((50, 0), (200, 3)):
    for split in ('train', 't10k'):
      write_mnist(tmp_path / 'idx', split, level, label)
    shutil.rmtree(tmp_path / 'tfds', ignore_errors=True)
    code, _, error = prepare(tmp_path / 'idx', tmp_path / 'tfds')
    assert code == 0, error
    config.update(name='mnist', path='')
    train = data.load(config, 4, 1, 'train')
    assert set(making.levels(train)) == {level} and set(train.labels.tolist()) == {label}
  error = refusal(tmp_path / 'idx', tmp_path / 'tfds')
  assert 'is there already, and would stay as it is: remove it' in error


def write_mnist(folder, split, level, label):
  making.write_idx(folder / f'{split}-images-idx3-ubyte', np.full((3, 28, 28), level, np.uint8))
  making.write_idx(folder / f'{split}-labels-idx1-ubyte', np.full(3, label, np.uint8))


def test_labels_and_names_of_classes_are_part_of_a_labelled_sets_identity():
  images = np.zeros((3, 4, 4, 1), np.uint8)
  of = lambda labels, classes: data.Images(
    'x', images.shape, images.__getitem__, False, labels, classes
  )
  sets = [
    of(np.array(labels, np.int32), c) for labels in ([0, 1, 2], [1, 0, 2]) for c in ('ab', 'ba')
  ]
  assert len({str(data.identity(own, labelled=True)) for own in sets}) == 4
  assert len({str(data.identity(own)) for own in sets}) == 1
  assert data.identity(of(None, ()), labelled=True) == data.identity(sets[0])


def test_a_split_without_classes_leaves_the_other_its_own(config, tmp_path):
  write(config, tmp_path / 'set', 'folders', train=TRAIN)
  making.write_pictures(tmp_path / 'set/test', *TEST)
  assert all_right(data.load(config, 4, 1, 'train'))
  assert data.load(config, 4, 1, 'test').labels is None


def test_classes_may_lie_beside_the_test_split_and_in_an_archive(config, tmp_path):
  write(config, tmp_path / 'set/archive', 'folders', all=TRAIN, test=TEST)
  for split in ('train', 'test'):
    assert all_right(data.load(config, 4, 1, split))
  write(config, tmp_path / 'other/archive', 'folders', all=TRAIN)
  config.path = str(tmp_path / 'other')
  assert all_right(data.load(config, 4, 1, 'train'))


@pytest.mark.parametrize(
  'labels, message',
  [(None, 'have no labels'), ([0, 3, 2], 'is 3, but.*label, 3'), ([-1, 2], 'number the classes')],
)
def test_labels_that_a_model_of_classes_cannot_learn_are_refused(labels, message):
  images = types.SimpleNamespace(labels=labels if labels is None else np.array(labels))
  with pytest.raises(ValueError, match=f'training images.*{message}'):
    data.check_labels(images, 3, 'training')
  data.check_labels(images, 0, 'training')


def test_a_set_that_cannot_be_downloaded_is_told_with_the_ways_to_get_it(config, monkeypatch):
  def download():
    raise ConnectionError('Network is unreachable')

  builder = types.SimpleNamespace(
    name='mnist',
    URL='https://nowhere/',
    is_prepared=lambda: False,
    data_path='there',
    download_and_prepare=download,
  )
  monkeypatch.setattr(tfds, 'builder', lambda *_, **__: builder)
  config.update(name='mnist', path='')
  with pytest.raises(
    FileNotFoundError,
    match='could TFDS download it .ConnectionError: Network.*launch/prepare_data.py.*data.path',
  ):
    data.load(config, 4, 1, 'train')

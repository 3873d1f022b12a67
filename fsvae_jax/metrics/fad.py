"""Autoencoder Frechet distance (FAD): between generated images and the test set, in the code of a
small conventional autoencoder (arXiv 2110.00375, section 5); and what else the code tells of them.

The autoencoder is trained once for each data set and kept with its statistics. Distances of two
autoencoders do not compare; the floor, real training images against the test set, and another
model's distance in the same code do. `eval.fad_reference` names a folder with the authors' own
autoencoder and statistics, whose distances compare with the published ones.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, inference, models
from fsvae_jax.exchange import reference_arrays, state_dicts
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import frechet, neighbours
from fsvae_jax.metrics.frechet import Gaussian
from fsvae_jax.metrics.made import Made
from fsvae_jax.metrics.result import Metric, Result, figures, fixed
from fsvae_jax.report.names import TEST_IMAGES
from fsvae_jax.run import files, sharding

BATCH = 256
LEAST = 2  # images of which there is a covariance
# How far from the authors' statistics the sets' own test images may be: they are at .6 and .4, and
# training images at 3.0 and 1.4. Of other sets it is not known.
SAME = {'mnist': 5.0, 'fashion_mnist': 5.0}
AUTHORS_NAMES = {'fashion_mnist': 'fashion', 'celeb_a': 'celeba'}  # others as here


class Space(NamedTuple):
  """A code to measure in.

  Attributes:
    code: images to features [N, D].
    statistics: the test set's Gaussian.
    whose: for the protocol.
    test_ND: the test set's features; None where its Gaussian alone is wanted.
  """

  code: Callable[[Any], np.ndarray]
  statistics: Gaussian
  whose: str
  test_ND: np.ndarray | None = None


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """The figures of `PROTOCOLS` in the project's own code; with `eval.fad_reference`, Frechet
  distances in theirs as well."""
  if reason := missing_for(trained.config, images_of):
    return fixed(Result({}, missing=f'fad: {reason}'))
  config = trained.config
  spaces = {'': own_space(config, images_of)}
  train, test = images_of('train'), len(images_of('test'))
  missing = ''
  if config.eval.fad_reference:
    authors = authors_space(config, trained.mesh)
    if reason := of_others(config, authors, images_of('test')):
      missing = f'fad_authors: {reason}'
    else:
      spaces['_authors'] = authors
  of = {'count': config.eval.images, 'test': test, 'equal': min(config.eval.images, test)}
  protocols = {
    f'{name}{suffix}': f'{protocol.format(**of)}, {space.whose}'
    for suffix, space in spaces.items()
    for name, protocol in PROTOCOLS.items()
  }
  return Metric(
    lambda made: measure(made, train, spaces),
    lambda per_seed: Result(figures(per_seed, protocols), missing=missing),
  )


def missing_for(config: ConfigDict, images_of: Callable[[str], data.Images]) -> str:
  """Why there are none of these distances; '' if there are."""
  train, test = (len(images_of(split)) for split in ('train', 'test'))
  if train < BATCH or test < LEAST:
    return (
      f'too few images ({train} training and {test} test images; at least {BATCH} and {LEAST} are '
      'needed)'
    )
  _, folder = autoencoder(config, images_of)
  is_there = (folder / 'finished').exists()
  if sharding.from_first(is_there or files.is_writable(files.nearest(folder))):
    return ''
  return (
    f'no autoencoder of these images is in {folder.parent}, where nothing may be written; take '
    'another data.cache_dir'
  )


_FLOOR = 'a perfect model: up to {count} random training images'
_AMONG = 'within the 3 nearest neighbours, up to {equal} random ones of each'
_KERNEL = '{test} test images, unbiased squared MMD, cubic kernel'
PROTOCOLS = {
  'fad': '{count} generated images, not rounded to bytes, against {test} test images',
  'fad_reconstruction': 'reconstructions of all {test} test images against these',
  'fad_floor': _FLOOR + ' against {test} test images',
  'precision': 'share of generated images among test images: ' + _AMONG,
  'precision_floor': 'share of training images among test images: ' + _AMONG,
  'recall': 'share of test images among generated images: ' + _AMONG,
  'recall_floor': 'share of test images among training images: ' + _AMONG,
  'kid_code': '{count} generated images against ' + _KERNEL,
  'kid_code_floor': _FLOOR + ' against ' + _KERNEL,
}


def measure(made: Made, train_images: data.Images, spaces: Mapping[str, Space]) -> dict[str, float]:
  """{figure: value} of one seed; of a model without a prior, only figures that need no samples.

  Args:
    spaces: {suffix of the figures' names: Space}.
  """
  config = made.trained.config
  rng = np.random.default_rng((config.seed, made.seed))
  count = min(config.eval.images, len(train_images))
  real = train_images[np.sort(rng.choice(len(train_images), count, replace=False))]
  sets = {'': made.generated} if made.trained.model.sample else {}
  sets |= {'_reconstruction': made.reconstructions, '_floor': real}
  values = {}
  for suffix, space in spaces.items():
    codes = {kind: space.code(images) for kind, images in sets.items()}
    for kind, code_ND in codes.items():
      distance = frechet.distance(frechet.gaussian(code_ND), space.statistics)
      values[f'fad{kind}{suffix}'] = distance
      if space.test_ND is not None and kind != '_reconstruction':
        overlap = overlaps(code_ND, space.test_ND, rng).items()
        values |= {f'{name}{kind}{suffix}': value for name, value in overlap}
  return values


def overlaps(
  code_ND: np.ndarray, test_ND: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
  """Kernel distance of all, precision and recall of as many of each; without the latter two where
  there are no neighbours."""
  values = {'kid_code': neighbours.kernel_distance(code_ND, test_ND)}
  equal = min(len(code_ND), len(test_ND))
  if equal > neighbours.NEAREST:
    made_ND, real_ND = (x[rng.choice(len(x), equal, replace=False)] for x in (code_ND, test_ND))
    values['precision'], values['recall'] = neighbours.precision_recall(made_ND, real_ND)
  return values


def own_space(config: ConfigDict, images_of: Callable[[str], data.Images]) -> Space:
  """The code of the data set's autoencoder, which is trained."""
  own, workdir = autoencoder(config, images_of)
  code = inference.restore(own, workdir).encode
  test_ND = code(images_of('test'))
  statistics = frechet.kept(workdir / 'test_statistics.npz', lambda: test_ND)
  mark = hashlib.sha256(statistics.mean.tobytes()).hexdigest()[:8]
  whose = f'own autoencoder {mark}, {config.eval.fad_epochs} epochs'
  return Space(code, statistics, whose, test_ND)


def autoencoder(
  config: ConfigDict, images_of: Callable[[str], data.Images]
) -> tuple[ConfigDict, pathlib.Path]:
  """Configuration and workdir of the run that trains the data set's autoencoder."""
  own = autoencoder_config(config)
  names = [images_of(split).name for split in ('train', 'test')]
  recipe = json.dumps([names, own.data.flip, own.model.to_dict(), own.train.to_dict()])
  digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
  return own, autoencoders(config) / f'{own.data.name}-{own.model.latent_dim}-{digest}'


def autoencoders(config: ConfigDict) -> pathlib.Path:
  """The folder of all data sets' autoencoders."""
  return files.expand(config.data.cache_dir, 'data.cache_dir') / 'autoencoders'


def autoencoder_config(config: ConfigDict) -> ConfigDict:
  """The run that trains the autoencoder: the same whatever the model in question."""
  own = ConfigDict(config.to_dict())
  del own.eval
  own.seed = own.data.validation = 0
  own.data.flip = False
  model: dict = {name: config.model[name] for name in ('image_size', 'channels')}
  model['features'] = _widths(model['image_size'])
  dim = 64 if config.model.channels == 1 else 128
  own.model = ConfigDict(model | {'name': 'autoencoder', 'latent_dim': dim})
  batch_size = BATCH
  if jax.process_count() > 1:  # all devices must share it; one process takes those that can
    batch_size = sharding.round_up(BATCH, sharding.make_mesh())
  recipe = {'batch_size': batch_size, 'epochs': config.eval.fad_epochs, 'steps': 0}
  recipe |= {
    'optimizer': 'adamw',
    'learning_rate': 1e-3,
    'schedule': 'constant',
    'warmup_steps': 0,
    'weight_decay': 1e-2,
  }
  recipe |= {'clip_norm': 0.0, 'ema_decay': 0.0, 'keep': 1, 'micro_batches': 1}
  own.test.batch_size = BATCH
  own.train = ConfigDict(recipe | {'log_every': 100, 'test_every': 0, 'checkpoint_every': 500})
  return own


def _widths(image_size):
  """The published ones: 32, and twice as many, up to 512, with every halving to 2 pixels or more.

  Examples:
    >>> _widths(32), _widths(64), _widths(28)
    ((32, 64, 128, 256), (32, 64, 128, 256, 512), (32, 64))
  """
  halvings = 1
  while image_size % 2 ** (halvings + 1) == 0 and 2 ** (halvings + 1) < image_size:
    halvings += 1
  return tuple(min(32 * 2**i, 512) for i in range(halvings))


def of_others(config: ConfigDict, space: Space, test_images: data.Images) -> str:
  """Why test images are not those of which the authors' statistics are; '' if they are."""
  ours = len(test_images)
  if (theirs := TEST_IMAGES.get(config.data.name, ours)) != ours:
    return f"the authors' statistics are of {theirs} test images, here are {ours}"
  if (name := config.data.name) not in SAME:
    return ''
  apart = frechet.distance(frechet.gaussian(space.code(test_images)), space.statistics)
  other = f"the test images are at a distance of {apart:.3g} from the authors': are they {name}'s?"
  return other if apart > SAME[name] else ''


def authors_space(config: ConfigDict, mesh: jax.sharding.Mesh) -> Space:
  """The code and statistics of the folder `eval.fad_reference`; raises as `authors` does."""
  own = autoencoder_config(config)
  statistics, variables = authors(config)
  code = Trained(own, pathlib.Path(), 0, models.make(own.model), variables, mesh).encode
  return Space(code, statistics, "the authors' autoencoder and statistics")


def authors(config: ConfigDict) -> tuple[Gaussian, dict]:
  """Statistics, and the autoencoder's variables, of the files in `eval.fad_reference`.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that is not there, cannot be read or does
      not fit, naming it.
  """
  own, name = autoencoder_config(config), config.data.name
  c, dim, stem = own.model, own.model.latent_dim, AUTHORS_NAMES.get(name, name)
  folder = files.expand(config.eval.fad_reference, 'eval.fad_reference')
  statistics = frechet.load(folder / f'{stem}_test_{dim}.npz', dim)
  file = folder / f'{stem}_{dim}.npz'  # where there is no PyTorch to read the .pth
  state = state_dicts.load(file if file.exists() else file.with_suffix('.pth'))
  encoder = reference_arrays.convert_autoencoder(state, c.features, c.image_size, c.channels, dim)
  return statistics, {part: {'encoder': tree} for part, tree in encoder.items()}

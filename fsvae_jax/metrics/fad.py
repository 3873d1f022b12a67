"""Autoencoder Frechet distance (FAD): between generated images and the test set, in the code of a
small conventional autoencoder (arXiv 2110.00375, section 5).

The autoencoder is trained once for each data set and kept with its statistics. Distances of two
autoencoders do not compare; the floor, real training images against the test set, and another
model's distance in the same code do. `eval.fad_reference` names a folder with the authors' own
autoencoder and statistics, whose distances compare with the published ones.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, inference, models
from fsvae_jax.exchange import reference, state_dicts
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import frechet
from fsvae_jax.metrics.frechet import Gaussian
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.run import files, sharding

BATCH = 256
AUTHORS_NAMES = {'fashion_mnist': 'fashion', 'celeb_a': 'celeba'}  # others as here


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Result:
  """`fad` and `fad_floor` in the project's own code; with `eval.fad_reference` also in theirs."""
  if reason := too_few(images_of):
    return Result({}, missing=f'fad: {reason}')
  config, missing = trained.config, ''
  code, statistics = own_code(config, images_of)
  mark = hashlib.sha256(statistics.mean.tobytes()).hexdigest()[:8]
  spaces = {'': (code, statistics, f'own autoencoder {mark}, {config.eval.fad_epochs} epochs')}
  if config.eval.fad_reference:
    try:
      theirs = "the authors' autoencoder and statistics"
      spaces['_authors'] = (*authors_code(config, trained.mesh), theirs)
    except (FileNotFoundError, ImportError, ValueError) as error:
      missing = f'fad_authors: {error}'
  of = {'count': config.eval.images, 'test': len(images_of('test'))}
  figures = {}
  for name, values in distances(trained, images_of('train'), spaces).items():
    figure, suffix = name
    whose = spaces[suffix][2]
    figures[f'{figure}{suffix}'] = Figure(values, f'{PROTOCOLS[figure].format(**of)}, {whose}')
  return Result(figures, missing=missing)


def too_few(images_of: Callable[[str], data.Images]) -> str:
  """Why a set is too small for these distances; '' if it is not."""
  train, test = (len(images_of(split)) for split in ('train', 'test'))
  few = (
    f'too few images ({train} training and {test} test images; at least {BATCH} and 2 are needed)'
  )
  return few if train < BATCH or test < 2 else ''


PROTOCOLS = {
  'fad': '{count} generated images, not rounded to bytes, against {test} test images',
  'fad_floor': 'a perfect model: up to {count} random training images against {test} test images',
}


def distances(
  trained: Trained, train_images: data.Images, spaces: Mapping[str, tuple]
) -> dict[tuple[str, str], list[float]]:
  """{('fad' | 'fad_floor', space): [one a seed]}; no 'fad' of a model without a prior.

  Args:
    spaces: {name: (code, statistics, ...)}.
  """
  config = trained.config
  scores: dict[tuple[str, str], list[float]] = {}
  for seed in range(config.eval.seeds):
    rng = np.random.default_rng((config.seed, seed))
    count = min(config.eval.images, len(train_images))
    real = train_images[np.sort(rng.choice(len(train_images), count, replace=False))]
    sets = {'fad': trained.generate(config.eval.images, seed)} if trained.model.sample else {}
    for name, images in (sets | {'fad_floor': real}).items():
      for space, (code, statistics, *_) in sorted(spaces.items()):
        distance = frechet.distance(frechet.gaussian(code(images)), statistics)
        scores.setdefault((name, space), []).append(distance)
  return scores


def own_code(
  config: ConfigDict, images_of: Callable[[str], data.Images]
) -> tuple[Callable[[Any], np.ndarray], Gaussian]:
  """The code of the data set's autoencoder, which is trained, and the test set's Gaussian."""
  own, workdir = autoencoder(config, images_of)
  code = inference.restore(own, workdir).encode
  path = workdir / 'test_statistics.npz'
  return code, frechet.kept(path, lambda: code(images_of('test')))


def autoencoder(
  config: ConfigDict, images_of: Callable[[str], data.Images]
) -> tuple[ConfigDict, pathlib.Path]:
  """Configuration and workdir of the run that trains the data set's autoencoder."""
  own = autoencoder_config(config)
  names = [images_of(split).name for split in ('train', 'test')]
  recipe = json.dumps([names, own.model.to_dict(), own.train.to_dict()])
  digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
  cache = files.expand(config.data.cache_dir, 'data.cache_dir') / 'autoencoders'
  return own, cache / f'{own.data.name}-{own.model.latent_dim}-{digest}'


def autoencoder_config(config: ConfigDict) -> ConfigDict:
  """The run that trains the autoencoder: the same whatever the recipe of the model in question."""
  own = ConfigDict(config.to_dict())
  del own.eval
  own.seed = own.data.validation = 0
  model = {name: config.model[name] for name in ('image_size', 'channels', 'features')}
  dim = code_dim(config.model.channels)
  own.model = ConfigDict(model | {'name': 'autoencoder', 'latent_dim': dim})
  batch_size = BATCH
  if jax.process_count() > 1:  # all devices must share it; one process takes those that can
    batch_size = sharding.round_up(BATCH, sharding.make_mesh())
  recipe = {'batch_size': batch_size, 'epochs': config.eval.fad_epochs, 'steps': 0}
  recipe |= {'learning_rate': 1e-3, 'schedule': 'constant', 'warmup_steps': 0, 'weight_decay': 1e-2}
  recipe |= {'clip_norm': 0.0, 'ema_decay': 0.0, 'keep': 1, 'micro_batches': 1}
  own.test.batch_size = BATCH
  own.train = ConfigDict(recipe | {'log_every': 100, 'test_every': 0, 'checkpoint_every': 500})
  return own


def code_dim(channels: int) -> int:
  """Size of the code: 64 for grey images, 128 for colour."""
  return 64 if channels == 1 else 128


def authors_code(
  config: ConfigDict, mesh: jax.sharding.Mesh
) -> tuple[Callable[[Any], np.ndarray], Gaussian]:
  """The code and statistics of the folder `eval.fad_reference`.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that is not there, cannot be read or does
      not fit, naming it.
  """
  own, name = autoencoder_config(config), config.data.name
  c, dim, stem = own.model, own.model.latent_dim, AUTHORS_NAMES.get(name, name)
  folder = files.expand(config.eval.fad_reference, 'eval.fad_reference')
  statistics = frechet.load(folder / f'{stem}_test_{dim}.npz')
  state = state_dicts.load(folder / f'{stem}_{dim}.pth')
  encoder = reference.convert_autoencoder(state, c.features, c.image_size, c.channels, dim)
  variables = {part: {'encoder': tree} for part, tree in encoder.items()}
  return Trained(own, folder, 0, models.make(c), variables, mesh).encode, statistics

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

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, train
from fsvae_jax.interop import reference
from fsvae_jax.metrics import frechet
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.models import ann
from fsvae_jax.trained import Trained

BATCH = 256
AUTHORS_NAMES = {'fashion_mnist': 'fashion', 'celeb_a': 'celeba'}  # others as here


def code_dim(channels):
  """Size of the code: 64 for grey images, 128 for colour."""
  return 64 if channels == 1 else 128


def evaluate(trained):
  """`fad` and `fad_floor` in the project's own code; with `eval.fad_reference` also in theirs."""
  config = trained.config
  if len(trained.train_images) < BATCH:
    few = f'{len(trained.train_images)} training images, at least {BATCH} needed'
    return Result({}, missing=f'fad: too few images for an autoencoder ({few})')
  code, statistics = own_code(trained)
  spaces = {'': (code, statistics, f'own autoencoder, {config.eval.fad_epochs} epochs')}
  if config.eval.fad_reference:
    spaces['_authors'] = *authors_code(config), "the authors' autoencoder and statistics"
  figures = {}
  for suffix, (code, statistics, whose) in spaces.items():
    scores = distances(trained, code, statistics)
    for name, values in scores.items():
      protocol = f'{PROTOCOLS[name].format(config.eval.images)}, {whose}'
      figures[f'{name}{suffix}'] = Figure(values, protocol)
  return Result(figures)


PROTOCOLS = {
  'fad': '{} generated images against the test set',
  'fad_floor': 'up to {} random training images against the test set: a perfect model',
}


def distances(trained, code, statistics):
  """{'fad': [one a seed], 'fad_floor': [one a seed]}; no 'fad' of a model without a prior."""
  config, train_images = trained.config, trained.train_images
  scores = {'fad_floor': []}
  for seed in range(config.eval.seeds):
    rng = np.random.default_rng((config.seed, seed))
    count = min(config.eval.images, len(train_images))
    real = train_images[np.sort(rng.choice(len(train_images), count, replace=False))]
    scores['fad_floor'].append(frechet.distance(frechet.gaussian(code(real)), statistics))
    if trained.model.sample is not None:
      generated = frechet.gaussian(code(trained.generate(config.eval.images, seed)))
      scores.setdefault('fad', []).append(frechet.distance(generated, statistics))
  return scores


def coder(features, outputs, variables):
  """A function from images, uint8 or in [-1, 1], to codes [N, outputs] of `ann.Encoder`."""
  encode = jax.jit(ann.Encoder(tuple(features), outputs).apply)

  def code(images):
    parts = []
    for i in range(0, len(images), BATCH):
      x = np.asarray(images[i : i + BATCH])
      rows = np.arange(BATCH) % len(x)  # the last batch filled up: one program for all
      image_BHWC = data.normalize(x[rows]) if x.dtype == np.uint8 else x[rows]
      parts.append(np.asarray(encode(variables, image_BHWC))[: len(x)])
    return np.concatenate(parts)

  return code


def own_code(trained):
  """The coder of the data set's autoencoder, trained if need be, and the test set's Gaussian."""
  config = autoencoder_config(trained.config)
  fields = json.dumps([config.data.to_dict(), config.model.to_dict(), config.train.to_dict()])
  digest = hashlib.sha256(fields.encode()).hexdigest()[:12]
  cache = pathlib.Path(config.data.cache_dir).expanduser()
  workdir = cache / 'autoencoders' / f'{config.data.name}-{config.model.latent_dim}-{digest}'
  statistics = workdir / 'test_statistics.npz'
  if not statistics.exists():
    print(f'training the autoencoder of the Frechet distance, once, in {workdir}', flush=True)
    finished, _ = train.train_and_evaluate(config, workdir)
    if not finished:
      raise KeyboardInterrupt('the autoencoder is not finished; the same command goes on')
  variables = jax.device_get(Trained(config, workdir).variables)
  own = {part: tree['encoder'] for part, tree in variables.items()}
  code = coder(config.model.features, config.model.latent_dim, own)
  if not statistics.exists():
    gaussian = frechet.gaussian(code(trained.test_images))
    np.savez(statistics, mu=gaussian.mean, sigma=gaussian.covariance)
  return code, load_statistics(statistics)


def autoencoder_config(config):
  """The run that trains the autoencoder: the same whatever the recipe of the model in question."""
  own = ConfigDict(config.to_dict())
  c = config.model
  del own.eval
  own.seed = 0
  own.model = ConfigDict(
    {
      'name': 'autoencoder',
      'image_size': c.image_size,
      'channels': c.channels,
      'features': tuple(c.features),
      'latent_dim': code_dim(c.channels),
    }
  )
  recipe = {'batch_size': BATCH, 'epochs': config.eval.fad_epochs, 'steps': 0}
  recipe |= {'learning_rate': 1e-3, 'schedule': 'constant', 'warmup_steps': 0, 'weight_decay': 1e-2}
  recipe |= {'clip_norm': 0.0, 'ema_decay': 0.0, 'keep': 1}
  own.train = ConfigDict(recipe | {'log_every': 100, 'test_every': 0, 'checkpoint_every': 500})
  return own


def authors_code(config):
  """The coder and statistics of the folder `eval.fad_reference`.

  Raises:
    ValueError, FileNotFoundError: for a file that is not there or does not fit, naming it.
  """
  dim, name = code_dim(config.model.channels), config.data.name
  stem = AUTHORS_NAMES.get(name, name)
  folder = pathlib.Path(config.eval.fad_reference).expanduser()
  state = reference.load_state_dict(folder / f'{stem}_{dim}.pth')
  variables = reference.convert_autoencoder(
    state, config.model.features, config.model.image_size, config.model.channels, dim
  )
  return coder(config.model.features, dim, variables), load_statistics(
    folder / f'{stem}_test_{dim}.npz'
  )


def load_statistics(path):
  """The Gaussian of an .npz with `mu` and `sigma`; errors name the file."""
  if not path.is_file():
    raise FileNotFoundError(f'no statistics at {path}')
  with np.load(path) as arrays:
    if not {'mu', 'sigma'} <= set(arrays):
      raise ValueError(f'{path} has {", ".join(arrays)}; expected mu and sigma')
    return frechet.Gaussian(arrays['mu'].astype(float), arrays['sigma'].astype(float))

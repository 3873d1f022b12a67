"""Autoencoder Frechet distance (FAD): between generated images and the test set, in the code of a
small conventional autoencoder (arXiv 2110.00375, section 5).

The autoencoder is trained once for each data set and kept with its statistics. Distances of two
autoencoders do not compare; the floor, real training images against the test set, and another
model's distance in the same code do. `eval.fad_reference` names a folder with the authors' own
autoencoder and statistics, whose distances compare with the published ones.
"""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, train
from fsvae_jax.exchange import reference
from fsvae_jax.metrics import frechet
from fsvae_jax.metrics.frechet import Gaussian
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.models import ann
from fsvae_jax.run import console, distributed, files, sharding, signals
from fsvae_jax.trained import Trained

BATCH = 256
AUTHORS_NAMES = {'fashion_mnist': 'fashion', 'celeb_a': 'celeba'}  # others as here


def evaluate(trained: Trained) -> Result:
  """`fad` and `fad_floor` in the project's own code; with `eval.fad_reference` also in theirs."""
  config = trained.config
  if len(trained.train_images) < BATCH or len(trained.test_images) < 2:
    few = f'{len(trained.train_images)} training and {len(trained.test_images)} test images'
    return Result({}, missing=f'fad: too few images ({few}; at least {BATCH} and 2 are needed)')
  spaces, missing = {}, ''
  if config.eval.fad_reference:
    try:
      spaces['_authors'] = (*authors_code(config), "the authors' autoencoder and statistics")
    except (FileNotFoundError, ImportError, ValueError) as error:
      missing = f'fad_authors: {error}'
  code, statistics = own_code(trained)
  mark = hashlib.sha256(statistics.mean.tobytes()).hexdigest()[:8]
  spaces[''] = code, statistics, f'own autoencoder {mark}, {config.eval.fad_epochs} epochs'
  figures = {}
  for suffix, (code, statistics, whose) in sorted(spaces.items()):
    for name, values in distances(trained, code, statistics).items():
      protocol = PROTOCOLS[name].format(count=config.eval.images, test=len(trained.test_images))
      figures[f'{name}{suffix}'] = Figure(values, f'{protocol}, {whose}')
  return Result(figures, missing=missing)


PROTOCOLS = {
  'fad': '{count} generated images, not rounded to bytes, against {test} test images',
  'fad_floor': 'a perfect model: up to {count} random training images against {test} test images',
}


def distances(trained: Trained, code: Callable, statistics: Gaussian) -> dict[str, list[float]]:
  """{'fad': [one a seed], 'fad_floor': [one a seed]}; no 'fad' of a model without a prior."""
  config, train_images = trained.config, trained.train_images
  scores: dict[str, list[float]] = (
    {'fad': [], 'fad_floor': []} if trained.model.sample else {'fad_floor': []}
  )
  for seed in range(config.eval.seeds):
    rng = np.random.default_rng((config.seed, seed))
    count = min(config.eval.images, len(train_images))
    real = train_images[np.sort(rng.choice(len(train_images), count, replace=False))]
    scores['fad_floor'].append(frechet.distance(frechet.gaussian(code(real)), statistics))
    if trained.model.sample:
      generated = frechet.gaussian(code(trained.generate(config.eval.images, seed)))
      scores['fad'].append(frechet.distance(generated, statistics))
  return scores


def coder(features: Sequence[int], outputs: int, variables: Any) -> Callable[[Any], np.ndarray]:
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


def own_code(trained: Trained) -> tuple[Callable, Gaussian]:
  """The coder of the data set's autoencoder, trained if need be, and the test set's Gaussian."""
  config = autoencoder_config(trained.config)
  names = [images.name for images in (trained.train_images, trained.test_images)]
  recipe = json.dumps([names, config.model.to_dict(), config.train.to_dict()])
  digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
  cache = files.expand(config.data.cache_dir, 'data.cache_dir') / 'autoencoders'
  workdir = cache / f'{config.data.name}-{config.model.latent_dim}-{digest}'
  cache.mkdir(parents=True, exist_ok=True)
  with alone(workdir.with_name(f'{workdir.name}.lock')):
    if not sharding.from_first((workdir / 'finished').exists()):
      console.say(f'training the autoencoder of the Frechet distance, once, in {workdir}')
      finished, _ = train.train_and_evaluate(config, workdir)
      if not finished:
        raise signals.Stopped('while the autoencoder of the Frechet distance was trained')
      if jax.process_index() == 0:
        files.write_text(workdir / 'finished', '')
  variables = jax.device_get(Trained(config, workdir).variables)
  encoder = {part: tree['encoder'] for part, tree in variables.items()}
  code = coder(config.model.features, config.model.latent_dim, encoder)
  statistics = frechet.kept(workdir / 'test_statistics.npz', lambda: code(trained.test_images))
  return code, statistics


@contextlib.contextmanager
def alone(lock: pathlib.Path) -> Iterator[None]:
  """What the processes of this run do together while no other run does it."""
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      stack.enter_context(files.locked(lock))
    distributed.meet()
    yield


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
  own.train = ConfigDict(recipe | {'log_every': 100, 'test_every': 0, 'checkpoint_every': 500})
  return own


def code_dim(channels: int) -> int:
  """Size of the code: 64 for grey images, 128 for colour."""
  return 64 if channels == 1 else 128


def authors_code(config: ConfigDict) -> tuple[Callable, Gaussian]:
  """The coder and statistics of the folder `eval.fad_reference`.

  Raises:
    ValueError, FileNotFoundError, ImportError: for a file that is not there, cannot be read or does
      not fit, naming it.
  """
  c, name = config.model, config.data.name
  dim, stem = code_dim(c.channels), AUTHORS_NAMES.get(name, name)
  folder = files.expand(config.eval.fad_reference, 'eval.fad_reference')
  statistics = frechet.load(folder / f'{stem}_test_{dim}.npz')
  state = reference.load_state_dict(folder / f'{stem}_{dim}.pth')
  variables = reference.convert_autoencoder(state, c.features, c.image_size, c.channels, dim)
  return coder(c.features, dim, variables), statistics

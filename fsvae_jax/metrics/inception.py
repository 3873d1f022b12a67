"""FID, KID and Inception score, by the libraries that others use: clean-fid and torch-fidelity.

Both are PyTorch and read Inception weights of their own formats, from the folder `eval.inception`
or downloaded into it once. What cannot be had is said; the other metrics go on.
"""

import contextlib
import functools
import hashlib
import http.client
import pathlib
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import frechet
from fsvae_jax.metrics.result import Metric, Result, figures, fixed
from fsvae_jax.run import files

CLEAN_FID = (
  'inception-2015-12-05.pt',
  'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/',
)
SPLITS = 10  # of the generated images, for the spread of the Inception score
TORCH_FIDELITY = (
  'weights-inception-2015-12-05-6726825d.pth',
  'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/',
)


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """`fid`, `kid`, `inception_score` of `eval.images` generated images against the test set."""
  config, test_images = trained.config, images_of('test')
  if reason := missing(trained, test_images):
    return fixed(Result({}, missing=f'fid, kid, inception_score: {reason}'))
  named = config.eval.inception
  folder = files.expand(named, 'eval.inception') if named else cache(config)
  scorers, faults = [], []
  for scorer, weights in ((clean_fid, CLEAN_FID), (fidelity, TORCH_FIDELITY)):
    try:
      scorers.append(scorer(config, test_images, find_weights(folder, *weights)))
    except FileNotFoundError as error:
      faults.append(str(error))
  of = {'count': config.eval.images, 'test': len(test_images), 'splits': SPLITS}
  protocols = {name: protocol.format(**of) for name, protocol in PROTOCOLS.items()}
  return Metric(
    lambda made: {k: v for scorer in scorers for k, v in scorer(made.generated).items()},
    lambda per_seed: Result(figures(per_seed, protocols), missing='; '.join(faults)),
  )


PROTOCOLS = {
  'fid': 'clean-fid, mode clean, {count} generated images against the test set ({test} images)',
  'inception_score': 'torch-fidelity, {count} generated images, {splits} splits: the standard '
  'score, not the published one',
  'kid': 'torch-fidelity, {count} generated images against the test set, mean over 100 subsets of '
  'at most 1000',
}


def missing(trained: Trained, test_images: data.Images) -> str:
  """Why these metrics cannot be had; '' if they can."""
  if trained.model.sample is None:
    return 'this model does not generate'
  if len(test_images) < 2:
    return 'fewer than 2 test images'
  try:
    import cleanfid  # noqa: F401
    import torch_fidelity  # noqa: F401
  except Exception as error:  # also of libraries that do not fit each other
    return f'{error}; pip install "fsvae_jax[inception]"'
  return ''


def find_weights(folder: pathlib.Path, name: str, address: str) -> pathlib.Path:
  """The file in `folder`, downloaded if it is not there.

  Raises:
    FileNotFoundError: if it cannot be downloaded; says what to fetch and where to put it.
  """
  path = folder / name
  if path.is_file():
    return path
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(address + name, timeout=30) as response:
      content = response.read()
    if content.lstrip()[:1] == b'<':
      raise OSError('a web page came in its place')
    files.write_bytes(path, content)
    return path
  except (OSError, http.client.HTTPException) as error:
    raise FileNotFoundError(
      f'{name} could not be downloaded ({error}): fetch {address}{name} and put it into {folder}, '
      'or name its folder with --config.eval.inception'
    ) from error


def network_of(weights: pathlib.Path, make: Callable) -> Any:
  """`make()`, a network of the weights; FileNotFoundError if they are no such."""
  try:
    return make()
  except Exception as error:  # PyTorch's are of many kinds
    raise FileNotFoundError(
      f'{weights} holds no weights that can be read ({error}): remove it, and it is fetched anew'
    ) from error


def clean_fid(config: ConfigDict, test_images: data.Images, weights: pathlib.Path) -> Callable:
  """Samples to {'fid'}, as clean-fid has it: Pillow's bicubic to 299x299, not rounded to uint8."""
  import torch
  from cleanfid.inception_torchscript import InceptionV3W
  from cleanfid.resize import build_resizer

  resize = build_resizer('clean')
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  load = functools.partial(InceptionV3W, str(weights.parent), download=False, resize_inside=False)
  network = network_of(weights, load).to(device)

  def features(images):
    parts = []
    for i in range(0, len(images), 50):
      rows = [resize(rgb(image)).transpose(2, 0, 1) for image in images[i : i + 50]]
      with torch.no_grad():
        parts.append(network(torch.from_numpy(np.stack(rows)).to(device)).cpu().numpy())
    return np.concatenate(parts)

  path = cache(config) / f'{cache_name(config, test_images, weights)}.npz'
  test = frechet.kept(path, lambda: features(test_images))
  return lambda samples: {
    'fid': frechet.distance(frechet.gaussian(features(to_bytes(samples))), test)
  }


def cache(config: ConfigDict) -> pathlib.Path:
  """The folder of what is kept between evaluations."""
  return files.expand(config.data.cache_dir, 'data.cache_dir') / 'inception'


def cache_name(config: ConfigDict, test_images: data.Images, weights: pathlib.Path) -> str:
  """A name that changes with the test set and with the weights."""
  stat = weights.stat()
  recipe = f'{test_images.name}|{weights.name}|{stat.st_size}|{stat.st_mtime_ns}'
  return f'{config.data.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}'


def fidelity(config: ConfigDict, test_images: data.Images, weights: pathlib.Path) -> Callable:
  """Samples to {'kid', 'inception_score'}, the standard ones, of torch-fidelity."""
  import torch
  import torch_fidelity
  from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

  # That the weights can be read is known before anything is measured.
  load = functools.partial(FeatureExtractorInceptionV3, 'trial', ['2048'])
  network_of(weights, lambda: load(feature_extractor_weights_path=str(weights)))

  folder = cache(config)
  with contextlib.suppress(OSError):
    folder.mkdir(parents=True, exist_ok=True)

  def scores(samples):
    found = torch_fidelity.calculate_metrics(
      input1=as_torch(np.asarray(data.quantize(samples))),
      input2=as_torch(test_images),  # not kept: it may be large
      input2_cache_name=cache_name(config, test_images, weights),
      cache=files.is_writable(folder),
      cache_root=str(folder),
      feature_extractor_weights_path=str(weights),
      isc=True,
      isc_splits=SPLITS,
      kid=True,
      kid_subset_size=min(1000, len(samples), len(test_images)),
      cuda=torch.cuda.is_available(),
      save_cpu_ram=True,  # no worker processes: forks of a process that runs JAX may hang
      verbose=False,
    )
    return {
      'inception_score': found['inception_score_mean'],
      'kid': found['kernel_inception_distance_mean'],
    }

  return scores


def as_torch(images: Any) -> Any:
  """uint8 images [N, H, W, C] as a PyTorch data set of uint8 tensors [3, H, W]."""
  import torch

  rows = (rgb(np.asarray(image)).transpose(2, 0, 1).copy() for image in images)
  tensors: Any = [torch.from_numpy(row) for row in rows]  # a list serves as a data set
  return torch.utils.data.Subset(tensors, range(len(tensors)))


def rgb(image_HWC: np.ndarray) -> np.ndarray:
  """Three channels, grey ones repeated."""
  return np.repeat(image_HWC, 3, axis=-1) if image_HWC.shape[-1] == 1 else image_HWC


def to_bytes(images: np.ndarray) -> np.ndarray:
  """[-1, 1] to 0..255, not rounded."""
  return (images + 1) * 127.5

"""FID, KID and Inception score, by the libraries that others use: clean-fid and torch-fidelity.

Both are PyTorch and read Inception weights of their own formats, from the folder `eval.inception`
or downloaded into it once. What cannot be had is said; the other metrics go on.
"""

import hashlib
import http.client
import pathlib
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

from fsvae_jax import data
from fsvae_jax.metrics import frechet
from fsvae_jax.metrics.frechet import Gaussian
from fsvae_jax.metrics.result import Figure, Result
from fsvae_jax.run import files
from fsvae_jax.trained import Trained

CLEAN_FID = (
  'inception-2015-12-05.pt',
  'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/',
)
SPLITS = 10  # of the generated images, for the spread of the Inception score
TORCH_FIDELITY = (
  'weights-inception-2015-12-05-6726825d.pth',
  'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/',
)


def evaluate(trained: Trained) -> Result:
  """`fid`, `kid`, `inception_score` of `eval.images` generated images against the test set."""
  if trained.model.sample is None:
    return Result({}, missing='fid, kid, inception_score: this model does not generate')
  if len(trained.test_images) < 2:
    return Result({}, missing='fid, kid, inception_score: fewer than 2 test images')
  try:
    import cleanfid  # noqa: F401
    import torch_fidelity  # noqa: F401
  except ImportError as error:
    return Result(
      {},
      missing=f'fid, kid, inception_score: {error}; pip install "fsvae_jax[inception]"',
    )
  named = trained.config.eval.inception
  folder = files.expand(named, 'eval.inception') if named else cache(trained)
  figures: dict[str, Figure] = {}
  missing = []
  for measure, weights in ((clean_fid, CLEAN_FID), (fidelity, TORCH_FIDELITY)):
    try:
      path = find_weights(folder, *weights)
    except FileNotFoundError as error:
      missing.append(str(error))
      continue
    figures |= measure(trained, path)
  return Result(figures, missing='; '.join(missing))


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
      files.write_bytes(path, response.read())
    return path
  except (OSError, http.client.HTTPException) as error:
    raise FileNotFoundError(
      f'{name} could not be downloaded ({error}): fetch {address}{name} and put it into {folder}, '
      'or name its folder with --config.eval.inception'
    ) from error


def clean_fid(trained: Trained, weights: pathlib.Path) -> dict[str, Figure]:
  """{'fid'} in the way of clean-fid: Pillow's bicubic to 299x299, images not rounded to uint8."""
  import torch
  from cleanfid.inception_torchscript import InceptionV3W
  from cleanfid.resize import build_resizer

  resize = build_resizer('clean')
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  network = InceptionV3W(str(weights.parent), download=False, resize_inside=False).to(device)

  def features(images):
    parts = []
    for i in range(0, len(images), 50):
      rows = [resize(rgb(image)).transpose(2, 0, 1) for image in images[i : i + 50]]
      with torch.no_grad():
        parts.append(network(torch.from_numpy(np.stack(rows)).to(device)).cpu().numpy())
    return np.concatenate(parts)

  test = test_statistics(trained, weights, features)
  count, seeds = trained.config.eval.images, range(trained.config.eval.seeds)
  values = [
    frechet.distance(frechet.gaussian(features(to_bytes(trained.generate(count, s)))), test)
    for s in seeds
  ]
  protocol = f'clean-fid, mode clean, {count} generated images against the test set'
  return {'fid': Figure(values, f'{protocol} ({len(trained.test_images)} images)')}


def test_statistics(
  trained: Trained, weights: pathlib.Path, features: Callable[[Any], np.ndarray]
) -> Gaussian:
  """The test set's Gaussian for these weights, kept in `data.cache_dir`."""
  path = cache(trained) / f'{cache_name(trained, weights)}.npz'
  return frechet.kept(path, lambda: features(trained.test_images))


def cache(trained: Trained) -> pathlib.Path:
  """The folder of what is kept between evaluations."""
  return files.expand(trained.config.data.cache_dir, 'data.cache_dir') / 'inception'


def cache_name(trained: Trained, weights: pathlib.Path) -> str:
  """A name that changes with the test set and with the weights."""
  stat, images = weights.stat(), trained.test_images.name
  recipe = f'{images}|{weights.name}|{stat.st_size}|{stat.st_mtime_ns}'
  return f'{trained.config.data.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}'


def fidelity(trained: Trained, weights: pathlib.Path) -> dict[str, Figure]:
  """{'kid', 'inception_score'}, the standard ones, of torch-fidelity."""
  import torch
  import torch_fidelity

  count, test = trained.config.eval.images, as_torch(trained.test_images)
  subset = min(1000, count, len(test))
  scores = [
    torch_fidelity.calculate_metrics(
      input1=as_torch(np.asarray(data.quantize(trained.generate(count, seed)))),
      input2=test,
      input2_cache_name=cache_name(trained, weights),
      cache_root=str(cache(trained)),
      feature_extractor_weights_path=str(weights),
      isc=True,
      isc_splits=SPLITS,
      kid=True,
      kid_subset_size=subset,
      cuda=torch.cuda.is_available(),
      save_cpu_ram=True,  # no worker processes: forks of a process that runs JAX may hang
      verbose=False,
    )
    for seed in range(trained.config.eval.seeds)
  ]
  of = f'torch-fidelity, {count} generated images'
  isc = [s['inception_score_mean'] for s in scores]
  kid = [s['kernel_inception_distance_mean'] for s in scores]
  return {
    'inception_score': Figure(
      isc, f'{of}, {SPLITS} splits: the standard score, not the published one'
    ),
    'kid': Figure(kid, f'{of} against the test set, mean over 100 subsets of {subset}'),
  }


def as_torch(images: Any) -> Any:
  """uint8 images [N, H, W, C] as a PyTorch data set of uint8 tensors [3, H, W]."""
  import torch

  tensors = [torch.from_numpy(rgb(np.asarray(i)).transpose(2, 0, 1).copy()) for i in images]
  return torch.utils.data.Subset(tensors, range(len(tensors)))


def rgb(image_HWC: np.ndarray) -> np.ndarray:
  """Three channels, grey ones repeated."""
  return np.repeat(image_HWC, 3, axis=-1) if image_HWC.shape[-1] == 1 else image_HWC


def to_bytes(images: np.ndarray) -> np.ndarray:
  """[-1, 1] to 0..255, not rounded."""
  return (images + 1) * 127.5

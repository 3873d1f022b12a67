"""Images that a trained model makes: grids, ways through the latent, rasters of spikes, files."""

import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, inference
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import robustness
from fsvae_jax.models import Model
from fsvae_jax.run import console, files, pictures


def quantized(images: np.ndarray) -> np.ndarray:
  """uint8 of images in [-1, 1]."""
  return np.asarray(data.quantize(images))


def reconstructions(trained: Trained, images: np.ndarray) -> np.ndarray:
  """uint8 images, followed by their reconstructions."""
  return np.concatenate([images, quantized(trained.reconstruct(images))])


def grids(trained: Trained, test_images: data.Images, count: int = 16) -> dict[str, bytes]:
  """PNG pictures for the report, {name: bytes}."""
  images = np.asarray(test_images[:count])
  made = {'reconstructions': pictures.grid(reconstructions(trained, images), len(images))}
  if trained.model.sample is not None:
    made['samples'] = pictures.grid(quantized(trained.generate(64)), 8)
    if len(images) > 1:
      made['interpolation'] = pictures.grid(interpolations(trained, images[:8]), 8)
  return {name: pictures.png(picture) for name, picture in made.items()}


def interpolations(trained: Trained, images: np.ndarray, steps: int = 8) -> np.ndarray:
  """uint8 images from each first of a pair of `images` to the second, through the latent."""
  latents, rng = trained.encode(images), np.random.default_rng(trained.config.seed)
  if trained.model.record is None:
    path = lambda a, b: np.stack([a + s * (b - a) for s in np.linspace(0, 1, steps)])
  else:
    path = lambda a, b: robustness.interpolate(a, b, steps, rng)
  ways = [path(a, b) for a, b in zip(latents[::2], latents[1::2], strict=False)]
  return quantized(trained.decode(np.concatenate(ways)))


def rasters(trained: Trained, test_images: data.Images) -> dict[str, np.ndarray]:
  """Spikes of the first test image, {layer: [T, neurons]}; {} for a model without spikes."""
  if trained.model.record is None:
    return {}
  spikes = trained.over(_spikes, test_images[:1])
  return {name: x_BTF[0].reshape(len(x_BTF[0]), -1) for name, x_BTF in spikes.items()}


def _spikes(model: Model, variables: Any, key: jax.Array, images_BHWC: jax.Array) -> Any:
  image_BHWC = data.normalize(images_BHWC)
  latent = model.encode(variables, image_BHWC, key)
  assert model.record
  return model.record('spikes', variables, latent, image_BHWC)


def write(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  mode: str,
  count: int,
  step: int | str | None = None,
  seed: int = 0,
) -> None:
  """Writes `count` generated images, or reconstructed test images, below `workdir`.

  Args:
    mode: 'generate' or 'reconstruct'; also the name of the folder.
    count: number of images.
    step: of the checkpoint; default: the newest.
    seed: of the draws.

  Raises:
    ValueError: for a count below one or above the number of test images, or a model that does not
      generate.
  """
  trained = inference.restore(config, workdir, step)
  if mode == 'generate':
    check_count(count)
    arrays = {'generated': quantized(trained.generate(count, seed))}
  else:
    test_images = trained.images('test')
    check_count(count, len(test_images))
    images = np.asarray(test_images[:count])
    arrays = {'images': images, 'reconstructions': quantized(trained.reconstruct(images, seed))}
  folder = trained.workdir / mode
  if jax.process_index() == 0:
    save(folder, columns=8, **arrays)
    console.say(
      f'{count} images of step {trained.step} are in {folder}: grid.png, images.npz, single PNGs'
    )


def check_count(count: int, most: int | None = None) -> None:
  """Raises ValueError for a `--count` below one or above `most`."""
  if count < 1 or (most is not None and count > most):
    at_most = f' and at most {most}' if most is not None else ''
    raise ValueError(f'--count is {count}; it must be at least 1{at_most}')


def save(folder: pathlib.Path, columns: int, **arrays: np.ndarray) -> None:
  """Writes uint8 images [N, H, W, C] by name into `folder`.

  images.npz holds them all, <name>/00000.png and so on each, grid.png the first ones: row by row,
  those of each name in turn.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with files.replacing(folder / 'images.npz') as partial, partial.open('wb') as file:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # not allow_pickle
  for name, images in arrays.items():
    (folder / name).mkdir(exist_ok=True)
    for earlier in (folder / name).glob('*.png'):
      earlier.unlink()
    for i, image in enumerate(images):
      (folder / name / f'{i:05d}.png').write_bytes(pictures.png(image))
  shown = min(len(images), 8 * columns) // columns * columns or len(images)
  rows = [images[i : i + columns] for i in range(0, shown, columns) for images in arrays.values()]
  files.write_bytes(
    folder / 'grid.png', pictures.png(pictures.grid(np.concatenate(rows), min(columns, shown)))
  )

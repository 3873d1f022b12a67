"""Images that a trained model makes: grids, ways through the latent, rasters of spikes, files."""

import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import data, inference
from fsvae_jax.compute import checks
from fsvae_jax.inference import Trained
from fsvae_jax.metrics import neighbours, robustness
from fsvae_jax.metrics.made import Made
from fsvae_jax.models import Model
from fsvae_jax.run import console, files, pictures
from fsvae_jax.run import workdir as workdirs

COLUMNS = 8  # of a grid: as many as can be looked at on a phone
COUNT = 64  # of images that are written


def quantized(images: np.ndarray) -> np.ndarray:
  """uint8 of images in [-1, 1]."""
  return np.asarray(data.quantize(images))


def reconstructions(trained: Trained, images: np.ndarray) -> np.ndarray:
  """uint8 images in rows of `COLUMNS`, each row followed by that of their reconstructions."""
  return in_turns(images, quantized(trained.reconstruct(images)))


def in_turns(*arrays: np.ndarray) -> np.ndarray:
  """Rows of `COLUMNS` images, of each array in turn; an incomplete last row only if it is the only
  one."""
  count = len(arrays[0]) // COLUMNS * COLUMNS or len(arrays[0])
  return np.concatenate([a[i : i + COLUMNS] for i in range(0, count, COLUMNS) for a in arrays])


def grids(made: Made, train_images: data.Images) -> dict[tuple[str, str], bytes]:
  """Pictures for the report, {(name, kind of file): bytes}."""
  trained, images = made.trained, made.test_images[:16]
  columns, drawn = min(COLUMNS, len(images)), {}
  again = quantized(made.reconstructions[: len(images)])
  drawn['reconstructions'] = pictures.grid(in_turns(images, again), columns)
  if trained.model.sample is not None:
    generated = quantized(made.generated[:64])
    drawn['samples'] = pictures.grid(generated, COLUMNS)
    if not train_images.streamed:  # to look for neighbours, all are read
      nearest = with_nearest(generated[:COLUMNS], train_images)
      drawn['nearest'] = pictures.grid(nearest, min(COLUMNS, len(generated)))
    if len(images) > 1:
      drawn['interpolation'] = pictures.grid(interpolations(made), COLUMNS)
  if trained.model.classes:
    drawn['classes'] = pictures.grid(of_classes(trained), COLUMNS)
  encoded = {(name, 'png'): pictures.png(picture) for name, picture in drawn.items()}
  if trained.model.unfold is not None:
    encoded['growth', 'gif'] = pictures.gif([pictures.grid(f, columns) for f in growth(made)])
  return encoded


def with_nearest(images: np.ndarray, train_images: data.Images) -> np.ndarray:
  """uint8 images, followed by the training image nearest to each."""
  rows_N = neighbours.nearest(images, train_images)
  return np.concatenate([images, *(train_images[row : row + 1] for row in rows_N.tolist())])


def growth(made: Made) -> list[np.ndarray]:
  """After each step: uint8 test images, followed by what their latents have become of by then."""
  unfolded_NTHWC = quantized(made.trained.over(_unfold, made.latents[:COLUMNS]))
  images = made.test_images[:COLUMNS]
  return [np.concatenate([images, after]) for after in unfolded_NTHWC.swapaxes(0, 1)]


def _unfold(model: Model, variables: Any, key: jax.Array, latents_B: jax.Array) -> jax.Array:
  del key
  assert model.unfold
  return model.unfold(variables, latents_B)


def of_classes(trained: Trained) -> np.ndarray:
  """uint8 images, a row of `COLUMNS` of each class; of the first sixteen classes at most."""
  labels = np.repeat(np.arange(min(trained.model.classes, 16)), COLUMNS)
  return quantized(trained.generate(len(labels), label=labels))


def interpolations(made: Made) -> np.ndarray:
  """uint8 images from each first of a pair of test images to the second, through the latent."""
  latents, rng = made.latents[:COLUMNS], np.random.default_rng(made.trained.config.seed)
  if made.trained.model.record is None:
    path = lambda a, b: np.stack([a + s * (b - a) for s in np.linspace(0, 1, COLUMNS)])
  else:
    path = lambda a, b: robustness.interpolate(a, b, COLUMNS, rng)
  ways = [path(a, b) for a, b in zip(latents[::2], latents[1::2], strict=False)]
  return quantized(made.trained.decode(np.concatenate(ways)))


def rasters(made: Made) -> dict[str, np.ndarray]:
  """Spikes of the first test image, {layer: [T, neurons]}; {} for a model without spikes."""
  if made.trained.model.record is None:
    return {}
  spikes = made.trained.over(_spikes, made.latents[:1], made.test_images[:1])
  # float32, as Matplotlib draws bfloat16 otherwise where neurons are narrower than pixels
  return {name: np.float32(x_BTF[0]).reshape(len(x_BTF[0]), -1) for name, x_BTF in spikes.items()}


def _spikes(
  model: Model, variables: Any, key: jax.Array, latent: jax.Array, images_BHWC: jax.Array
) -> Any:
  del key
  assert model.record
  return model.record('spikes', variables, latent, data.normalize(images_BHWC))


def write(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  mode: str,
  count: int | None = None,
  step: int | str | None = None,
  seed: int = 0,
  label: int | None = None,
) -> None:
  """Writes `count` generated images, or reconstructed test images, below `workdir`.

  Args:
    mode: 'generate' or 'reconstruct'; also the name of the folder.
    count: number of images; default: `COUNT`, or all test images, if they are fewer.
    step: of the checkpoint; default: the newest.
    seed: of the draws.
    label: class of the generated images; default: none.

  Raises:
    ValueError: for a count below one or above the number of test images, for a model that does not
      generate, and for a label that is none of its classes or is given with reconstructions.
  """
  if label is not None and mode != 'generate':
    raise ValueError(f'--label={label} is of --mode=generate, not of --mode={mode}')
  workdirs.check_writable(workdir, [mode])
  trained = inference.restore(config, workdir, step)
  if mode == 'generate':
    count = checks.count('--count', COUNT if count is None else count, 1)
    arrays = {'generated': quantized(trained.generate(count, seed, label))}
  else:
    test_images = trained.images('test')
    count = min(COUNT, len(test_images)) if count is None else count
    if not 1 <= count <= len(test_images):
      raise ValueError(f'--count is {count}; it must be at least 1 and at most {len(test_images)}')
    images = np.asarray(test_images[:count])
    arrays = {'images': images, 'reconstructions': quantized(trained.reconstruct(images, seed))}
  folder = trained.workdir / mode
  if jax.process_index() == 0:
    save(folder, **arrays)
    console.say(
      f'{count} images of step {trained.step} are in {folder}: grid.png, images.npz, single PNGs'
    )


def save(folder: pathlib.Path, **arrays: np.ndarray) -> None:
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
  rows = in_turns(*(images[: 8 * COLUMNS] for images in arrays.values()))
  grid = pictures.grid(rows, min(COLUMNS, len(images)))
  files.write_bytes(folder / 'grid.png', pictures.png(grid))

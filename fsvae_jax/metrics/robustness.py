"""What a spiking latent withstands: lost, flipped and shuffled spikes, and an early stop.

Perturbations are pure functions of z [N, T, D] in {0, 1} and a generator; each image has its own
draws.
"""

from collections.abc import Callable

import numpy as np

from fsvae_jax import data
from fsvae_jax.inference import Trained
from fsvae_jax.metrics.made import Made
from fsvae_jax.metrics.result import Figure, Metric, Result, fixed


def dropout(z_NTD: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
  """Every spike is lost with probability `rate`."""
  return z_NTD * (rng.random(z_NTD.shape) >= rate)


def flip(z_NTD: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
  """Every entry, spike or none, is turned into the other with probability `rate`."""
  return np.where(rng.random(z_NTD.shape) < rate, 1 - z_NTD, z_NTD)


def shuffle(z_NTD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The steps of every image in random order; all channels of a step stay together."""
  order_NT = rng.permuted(np.tile(np.arange(z_NTD.shape[1]), (len(z_NTD), 1)), axis=1)
  return np.take_along_axis(z_NTD, order_NT[..., None], axis=1)


def interpolate(
  a_TD: np.ndarray, b_TD: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
  """[count, T, D] from a to b: an entry is a's until the share of the way passes its threshold,
  then b's.

  Thresholds are uniform and the same all the way, so that rates change linearly and every entry
  changes once at most.
  """
  threshold_TD = rng.random(a_TD.shape)
  return np.stack([np.where(s > threshold_TD, b_TD, a_TD) for s in np.linspace(0, 1, count)])


DROPOUTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
FLIPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """Reconstruction errors under perturbation: curves, and the most telling points as figures."""
  if trained.model.record is None:
    return fixed(Result({}, missing='robustness is of spikes; this model has none'))
  count = min(trained.config.eval.probe, len(images_of('test')))
  half = max(1, round(trained.config.model.timesteps / 2))
  return Metric(
    lambda made: curves(made, count), lambda per_seed: figures_of(per_seed, count, half)
  )


def figures_of(per_seed: list[dict], count: int, half: int) -> Result:
  """The mean of the `curves` of `count` images, and of their points the most telling."""
  mean = {
    name: [[level, np.mean([s[name][level] for s in per_seed]).item()] for level in levels]
    for name, levels in per_seed[0].items()
  }
  of = f'reconstruction_mse of the first {count} test images'
  figure = lambda name, level, what: Figure([s[name][level] for s in per_seed], f'{of}, {what}')
  figures = {
    'mse_unperturbed': figure('dropout', 0.0, 'nothing changed'),
    'mse_dropout_10': figure('dropout', 0.1, '10 % of the latent spikes lost'),
    'mse_flip_5': figure('flip', 0.05, '5 % of the latent entries flipped'),
    'mse_shuffled': figure('shuffle', 1, 'time steps of the latent in random order'),
    'mse_half_time': figure('steps', half, f'after {half} steps'),
  }
  return Result(figures, {'curves': mean})


def curves(made: Made, count: int) -> dict:
  """{perturbation: {level: reconstruction error}} of the first `count` test images."""
  rng = np.random.default_rng((made.trained.config.seed, made.seed))
  z_NTD = made.latents[:count]
  image_NHWC = data.normalize(made.test_images[:count])

  def error(changed_NTD):
    unchanged = np.array_equal(changed_NTD, z_NTD)
    again = made.reconstructions[:count] if unchanged else made.trained.decode(changed_NTD)
    return float(np.mean((again - image_NHWC) ** 2))

  return {
    'dropout': {p: error(dropout(z_NTD, p, rng)) for p in DROPOUTS},
    'flip': {p: error(flip(z_NTD, p, rng)) for p in FLIPS},
    'shuffle': {1: error(shuffle(z_NTD, rng))},
    'steps': {t: error(z_NTD[:, :t]) for t in early_stops(z_NTD.shape[1])},
  }


def early_stops(timesteps: int) -> list[int]:
  """Numbers of steps after which to look, half and all of them among them: four at most, since for
  each the decoder is compiled."""
  return sorted({max(1, round(timesteps * i / 4)) for i in range(1, 5)})

"""How well test images are reconstructed: squared error, PSNR, SSIM."""

from collections.abc import Callable
from typing import Any

import dm_pix
import numpy as np

from fsvae_jax import data
from fsvae_jax.inference import Trained
from fsvae_jax.metrics.result import Figure, Result

WINDOW = 11  # of SSIM, pixels a side


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Result:
  """`reconstruction_mse`, `psnr`, `ssim` of all test images, one latent sample each."""
  images = images_of('test')[:]
  seeds = range(trained.config.eval.seeds)
  scores_SN3 = [scores(data.normalize(images), trained.reconstruct(images, s)) for s in seeds]
  mse, psnr, ssim = np.mean(scores_SN3, axis=1).T.tolist()
  small = trained.config.model.image_size < WINDOW
  of = f'mean over {len(images)} test images, one sample of the latent each'
  figures = {
    'reconstruction_mse': Figure(mse, f'squared error, images in [-1, 1], {of}'),
    'psnr': Figure(psnr, f'dB, dm_pix.psnr of each image in [0, 1], {of}'),
    'ssim': Figure(ssim, f'dm_pix.ssim of each image in [0, 1], 11x11 Gaussian windows, {of}'),
  }
  if small:
    del figures['ssim']
  return Result(figures, missing='ssim: images are smaller than its windows' if small else '')


def scores(image_NHWC: Any, again_NHWC: Any, rows: int = 500) -> np.ndarray:
  """Squared error, PSNR in dB and SSIM, [N, 3], of images in [-1, 1]."""
  parts = []
  for i in range(0, len(image_NHWC), rows):
    a, b = (np.asarray(x[i : i + rows]) for x in (image_NHWC, again_NHWC))
    unit = (a + 1) / 2, (b + 1) / 2
    mse = np.mean((a - b) ** 2, axis=(1, 2, 3))
    parts.append(np.stack([mse, dm_pix.psnr(*unit), dm_pix.ssim(*unit)], axis=1))
  return np.concatenate(parts)

"""How well test images are reconstructed: squared error, PSNR, SSIM."""

from collections.abc import Callable
from typing import Any

import dm_pix
import numpy as np

from fsvae_jax import data
from fsvae_jax.inference import Trained
from fsvae_jax.metrics.result import Metric, Result, figures

WINDOW = 11  # of SSIM, pixels a side


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """`reconstruction_mse`, `psnr`, `ssim` of all test images, one latent sample each."""
  of = f'mean over {len(images_of("test"))} test images, one sample of the latent each'
  protocols = {
    'reconstruction_mse': f'squared error, images in [-1, 1], {of}',
    'psnr': f'dB, dm_pix.psnr of each image in [0, 1], {of}',
    'ssim': f'dm_pix.ssim of each image in [0, 1], 11x11 Gaussian windows, {of}',
  }
  missing = ''
  if trained.config.model.image_size < WINDOW:
    del protocols['ssim']
    missing = 'ssim: images are smaller than its windows'

  def measure(made):
    mean_3 = scores(made.test_images, made.reconstructions).mean(0)
    return dict(zip(('reconstruction_mse', 'psnr', 'ssim'), mean_3, strict=True))

  return Metric(measure, lambda per_seed: Result(figures(per_seed, protocols), missing=missing))


def scores(image_NHWC: Any, again_NHWC: Any, rows: int = 500) -> np.ndarray:
  """Squared error, PSNR in dB and SSIM, [N, 3], of images, uint8 or in [-1, 1], and others in
  [-1, 1]."""
  parts = []
  for i in range(0, len(image_NHWC), rows):
    a, b = (np.asarray(x[i : i + rows]) for x in (image_NHWC, again_NHWC))
    a = data.normalize(a) if a.dtype == np.uint8 else a
    unit = (a + 1) / 2, (b + 1) / 2
    mse = np.mean((a - b) ** 2, axis=(1, 2, 3))
    parts.append(np.stack([mse, dm_pix.psnr(*unit), dm_pix.ssim(*unit)], axis=1))
  return np.concatenate(parts)

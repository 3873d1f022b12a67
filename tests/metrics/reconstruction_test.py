"""Scores of reconstructions on cases with a known answer."""

import numpy as np
import pytest

from fsvae_jax.metrics import reconstruction

pytestmark = pytest.mark.usefixtures('quick_compilation')

IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, 32, 32, 1)).astype(np.float32)


def test_equal_images_are_perfect():
  mse, _, ssim = reconstruction.scores(IMAGES, IMAGES).T
  np.testing.assert_array_equal(mse, 0)
  np.testing.assert_allclose(ssim, 1, rtol=1e-5)


def test_a_known_error_gives_its_psnr():
  mse, psnr, _ = reconstruction.scores(IMAGES, IMAGES + 0.2).T
  np.testing.assert_allclose(mse, 0.04, rtol=1e-4)
  np.testing.assert_allclose(psnr, -20 * np.log10(0.1), rtol=1e-4)  # 0.1 of the range [0, 1]


def test_a_constant_image_is_worse_than_a_noisy_one_in_all_three():
  noise = np.random.default_rng(1).normal(size=IMAGES.shape).astype(np.float32)
  noisy = reconstruction.scores(IMAGES, IMAGES + 0.1 * noise, rows=4).mean(0)
  constant = reconstruction.scores(IMAGES, np.zeros_like(IMAGES), rows=4).mean(0)
  assert noisy[0] < constant[0] and noisy[1] > constant[1] and noisy[2] > 0.9 > 0.1 > constant[2]

"""What a trained model makes of one seed, each once: what metrics and pictures share."""

import functools

import numpy as np

from fsvae_jax.inference import Trained


class Made:
  """Latents, reconstructions and generated images of a seed, made when first asked for.

  Their memory is given back with this object: several seeds' images may be more than there is.

  Attributes:
    trained, seed: who makes them, with whose draws.
    test_images: uint8 [N, H, W, C].
  """

  def __init__(self, trained: Trained, test_images: np.ndarray, count: int, seed: int) -> None:
    self.trained, self.seed, self.test_images, self._count = trained, seed, test_images, count

  @functools.cached_property
  def latents(self) -> np.ndarray:
    """Latents [N, ...] of the test images."""
    return self.trained.encode(self.test_images, self.seed)

  @functools.cached_property
  def reconstructions(self) -> np.ndarray:
    """The test images [N, H, W, C] again, in [-1, 1]."""
    return self.trained.decode(self.latents)

  @functools.cached_property
  def samples(self) -> np.ndarray:
    """`count` latents of the prior."""
    return self.trained.sample(self._count, self.seed)

  @functools.cached_property
  def generated(self) -> np.ndarray:
    """Their images [count, H, W, C] in [-1, 1]."""
    return self.trained.decode(self.samples)

"""FSVAE: the Fully Spiking Variational Autoencoder (arXiv 2110.00375) in JAX.

import fsvae_jax

model = fsvae_jax.load('digits')
images = model.generate(64)  # [64, 16, 16, 1] in [-1, 1]
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
  import os

  from fsvae_jax.inference import Trained

__version__ = '0.2.0.dev0'


def load(name: str | os.PathLike) -> Trained:
  """A trained model: weights that ship with the package, or a folder of `--mode=export`.

  Args:
    name: of the weights, or the folder.

  Returns:
    A record with `generate(count)`, `reconstruct(images)`, `encode`, `decode`, and with `model`,
    `variables`, `config`.

  Raises:
    FileNotFoundError: naming the weights that ship, if there are no such.
    ValueError: for files that are damaged, foreign, too new, or do not fit each other.
  """
  from fsvae_jax.exchange import weights  # JAX and the rest only for those who load

  return weights.load(name)

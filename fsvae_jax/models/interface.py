"""What training and evaluation know of a model: six pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from fsvae_jax.models.inputs import Variables


class Model(NamedTuple):
  """Pure functions over `variables` = {'params': ..., 'batch_stats': ...}.

  A latent is an array whose first axis is the batch: spikes z [B, T, D] of a spiking model, a code
  [B, D] of a conventional one. Arrays are taken in the type of the parameters; what does not fit
  is a ValueError that names it.

  Attributes:
    init: key -> variables.
    loss: (variables, image_BHWC, key, schedule, train, part) -> (loss, (batch_stats, metrics));
      images in [-1, 1], `schedule` in [0, 1] is the share of the training that is over, metrics are
      scalars. `part` = (i, count): the images are part i of `count` equal ones of a batch, and get
      what `key` draws for it there (see layout.take_part).
    encode: (variables, image_BHWC, key) -> latent.
    decode: (variables, latent) -> image_BHWC.
    sample: (variables, key, count) -> latent; None for a model that does not generate.
    record: (what, variables, latent, image_BHWC=None) -> {'network/layer': array} of all networks,
      given the image that the latent encodes, or of those that generate. what = 'rates': spikes per
      step of every neuron, a mean over the batch, [...]; what = 'spikes': the spikes themselves,
      [B, T, ...]. None for a model without spikes.
  """

  init: Callable
  loss: Callable
  encode: Callable
  decode: Callable
  sample: Callable | None = None
  record: Callable | None = None

  def reconstruct(self, variables: Variables, image_BHWC: jax.Array, key: jax.Array) -> jax.Array:
    """Images [B, H, W, C] decoded from one latent each."""
    return self.decode(variables, self.encode(variables, image_BHWC, key))

  def generate(self, variables: Variables, key: jax.Array, count: int) -> jax.Array:
    """`count` images [count, H, W, C] decoded from samples of the prior.

    Raises:
      ValueError: for a model without a prior.
    """
    if self.sample is None:
      raise ValueError('this model has no prior: it encodes and decodes, but generates no images')
    return self.decode(variables, self.sample(variables, key, count))

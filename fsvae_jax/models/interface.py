"""What training and evaluation know of a model, and a model of its latent: pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from fsvae_jax.models import inputs
from fsvae_jax.models.inputs import Variables


class Model(NamedTuple):
  """Pure functions over `variables` = {'params': ..., 'batch_stats': ...}.

  A latent is an array whose first axis is the batch: spikes z [B, T, D] of a spiking model, a code
  [B, D] of a conventional one. Arrays are taken in the type of the parameters; what does not fit
  is a ValueError that names it. A model with `classes` takes a `label` where it stands below, one
  for all images or [B] integers; none, or one below zero, is no label.

  Attributes:
    init: key -> variables.
    draw: (key, count, train=True) -> draws: all that is random in the loss of `count` images, or in
      one latent of each if it is not to train, as a pytree of arrays [count, ...], of which a part
      goes with a part of the images.
    loss: (variables, batch, draws, schedule=0, train=True) -> (loss, (batch_stats, metrics));
      `train` may name the networks that learn, and where that is the prior alone, metrics have no
      'reconstruction'; the batch is {'image': [B, H, W, C] in [-1, 1], 'label': [B] integers, if
      the data have them}, `schedule` in [0, 1] is the share of the training that is over, metrics
      are scalars. With count=True, of a model with spikes, also 'accumulates' and
      'multiply_accumulates' of an image's reconstruction, as `operations` counts them, with their
      gradient.
    encode: (variables, image_BHWC, key[, label]) -> latent; of spikes, without a gradient: `loss`
      has it.
    decode: (variables, latent[, label]) -> image_BHWC.
    sample: (variables, key, count[, label]) -> latent; None for a model that does not generate.
    posterior, prior: (variables, image_BHWC, draws[, label]) -> latent and
      (variables, draws[, label]) -> latent: `encode` and `sample` with draws that are given.
    operations: (variables, latent, image_BHWC=None) -> {'network/layer': records.Operations} of
      the layers through which an image is reconstructed, or, without an image, generated.
    record: (what, variables, latent, image_BHWC=None) -> {'network/layer': array} of the neurons on
      the same ways. what = 'rates': spikes per step of every neuron, a mean over the batch, [...];
      what = 'spikes': the spikes themselves, [B, T, ...]. None for a model without spikes.
    unfold: (variables, latent) -> images [B, T, H, W, C] as they stand after each step, the last
      being what `decode` gives; None for a model without time, or whose read-out needs all steps.
    classes: how many classes labels tell apart; 0 for a model that takes none.
    fit: (latents of all training images, their [N] labels or None) -> {network: running statistics}
      that are set when training ends; None of a model that has none.
  """

  init: Callable
  draw: Callable
  loss: Callable
  encode: Callable
  decode: Callable
  operations: Callable
  posterior: Callable
  sample: Callable | None = None
  prior: Callable | None = None
  record: Callable | None = None
  unfold: Callable | None = None
  classes: int = 0
  fit: Callable | None = None

  def reconstruct(
    self, variables: Variables, image_BHWC: jax.Array, key: jax.Array, label: Any = None
  ) -> jax.Array:
    """Images [B, H, W, C] decoded from one latent each."""
    told = self._told(label)
    return self.decode(variables, self.encode(variables, image_BHWC, key, *told), *told)

  def generate(
    self, variables: Variables, key: jax.Array, count: int, label: Any = None
  ) -> jax.Array:
    """`count` images [count, H, W, C] decoded from samples of the prior.

    Args:
      label: the images' class, an integer or [count] of them; default: none.

    Raises:
      ValueError: for a model without a prior, or a label and a model without classes.
    """
    if self.sample is None:
      raise ValueError('this model has no prior: it encodes and decodes, but generates no images')
    told = self._told(label)
    return self.decode(variables, self.sample(variables, key, count, *told), *told)

  def _told(self, label):
    if label is None:
      return ()  # a model without classes knows no labels
    inputs.check_label(self.classes, label)
    return (label,)


class Latent(NamedTuple):
  """How z [B, T, D] comes about between encoder and decoder; a row of `latents.LATENTS`.

  `run` is a `passes.Pass` over the model's networks, `x_BTD` the encoder's spikes.

  Attributes:
    networks: {name: Linen module} beside encoder and decoder; may be empty.
    shapes: {name: shape [1, ...] of an input} of the same.
    draw: (key, count, train=False) -> draws, a pytree of arrays [count, ...]: what is random in one
      z, and, to `train`, in its distance from the prior.
    encode: (run, x_BTD, draws) -> z_BTD of the posterior, without gradient.
    sample: (run, draws) -> z_BTD of the prior, without gradient.
    infer: (run, x_BTD, draws, schedule) -> z_BTD with its gradient, and terms {name: array}.
    distance: terms -> scalar between posterior and prior.
    weight: of the distance in the loss.
    replay: (run, z_BTD, x_BTD=None): runs the networks that make this z of x, or, without x, in the
      prior; for what `run` records.
    fit: (z_NTD of all training images, label_N or None) -> {network: running statistics} that are
      set when training ends; None of a latent that has none.
  """

  networks: Mapping[str, nn.Module]
  shapes: Mapping[str, tuple[int, ...]]
  draw: Callable
  encode: Callable
  sample: Callable
  infer: Callable
  distance: Callable
  weight: float
  replay: Callable
  fit: Callable | None = None

"""What a training says of its model on the way, of images that it does not learn from: the loss and
its parts, firing rates, pictures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsvae_jax import data, samples, training_step
from fsvae_jax.inference import Trained
from fsvae_jax.models import Model
from fsvae_jax.run import writer


def losses(
  model: Model,
  variables: Any,
  key: jax.Array,
  images_BHWC: jax.Array,
  label_B: Any = None,
  **options,
) -> dict:
  """The loss and its parts, {name: scalar}, of a batch of test images and their labels, if any, of
  which as many are told as in training."""
  batch = {'image': data.normalize(images_BHWC), 'label': label_B}
  return model.loss(variables, batch, model.draw(key, len(images_BHWC)), train=False, **options)[1][
    1
  ]


def losses_and_operations(model: Model, variables: Any, key: jax.Array, *batch: jax.Array) -> dict:
  """`losses`, with what a reconstruction takes."""
  return losses(model, variables, key, *batch, count=True)


def firing(model: Model, variables: Any, key: jax.Array, images_BHWC: jax.Array) -> dict:
  """Firing rates, {layer: scalar}, on both ways of an image, the prior's as it reads z of the
  posterior; {} of a model without spikes."""
  if model.record is None:
    return {}
  image_BHWC = data.normalize(images_BHWC)
  latent = model.encode(variables, image_BHWC, key)
  records = model.record('rates', variables, latent)
  records = {**records, **model.record('rates', variables, latent, image_BHWC)}
  return {layer: jnp.mean(rates) for layer, rates in records.items()}


def test_scalars(trained: Trained, images: Any, key: jax.Array) -> dict[str, float]:
  """Means of the loss and its parts over `images`, with the draws of `key`.

  What a loss takes of a batch as a whole (the rate latent's distance, model.variance=error) is the
  mean over the batches.
  """
  labels = getattr(images, 'labels', None)
  arrays = (images,) if labels is None else (images, labels)
  if not trained.config.train.get('energy_weight'):
    means = trained.means(losses, *arrays, key=key)
  else:
    means = trained.means(losses_and_operations, *arrays, key=key)
    _, means = training_step.with_energy(trained.config, means['loss'], means)
  return {name: float(x) for name, x in means.items()}


def test(trained: Trained, images: Any, key: jax.Array, out: writer.Writer) -> dict[str, float]:
  """Scalars of a test, {'test/loss': ..., 'firing/layer': ...}; writes its pictures."""
  shown = np.asarray(images[:16])
  pictures = {'reconstructions': (samples.reconstructions(trained, shown), min(8, len(shown)))}
  if trained.model.sample:
    pictures['samples'] = samples.quantized(trained.generate(trained.config.test.samples)), 8
  if trained.model.classes:
    pictures['classes'] = samples.of_classes(trained), 8
  for name, (pixels, columns) in pictures.items():
    out.picture(trained.step, name, pixels, columns)
  rates = trained.means(firing, images[: trained.batch_size], key=key)
  scalars = named('test', test_scalars(trained, images, key))
  return scalars | named('firing', {layer: float(rate) for layer, rate in rates.items()})


def named(prefix: str, scalars: dict[str, float]) -> dict[str, float]:
  """{'prefix/name': value}."""
  return {f'{prefix}/{name}': value for name, value in scalars.items()}

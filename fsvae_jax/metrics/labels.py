"""Of which class generated images are, in the eyes of a classifier of the data set's own images.

The classifier is a support vector machine on the pixels' principal components, fitted anew for each
evaluation, always to the same images.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fsvae_jax import data
from fsvae_jax.inference import Trained
from fsvae_jax.metrics.result import Figure, Metric, Result, figures, fixed

FITTED = 20_000  # training images at most; its time grows with their square
COMPONENTS = 50
CLASSES = 200  # at most; its time grows with their square
ROWS = 2000  # that it is asked about at once


def evaluate(trained: Trained, images_of: Callable[[str], data.Images]) -> Metric:
  """`label_accuracy` of samples given labels, `label_entropy` of samples without, and
  `classifier_accuracy`, on test images."""
  train, test = images_of('train'), images_of('test')
  if reason := missing(trained, train, test):
    return fixed(Result({}, missing=f'labels: {reason}'))
  count, classifier = trained.config.eval.probe, fitted(train)
  unasked = min(count, trained.config.eval.images)
  judged = lambda images: classifier.predict(pixels(data.quantize(images)))
  known, by = len(classifier.classes_), f'a classifier fitted to {min(len(train), FITTED)} images'
  protocols = {
    'label_entropy': f'bits, of at most {np.log2(known):.3g}: classes of {unasked} samples without '
    f'a label, by {by}',
    'label_accuracy': f'share of {count} samples, as many of each class, that are of the class '
    f'asked for, by {by}',
  }
  parts = np.array_split(np.arange(len(test)), -(-len(test) // ROWS))  # floats of all are many
  found_N = np.concatenate([classifier.predict(pixels(test[rows])) for rows in parts])
  right = np.mean(found_N == test.labels)
  own = {'classifier_accuracy': Figure([right], f'{len(test)} images, {by}')}

  def measure(made):
    values = {'label_entropy': entropy(judged(made.generated[:unasked]))}
    if trained.model.classes:
      asked_N = classifier.classes_[np.arange(count) % known]
      given_N = judged(trained.generate(count, made.seed, asked_N))
      values['label_accuracy'] = np.mean(given_N == asked_N)
    return values

  return Metric(measure, lambda per_seed: Result(figures(per_seed, protocols) | own))


def missing(trained: Trained, train: data.Images, test: data.Images) -> str:
  """Why these figures cannot be had; '' if they can."""
  if trained.model.sample is None:
    return 'this model does not generate'
  if train.labels is None or test.labels is None:
    return 'the images have none'
  known = len(np.unique(train.labels))
  if known > CLASSES:
    return f'{known} classes are too many for the classifier, which tells {CLASSES} apart'
  return '' if known > 1 else 'all training images have the same'


def fitted(train: data.Images) -> Any:
  """The classifier; training images are taken evenly."""
  from sklearn import decomposition, pipeline, svm

  assert train.labels is not None
  rows = np.linspace(0, len(train) - 1, min(len(train), FITTED)).astype(int)
  x_NF, label_N = pixels(train[rows]), train.labels[rows]
  components = min(COMPONENTS, *x_NF.shape)
  reduced = decomposition.PCA(components, random_state=0)
  return pipeline.make_pipeline(reduced, svm.SVC(C=5.0)).fit(x_NF, label_N)


def pixels(images: Any) -> np.ndarray:
  """uint8 images as rows [N, pixels] in [-1, 1]."""
  return data.normalize(np.asarray(images)).reshape(len(images), -1)


def entropy(class_N: np.ndarray) -> float:
  """Bits of the classes' shares."""
  share_C = np.unique(class_N, return_counts=True)[1] / len(class_N)
  return abs(float(np.sum(share_C * np.log2(share_C))))  # and not -0.0, of a single class

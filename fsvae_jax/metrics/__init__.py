"""Metrics by name, as `config.eval.metrics` names them: (Trained, split -> images) -> Metric."""

from fsvae_jax.metrics import fad, inception, labels, reconstruction, robustness, spikes

METRICS = {
  'reconstruction': reconstruction.evaluate,
  'fad': fad.evaluate,
  'labels': labels.evaluate,
  'inception': inception.evaluate,
  'spikes': spikes.evaluate,
  'robustness': robustness.evaluate,
}

# How many generated images a metric needs; others look at no more of them than at test images.
LEAST_IMAGES = {'fad': fad.LEAST, 'inception': inception.SPLITS}

# Metrics of all test images; to others, the first `eval.probe` are enough.
OF_ALL_TEST_IMAGES = ('reconstruction', 'fad')

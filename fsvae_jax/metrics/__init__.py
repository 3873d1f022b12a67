"""Metrics by name, as `config.eval.metrics` names them: (Trained, split -> images) -> Result."""

from fsvae_jax.metrics import fad, inception, labels, reconstruction, robustness, spikes

METRICS = {
  'reconstruction': reconstruction.evaluate,
  'fad': fad.evaluate,
  'labels': labels.evaluate,
  'inception': inception.evaluate,
  'spikes': spikes.evaluate,
  'robustness': robustness.evaluate,
}

# How many generated images a metric needs; others need one.
LEAST_IMAGES = {'fad': 2, 'inception': inception.SPLITS}

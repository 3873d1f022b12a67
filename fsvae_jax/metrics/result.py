"""What a metric gives back: figures with their spread over seeds and their protocol."""

from typing import NamedTuple

import numpy as np


class Figure(NamedTuple):
  """A number of a model: one value for each sampling seed, and how it was taken."""

  values: list
  protocol: str

  def summary(self) -> dict:
    """{'mean', 'std', 'seeds', 'protocol'}; the standard deviation of one value is None."""
    std = float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None
    return {
      'mean': float(np.mean(self.values)),
      'std': std,
      'seeds': len(self.values),
      'protocol': self.protocol,
    }


class Result(NamedTuple):
  """Of one metric: {name: Figure}, tables and curves for the report, and what was left out."""

  figures: dict
  details: dict = {}
  missing: str = ''

"""What a metric is: what it measures of each seed, and the figures that come of that."""

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Metric(NamedTuple):
  """A metric of one trained model, ready to be taken.

  Attributes:
    measure: `made.Made` of a seed -> what is kept of it, a small pytree.
    result: [what was kept, one a seed] -> Result.
  """

  measure: Callable[[Any], Any]
  result: Callable[[list], Result]


def fixed(result: Result) -> Metric:
  """The metric whose result is known without a draw."""
  return Metric(lambda made: None, lambda per_seed: result)


def figures(per_seed: list[dict[str, float]], protocols: dict[str, str]) -> dict[str, Figure]:
  """{name: Figure}, in the order of `protocols`, of [{name: value}, one a seed]; values
  that have no protocol are left out."""
  return {
    name: Figure([float(values[name]) for values in per_seed], protocol)
    for name, protocol in protocols.items()
    if name in per_seed[0]
  }

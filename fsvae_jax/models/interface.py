"""What training and evaluation know of a model: five pure functions."""

from collections.abc import Callable
from typing import NamedTuple


class Model(NamedTuple):
  """Pure functions over `variables` = {'params': ..., 'batch_stats': ...}.

  Attributes:
    init: key -> variables.
    loss: (variables, image_BHWC, key, schedule, train) -> (loss, (batch_stats, metrics)); images in
      [-1, 1], `schedule` in [0, 1] is the share of the training that is over, metrics are scalars.
    reconstruct: (variables, image_BHWC, key) -> image_BHWC.
    generate: (variables, key, count) -> image_BHWC.
    firing_rates: (variables, image_BHWC, key) -> {layer: rate}, spikes per neuron and step.
  """

  init: Callable
  loss: Callable
  reconstruct: Callable
  generate: Callable
  firing_rates: Callable

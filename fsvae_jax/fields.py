"""What each field of a configuration may be, and whether a run that goes on may change it.

Names that stand for functions (model.surrogate, train.schedule, ...) are checked where the tables
of those functions are.
"""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
  """A field.

  Attributes:
    holds: whether a value is allowed.
    range: the allowed values in words, after "it must be".
    may_change: whether a run may go on with another value.
  """

  holds: Callable[[Any], bool]
  range: str
  may_change: bool = False


def integer(least: int, most: float = math.inf, **kwargs: Any) -> Field:
  """An integer of at least `least`, and at most `most`."""
  words = f'at least {least}' if most == math.inf else f'from {least} to {most}'
  return Field(lambda x: _is_integer(x) and least <= x <= most, f'an integer, {words}', **kwargs)


def number(
  least: float = -math.inf, below: float = math.inf, above: float = -math.inf, **kwargs: Any
) -> Field:
  """A finite number: `above` < x, `least` <= x, x < `below`."""
  bounds = [f'at least {least:g}'] * (least > -math.inf)
  bounds += [f'above {above:g}'] * (above > -math.inf) + [f'below {below:g}'] * (below < math.inf)
  holds = lambda x: _is_finite(x) and above < x < below and least <= x
  return Field(holds, ', '.join(['a finite number', *bounds]), **kwargs)


def text(**kwargs: Any) -> Field:
  """Any text."""
  return Field(lambda x: isinstance(x, str), 'text', **kwargs)


def truth(**kwargs: Any) -> Field:
  """True or False."""
  return Field(lambda x: isinstance(x, bool), 'True or False', **kwargs)


def _is_integer(x):
  return isinstance(x, numbers.Integral) and not isinstance(x, bool)


def _is_finite(x):
  return isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x)


def _are(x, holds):
  return isinstance(x, list | tuple) and all(holds(item) for item in x)


def check(section: str, values: Mapping[str, Any]) -> None:
  """Checks the values of one section of a configuration; those that have no row are let pass.

  Args:
    section: 'model', 'data', 'train', 'test', 'eval', or '' for the fields above the sections.
    values: {field: value}.

  Raises:
    ValueError: naming every value that is not allowed, and what is.
  """
  names = {f'{section}.{field}' if section else field: value for field, value in values.items()}
  faults = [
    f'{name} is {value}; it must be {FIELDS[name].range}'
    for name, value in names.items()
    if name in FIELDS and not FIELDS[name].holds(value)
  ]
  if faults:
    raise ValueError('\n'.join(faults))


def check_all(config: Mapping[str, Any]) -> None:
  """`check` of all sections of a run's configuration, in one error."""
  check('', flatten(config))


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
  """{'section.field' | 'field': value} of a configuration."""
  flat: dict[str, Any] = {}
  for name, value in config.items():
    if hasattr(value, 'items'):
      flat |= {f'{name}.{field}': x for field, x in value.items()}
    else:
      flat[name] = value
  return flat


def may_change(name: str) -> bool:
  """Whether a run may go on with another value of the field 'section.field'."""
  return name in FIELDS and FIELDS[name].may_change


def idle(name: str, values: Mapping[str, Any]) -> bool:
  """Whether the field has no effect, given `values` {name: value} of all fields."""
  if name not in NEEDS:
    return False
  other, holds, _ = NEEDS[name]
  return other in values and not holds(values[other])  # which models of one's own may lack


WIDTHS = Field(
  lambda x: _are(x, lambda width: _is_integer(width) and width >= 1) and len(x) > 0,
  'one width of at least 1 for each convolution',
)
RATES = Field(
  lambda x: _are(x, lambda rate: _is_finite(rate) and 0 <= rate <= 1) and len(x) == 2,
  'two rates from 0 to 1',
)
# tdBN scales what reaches a neuron by its threshold.
NOT_ZERO = Field(lambda x: _is_finite(x) and x != 0, 'a finite number other than 0')
NAMES_OF_CONSTANTS = Field(
  lambda x: _are(x, lambda name: name in ('tau', 'v_th')) and len(set(x)) == len(x),
  "some of 'tau', 'v_th', each once",
)
NAMES = Field(lambda x: _are(x, lambda name: isinstance(name, str)), 'names', may_change=True)

FIELDS = {
  'seed': integer(0, 2**31 - 1),
  'data.name': text(),
  'data.path': text(may_change=True),  # to the same images elsewhere
  'data.tfds_dir': text(may_change=True),
  'data.cache_dir': Field(lambda x: isinstance(x, str) and x != '', 'a folder', may_change=True),
  'data.decoded_gb': number(0, may_change=True),
  'data.validation': integer(0),
  'data.crop': integer(0),
  'data.flip': truth(),
  'model.name': text(),
  'model.image_size': integer(1),
  'model.channels': Field(lambda x: _is_integer(x) and x in (1, 3), '1 (grey) or 3 (colour)'),
  'model.features': WIDTHS,
  'model.timesteps': integer(1),
  'model.latent_dim': integer(1),
  'model.draws': integer(1),
  'model.tau': number(0),
  'model.v_th': NOT_ZERO,
  'model.surrogate': text(),
  'model.surrogate_width': number(above=0),
  'model.learned': NAMES_OF_CONSTANTS,
  'model.latent': text(),
  'model.components': integer(1),
  'model.pick_gradient': text(),
  'model.readout': text(),
  'model.scheduled_sampling': RATES,
  'model.distance': text(),
  'model.distance_weight': number(),
  'model.variance': text(),
  'model.classes': integer(0),
  'model.dtype': text(),
  'model.remat': truth(may_change=True),
  'model.kl_weight': number(0),
  'train.batch_size': integer(1),
  'train.micro_batches': integer(1, may_change=True),
  'train.epochs': integer(1, may_change=True),
  'train.steps': integer(0, 2**31 - 1, may_change=True),
  'train.start': text(),
  'train.only': Field(lambda x: _are(x, lambda name: isinstance(name, str)), 'names of networks'),
  'train.optimizer': text(),
  'train.learning_rate': number(above=0, may_change=True),
  'train.schedule': text(),
  'train.warmup_steps': integer(0, 2**31 - 1),
  'train.weight_decay': number(0, may_change=True),
  'train.clip_norm': number(0, may_change=True),
  'train.ema_decay': number(0, below=1),
  'train.energy_weight': number(0, may_change=True),
  'train.energy_target': number(0, may_change=True),
  'train.log_every': integer(0, may_change=True),
  'train.test_every': integer(0, may_change=True),
  'train.checkpoint_every': integer(0, may_change=True),
  'train.keep': integer(1, may_change=True),
  'test.batch_size': integer(1, may_change=True),
  'test.images': integer(0, may_change=True),
  'test.samples': integer(1, may_change=True),
  'eval.metrics': NAMES,
  'eval.seeds': integer(1, may_change=True),
  'eval.images': integer(1, may_change=True),
  'eval.probe': integer(1, may_change=True),
  'eval.fad_epochs': integer(1, may_change=True),
  'eval.fad_reference': text(may_change=True),
  'eval.inception': text(may_change=True),
  'eval.compare': text(may_change=True),
  'eval.ac_pj': number(0, may_change=True),
  'eval.mac_pj': number(0, may_change=True),
}

# Fields that have an effect only where another one's value holds, and a value that does.
_PICKS = ('model.latent', lambda latent: latent != 'rate', 'bernoulli')
NEEDS = {
  'model.components': ('model.latent', lambda x: x not in ('bernoulli', 'rate'), 'mixture'),
  'model.draws': _PICKS,
  'model.pick_gradient': _PICKS,
  'model.scheduled_sampling': _PICKS,
  'train.epochs': ('train.steps', lambda steps: steps == 0, '0'),
  'train.energy_target': ('train.energy_weight', lambda weight: weight > 0, 'WEIGHT'),
}

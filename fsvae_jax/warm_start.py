"""A run that begins with the arrays of another one: fewer timesteps before many, an ANN twin's
convolutions before spikes, all networks before one of them."""

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from fsvae_jax import configuration, inference
from fsvae_jax.run import files


def begin(config: ConfigDict, like: Any) -> dict[str, Any]:
  """The arrays `fitting` of the run in `train.start`: of its newest step, those that tests use.

  Not those of a network without parameters, which is fitted to its own run's latents.

  Raises:
    ValueError, FileNotFoundError: if there is no run, nothing to restore, or nothing fits; or if
      networks that `train.only` leaves as they are would not compute what they do there.
  """
  folder = files.expand(config.train.start, 'train.start')
  theirs = configuration.of_run(folder)
  if theirs is None:
    raise FileNotFoundError(f'train.start is {folder}, which has no config.json, so no run')
  trained = {
    part: {name: own for name, own in networks.items() if like['params'][name]}
    for part, networks in like.items()
  }
  variables = jax.device_get(inference.restore(theirs, folder).variables)
  found = fitting(variables, trained)
  if 'v_th' in config.model and 'v_th' not in theirs.model:
    found = in_thresholds(found, config.model.v_th)
  if not found:
    raise ValueError(f'train.start is {folder}: no array there has a name and shape of this model')
  if frozen := networks_that_stay(config, trained):
    constants = ('tau', 'v_th', 'learned') + ('readout',) * ('decoder' in frozen)
    fields = [f'model.{f}' for f in constants if config.model.get(f) != theirs.model.get(f)]
    left = {name for name, _ in (*_named(variables), *_named(trained))} - found.keys()
    arrays = sorted(name for name in left if name.split('/')[1] in frozen)
    if different := fields or arrays:
      raise ValueError(
        f'train.start is {folder}, but {", ".join(frozen)}, which train.only leaves as they are, '
        f'would not be as there, as {", ".join(different)} differ: take them as there, or let '
        'these networks learn'
      )
  return found


def networks_that_stay(config: ConfigDict, variables: Any) -> list[str]:
  """The networks that `train.only` leaves as they are."""
  only = config.train.get('only', ())
  return [name for name, own in variables['params'].items() if only and own and name not in only]


def fitting(theirs: Any, like: Any) -> dict[str, Any]:
  """{name: array} of `theirs` that `like` has with the same name and shape.

  Examples:
    >>> import numpy as np
    >>> like = {'a': np.zeros(2), 'b': np.zeros(3)}
    >>> list(fitting({'a': np.ones(2), 'b': np.ones(4), 'c': np.ones(1)}, like))
    ['a']
  """
  shapes = {name: x.shape for name, x in _named(like)}
  return {name: x for name, x in _named(theirs) if shapes.get(name) == x.shape}


def in_thresholds(found: Mapping[str, Any], v_th: float) -> dict[str, Any]:
  """The offsets of an ANN's normalisation as those of tdBN: what is 1 there is a threshold here.

      v_th (scale x^ + bias) = scale (v_th x^) + v_th bias,    x^ the normalised input

  Examples:
    >>> in_thresholds({'conv_0/norm/scale': 1.5, 'conv_0/norm/bias': 1.5}, v_th=0.5)
    {'conv_0/norm/scale': 1.5, 'conv_0/norm/bias': 0.75}
  """
  return {name: v_th * x if name.endswith('norm/bias') else x for name, x in found.items()}


def put(variables: Any, found: Mapping[str, Any]) -> Any:
  """`variables` with what was found in their places."""
  return jax.tree.map_with_path(lambda path, x: found.get(_name(path), x), variables)


def missing(variables: Any, found: Mapping[str, Any]) -> list[str]:
  """What was not found: 'network/layer', or of layers found in part 'network/layer/...'."""
  short = lambda name: name.split('/')[1:]  # without the kind of variable
  layer = lambda name: '/'.join(short(name)[:2])
  begun = {layer(name) for name in found}
  left = [name for name, _ in _named(variables) if name not in found]
  return sorted({'/'.join(short(name)) if layer(name) in begun else layer(name) for name in left})


def _named(tree):
  return [(_name(path), x) for path, x in jax.tree.leaves_with_path(tree)]


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')

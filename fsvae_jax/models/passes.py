"""Running the networks of a model, which are Linen modules by name, with their variables.

On running statistics every image is by itself: a network that has `at_a_time` takes so many.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax.compute import checks, chunks, layout
from fsvae_jax.models import inputs
from fsvae_jax.models.inputs import Variables

Modules = Mapping[str, nn.Module]


def init(networks: Modules, shapes: Mapping[str, tuple[int, ...]], key: jax.Array) -> Variables:
  """Parameters and running statistics, {'params' | 'batch_stats': {network: ...}}.

  Args:
    shapes: {network: shape [1, ...] of an input}.
  """
  told = tuple((name, network, shapes[name]) for name, network in networks.items())
  try:
    hash(told)
  except TypeError:  # a module with a list among its fields is compiled at every call
    return jax.jit(functools.partial(_begin, told))(key)
  return _init(told, key)


def _begin(networks, key):
  made = {
    name: network.init(jax.random.fold_in(key, i), jnp.zeros(shape, jnp.float32))
    for i, (name, network, shape) in enumerate(networks)
  }
  return {part: {n: made[n].get(part, {}) for n in made} for part in ('params', 'batch_stats')}


_init = jax.jit(_begin, static_argnums=0)  # operation by operation it takes twice as long


class Pass:
  """One pass of a batch: `run(name, *inputs)` is what the network of that name makes of them.

  Attributes:
    networks, variables: what runs, and with what.
    label_BN: what all networks but the encoder are told of an image's class: a line that fires at
      every step, beside their other inputs; no line for an image without a label.
    train: names of the networks that normalise by the batch's statistics and move the running ones;
      True stands for all, and one name for itself.
    batch_stats: {network: running statistics} of those that have run.
    records: {'network/layer': value} of the variable collection `record`, if one is named.
  """

  def __init__(
    self,
    networks: Modules,
    variables: Variables,
    label_BN: jax.Array | None = None,
    *,
    train: bool | Collection[str] = False,
    remat: bool = False,
    record: str = '',
  ) -> None:
    self.networks, self.variables, self.label_BN = networks, variables, label_BN
    named = networks if train is True else [train] if isinstance(train, str) else train or ()
    for name in named:
      checks.one_of('train', name, networks)
    self.train = frozenset(named)
    self._remat, self._record = remat, record
    self.batch_stats: dict[str, Any] = {}
    self.records: OrderedDict[str, Any] = OrderedDict()  # whose order jit keeps

  def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
    own, network = inputs.own(self.variables, name), self.networks[name]
    train = name in self.train
    apply: Callable = functools.partial(network.apply, **kwargs) if kwargs else network.apply
    if self.label_BN is not None and name != 'encoder':
      args = beside(self.label_BN, args[0]), *args[1:]
    with inputs.others_refused():
      self.batch_stats[name] = own['batch_stats']
      if kept := [self._record] * bool(self._record) + ['batch_stats'] * train:
        apply = functools.partial(apply, train=train, mutable=kept)
        output, left = (jax.checkpoint(apply) if self._remat else apply)(own, *args)
        self.batch_stats[name] = left.get('batch_stats', own['batch_stats'])
        for layer, record in left.get(self._record, {}).items():
          self.records[f'{name}/{layer}'] = record['of']
        return output
      if at_a_time := getattr(network, 'at_a_time', None):
        return chunks.in_chunks(apply, own, args[0], at_a_time)
      return apply(own, *args)

  def step(self, name: str) -> Callable:
    """The network as a function of one step, on running statistics and without gradient.

    Returns:
      (input_BI, residues) -> (spikes_BDK, residues); residues None before the first step.
    """
    run = Pass(self.networks, jax.lax.stop_gradient(self.variables), self.label_BN)

    def step(input_BI, residues):
      spikes_BTDK, residues = run(name, input_BI[:, None], residues=residues)
      return spikes_BTDK[:, 0], residues

    return step


def beside(label_BN: jax.Array, x: jax.Array) -> jax.Array:
  """Inputs [B, I] or [B, T, I], followed by the label's, the same at every step: [..., I + N]."""
  label_BN = layout.lay_like(label_BN.astype(x.dtype), x)
  lines = jnp.expand_dims(label_BN, tuple(range(1, x.ndim - 1)))
  lines = jnp.broadcast_to(lines, (*x.shape[:-1], label_BN.shape[-1]))
  return jnp.concatenate((x, lines), axis=-1)

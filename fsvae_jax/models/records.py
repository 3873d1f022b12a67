"""What a layer leaves of a pass, in the variable collection of that name, if it is mutable."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Operations(NamedTuple):
  """What a layer's synapses did for one image: an addition for each target of each spike.

  Attributes:
    reach: [...] how many targets each input has: taps beyond a border are nobody's.
    steps: scalar, how often the inputs came.
    rates: [...] spikes per step of each input, a mean over the batch; None of inputs that are no
      spikes: each of their targets is a multiplication with addition.
  """

  reach: jax.Array
  steps: jax.Array
  rates: jax.Array | None

  def spent(self) -> Any:
    """Additions, or multiplications with addition, for one image."""
    return self.steps * (self.reach if self.rates is None else self.rates * self.reach).sum()


def recorded(module: nn.Module, what: str) -> bool:
  """Whether a module is to leave its record of that name."""
  return module.is_mutable_collection(what) and not module.is_initializing()


def keep(module: nn.Module, what: str, value: Any) -> None:
  """Leaves `value` as the module's record of that name."""
  module.sow(what, 'of', value, reduce_fn=lambda _, new: new)


def operations(
  module: nn.Module,
  operation: Callable,
  kernel: jax.Array,
  shape: Sequence[int],
  steps: int,
  rates: Callable = lambda: None,
) -> None:
  """Leaves, if asked for, those of synapses whose inputs at one step are of `shape`.

  Each input adds up as many ones as it has targets: the gradient of the outputs' sum.
  """
  if not recorded(module, 'operations'):
    return
  ones = jnp.ones_like(kernel)
  total = lambda x_F: jnp.sum(operation(x_F[None, None], ones))
  reach = jax.grad(total)(jnp.ones(shape, kernel.dtype))
  keep(module, 'operations', Operations(reach, jnp.asarray(steps), rates()))

"""Leaky integrate-and-fire neurons with surrogate gradients, driven by an affine input.

The drive is `gain * x + offset` per channel: that is tdBN with its statistics already reduced to
two numbers a channel (see norm.py), or plain input with gain 1 and offset 0. Joining the two means
that the backward pass needs the synapse's output `x` and the membranes, and no normalised drive;
where a layer runs in chunks (chunks.py), membranes too are computed anew.

Synapses may compute in bfloat16, in which spikes are exact; membranes are float32, or float64 if an
input is.

Gradients are hand-written for reverse mode (grad, vjp); gradients of gradients see the surrogate
too. Forward mode (jvp, jacfwd, hessian) is a TypeError: use jacrev, or jacrev of grad.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import per_channel, vary_alike, wide, wide_type
from fsvae_jax.compute.recurrence import at, scan
from fsvae_jax.spiking import surrogate as surrogates


@dataclasses.dataclass(frozen=True)
class LIF:
  """Constants of a neuron: decay per step, threshold, name of the surrogate derivative.

  `width` stretches that derivative about the threshold: 2 lets gradient through twice as far from
  it, as high as before. `learned` names constants that layers learn, each its own; the numbers here
  are where they start.

  Raises:
    ValueError: for a decay, threshold or width that is no finite number, a width that is not above
      zero, an unknown surrogate, another name of a constant, or a learned decay that is not between
      0 and 1.

  Examples:
    >>> LIF(tau=0.9, v_th=1.0, surrogate='arctan')
    LIF(tau=0.9, v_th=1.0, surrogate='arctan', learned=(), width=1.0)
  """

  tau: float = 0.25
  v_th: float = 0.2
  surrogate: str = 'reference_rectangle'
  learned: tuple[str, ...] = ()
  width: float = 1.0

  def __post_init__(self):
    for field in ('tau', 'v_th', 'width'):
      object.__setattr__(self, field, checks.number(field, getattr(self, field)))
    if self.width <= 0:
      raise checks.ArgumentError(f'width is {self.width}; it must be above 0')
    checks.one_of('surrogate', self.surrogate, surrogates.SURROGATES)
    if isinstance(self.learned, str):
      raise checks.ArgumentError(f'learned is {self.learned!r}; it must be a tuple of names')
    object.__setattr__(self, 'learned', tuple(self.learned))
    for name in self.learned:
      checks.one_of('learned constant', name, ('tau', 'v_th'))
    if 'tau' in self.learned and not 0 < self.tau < 1:
      raise checks.ArgumentError(f'tau is {self.tau}; to be learned, it must be between 0 and 1')

  def derivative(self, u: jax.Array, v_th: Any) -> jax.Array:
    """do/du in the backward pass, of membranes and their threshold."""
    if self.width != 1:
      u = v_th + (u - v_th) / self.width
    return jnp.asarray(surrogates.SURROGATES[self.surrogate](u, v_th), jnp.asarray(u).dtype)


Constants = Mapping[str, jax.Array] | None


def rest(x_BTF: jax.Array) -> jax.Array:
  """Residue [B, ...] of neurons before their first step: zero.

  Examples:
    >>> rest(jnp.ones((2, 16, 3))).shape
    (2, 3)
  """
  return jnp.zeros_like(wide(_over_time(x_BTF)[:, 0]))


def lif(
  neuron: LIF,
  x_BTF: jax.Array,
  gain_C: jax.Array,
  offset_C: jax.Array,
  residue_BF: jax.Array,
  constants: Constants = None,
) -> tuple[jax.Array, jax.Array]:
  """Spikes of leaky integrate-and-fire neurons with hard reset (arXiv 2110.00375, section 4.1).

      u[t] = r[t-1] + gain * x[t] + offset
      o[t] = 1 if u[t] > v_th else 0
      r[t] = tau * u[t] * (1 - o[t])

  The gradient passes through the reset; the derivative of o with respect to u is the surrogate's,
  and that with respect to v_th its negative.

  Args:
    neuron: LIF constants; tau is per step, v_th in units of the membrane potential u.
    x_BTF: [B, T, ..., C] output of the synapses.
    gain_C, offset_C: [C] the drive's affine map.
    residue_BF: [B, ..., C] r before the first step: what an earlier call returned, or `rest(x)`.
    constants: {'tau' | 'v_th': [] or [C]} to use, and to differentiate, instead of the neuron's.

  Returns:
    spikes [B, T, ..., C], 0 or 1 in x's type, and the residue [B, ..., C] after the last step.

  Raises:
    ValueError: for arrays that are not of floats, or whose shapes do not fit; names them.

  Examples:
    >>> x_BTC = jnp.full((1, 5, 1), 0.6)
    >>> spikes, residue = lif(LIF(0.5, 1.0), x_BTC, jnp.ones(1), jnp.zeros(1), rest(x_BTC))
    >>> spikes[0, :, 0].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0]
  """
  x_BTF, shared = _checked(neuron, x_BTF, gain_C, offset_C, constants)
  residue_BF = checks.floats('residue_BF', residue_BF, x_BTF.shape[0], *x_BTF.shape[2:])
  shared, residue_BF = _as_membranes(x_BTF, (shared, residue_BF))
  return _lif(neuron, *vary_alike((x_BTF, shared, residue_BF)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lif(neuron, x_BTF, shared, residue_BF):
  return _integrate(neuron, x_BTF, shared, residue_BF, jnp.zeros_like(x_BTF), lambda u, o: o)


def lif_readout(
  neuron: LIF,
  x_BTF: jax.Array,
  gain_C: jax.Array,
  offset_C: jax.Array,
  weight_T: jax.Array,
  constants: Constants = None,
) -> jax.Array:
  """`sum_t weight[t] * o[t]` [B, ..., C] for the spikes o of `lif`, started at rest, never stored.

  The gradient of `weight_T` [T], sum(d_total * o[t]), fires the neurons once more; under jit it
  costs nothing where nobody asks for it.

  Raises:
    ValueError: as `lif` does.

  Examples:
    >>> x_BTC = jnp.full((1, 5, 1), 0.6)
    >>> lif_readout(LIF(0.5, 1.0), x_BTC, jnp.ones(1), jnp.zeros(1), jnp.arange(5.0)).tolist()
    [[2.0]]
  """
  x_BTF, shared = _checked(neuron, x_BTF, gain_C, offset_C, constants)
  weight_T = checks.floats('weight_T', weight_T, x_BTF.shape[1])
  shared, weight_T = _as_membranes(x_BTF, (shared, weight_T))
  return _readout(neuron, *vary_alike((x_BTF, shared, weight_T)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _readout(neuron, x_BTF, shared, weight_T):
  def step(t, carry, _):
    residue, total = carry
    _, spike, residue = _step(neuron, wide(at(x_BTF, t)), shared, residue)
    return (residue, total + weight_T[t] * spike), None

  zero = _rest(x_BTF, shared)
  (_, total), _ = scan(step, x_BTF.shape[1], (zero, zero))
  return total


def _over_time(x_BTF):
  x_BTF = checks.floats('x_BTF', x_BTF, 'B', 'T', ..., 'C')
  if not x_BTF.shape[1]:
    raise checks.ArgumentError(f'x_BTF has the shape {x_BTF.shape}; it needs one timestep or more')
  return x_BTF


class _Shared(NamedTuple):
  """What all neurons of a channel have: arrays [C], and `constants`, {name: [] or [C]}."""

  gain_C: jax.Array
  offset_C: jax.Array
  constants: dict[str, jax.Array]


def _checked(neuron, x_BTF, gain_C, offset_C, constants):
  if not isinstance(neuron, LIF):
    raise checks.ArgumentError(f'neuron is {neuron!r}; it must be a neurons.LIF')
  x_BTF = _over_time(x_BTF)
  channels = x_BTF.shape[-1]
  gain_C = checks.floats('gain_C', gain_C, channels)
  offset_C = checks.floats('offset_C', offset_C, channels)
  constants = dict(constants or {})
  for name, value in constants.items():
    checks.one_of('constant', name, ('tau', 'v_th'))
    constants[name] = checks.floats(name, value, *(channels,) * (jnp.ndim(value) > 0))
  return x_BTF, _Shared(gain_C, offset_C, constants)


def _as_membranes(x_BTF, arrays):
  """`arrays`, a pytree, in the membranes' type."""
  dtype = jnp.result_type(wide_type(x_BTF), *jax.tree.leaves(arrays))
  return jax.tree.map(lambda array: array.astype(dtype), arrays)


def _rest(x_BTF, shared):
  return rest(x_BTF).astype(shared.gain_C.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fire(neuron, u, v_th):
  return (u > v_th).astype(u.dtype)


@_fire.defjvp
def _surrogate(neuron, at_, d):
  return _fire(neuron, *at_), neuron.derivative(*at_) * (d[0] - d[1])


def _constants(neuron, constants, x):
  """tau and v_th to meet x [..., C]: the neuron's numbers, where there are no arrays."""
  own = [constants.get(name, getattr(neuron, name)) for name in ('tau', 'v_th')]
  return [per_channel(value, x) if jnp.ndim(value) else value for value in own]


def _step(neuron, x, shared, residue):
  gain, offset = (per_channel(v_C, x) for v_C in (shared.gain_C, shared.offset_C))
  tau, v_th = _constants(neuron, shared.constants, x)
  u = residue + gain * x + offset
  spike = _fire(neuron, u, v_th)
  return u, spike, tau * u * (1 - spike)


def _integrate(neuron, x_BTF, shared, residue_BF, kept_BT, keep):
  """`keep(u, o)` of every step, in the place of `kept_BT`, and the residue after the last."""

  def step(t, residue, _):
    u, spike, residue = _step(neuron, wide(at(x_BTF, t)), shared, residue)
    return residue, keep(u, spike)

  residue_BF, kept_BT = scan(step, x_BTF.shape[1], residue_BF, kept_BT)
  return kept_BT, residue_BF


def _membranes(neuron, x_BTF, shared, residue_BF):
  """The membranes u [B, T, ...] of all steps, and the residue after the last."""
  u_BTF = jnp.zeros_like(x_BTF, residue_BF.dtype)
  return _integrate(neuron, x_BTF, shared, residue_BF, u_BTF, lambda u, o: u)


def _backward(neuron, x_BTF, shared, u_BTF, d_spike, d_residue_BF):
  """Reverse of the recursion, given `d_spike(t)` = dL/do[t] and dL/dr[T-1]: dL/d(x, shared, r)."""
  gain = per_channel(shared.gain_C, x_BTF[:, 0])
  tau, v_th = _constants(neuron, shared.constants, x_BTF[:, 0])

  def step(t, carry, u):  # dL/dx takes the place of the membranes
    d_residue, total = carry
    spike = _fire(neuron, u, v_th)
    d_o = d_spike(t) - d_residue * tau * u
    d_fired = d_o * neuron.derivative(u, v_th)
    d_u = d_fired + d_residue * tau * (1 - spike)
    new = {'gain': d_u * wide(at(x_BTF, t)), 'offset': d_u}
    new |= {'tau': d_residue * u * (1 - spike), 'v_th': -d_fired}
    return (d_u, {name: total[name] + new[name] for name in total}), gain * d_u

  total = {name: jnp.zeros_like(d_residue_BF) for name in ('gain', 'offset', *shared.constants)}
  carry = d_residue_BF, total
  (d_residue_BF, total), dx_BTF = scan(step, x_BTF.shape[1], carry, u_BTF, reverse=True)
  axes = tuple(range(d_residue_BF.ndim - 1))
  d_constants = {
    name: jnp.sum(total[name], axes if own.ndim else None) for name, own in shared.constants.items()
  }
  d_shared = _Shared(jnp.sum(total['gain'], axes), jnp.sum(total['offset'], axes), d_constants)
  return dx_BTF.astype(x_BTF.dtype), d_shared, d_residue_BF


def _lif_forward(neuron, x_BTF, shared, residue_BF):
  u_BTF, residue_BF = _membranes(neuron, x_BTF, shared, residue_BF)
  v_th = _constants(neuron, shared.constants, x_BTF)[1]
  spikes_BTF = _fire(neuron, u_BTF, v_th).astype(x_BTF.dtype)
  return (spikes_BTF, residue_BF), (x_BTF, shared, u_BTF)


def _lif_backward(neuron, kept, cotangents):
  d_spikes_BTF, d_residue_BF = cotangents
  return _backward(neuron, *kept, lambda t: wide(at(d_spikes_BTF, t)), d_residue_BF)


def _readout_forward(neuron, *inputs):
  return _readout(neuron, *inputs), inputs


def _readout_backward(neuron, inputs, d_total):
  x_BTF, shared, weight_T = inputs
  at_rest = _rest(x_BTF, shared)
  d_spike = lambda t: weight_T[t] * d_total
  u_BTF, _ = _membranes(neuron, x_BTF, shared, at_rest)
  d_x, d_shared, _ = _backward(neuron, x_BTF, shared, u_BTF, d_spike, at_rest)
  # A loop of its own, so that all of it goes where the weights are constants.
  own = lambda u, o: jnp.sum(d_total * o, tuple(range(1, o.ndim)))
  own_BT = jnp.zeros_like(x_BTF[(..., *(0,) * (x_BTF.ndim - 2))], at_rest.dtype)
  own_BT, _ = _integrate(neuron, x_BTF, shared, at_rest, own_BT, own)
  return d_x, d_shared, jnp.sum(own_BT, 0)


_lif.defvjp(_lif_forward, _lif_backward)
_readout.defvjp(_readout_forward, _readout_backward)

"""Leaky integrate-and-fire neurons with surrogate gradients, driven by an affine input.

The drive is `gain * x + offset` per channel: that is tdBN with its statistics already reduced to
two numbers a channel (see norm.py), or plain input with gain 1 and offset 0. Joining the two means
that only the synapse's output `x` has to be kept for the backward pass; membranes are recomputed
there.

Synapses may compute in bfloat16, in which spikes are exact; membranes are always float32.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from fsvae_jax.spiking import surrogate as surrogates
from fsvae_jax.spiking.layout import per_channel, wide
from fsvae_jax.spiking.recurrence import at, scan


class LIF(NamedTuple):
  """Constants of a neuron: decay per step, threshold, name of the surrogate derivative."""

  tau: float = 0.25
  v_th: float = 0.2
  surrogate: str = 'reference_rectangle'


def rest(x_BTF):
  """Residue [B, ...] of neurons before their first step: zero."""
  return jnp.zeros_like(wide(x_BTF[:, 0]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lif(neuron, x_BTF, gain_C, offset_C, residue_BF):
  """Spikes of leaky integrate-and-fire neurons with hard reset (arXiv 2110.00375, section 4.1).

      u[t] = r[t-1] + gain * x[t] + offset
      o[t] = 1 if u[t] > v_th else 0
      r[t] = tau * u[t] * (1 - o[t])

  The gradient passes through the reset; the derivative of o with respect to u is the surrogate's.

  Args:
    neuron: LIF constants; tau is per step, v_th in units of the membrane potential u.
    x_BTF: [B, T, ..., C] output of the synapses.
    gain_C, offset_C: [C] the drive's affine map.
    residue_BF: [B, ..., C] r before the first step: what an earlier call returned, or `rest(x)`.

  Returns:
    spikes [B, T, ..., C], 0 or 1 in x's type, and the residue [B, ..., C] after the last step.

  Raises:
    AssertionError: if the shapes do not fit each other.
  """
  _check(x_BTF, gain_C, offset_C, residue_BF)

  def step(t, residue, _):
    _, spike, residue = _step(neuron, wide(at(x_BTF, t)), gain_C, offset_C, residue)
    return residue, spike

  residue_BF, spikes_BTF = scan(step, x_BTF.shape[1], residue_BF, jnp.zeros_like(x_BTF))
  return spikes_BTF, residue_BF


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lif_readout(neuron, x_BTF, gain_C, offset_C, weight_T):
  """`sum_t weight[t] * o[t]` [B, ..., C] for the spikes o of `lif`, started at rest, never stored.

  `weight_T` is a constant [T]; no gradient flows to it.
  """
  _check(x_BTF, gain_C, offset_C, x_BTF[:, 0])
  chex.assert_shape(weight_T, (x_BTF.shape[1],))

  def step(t, carry, _):
    residue, total = carry
    _, spike, residue = _step(neuron, wide(at(x_BTF, t)), gain_C, offset_C, residue)
    return (residue, total + jnp.asarray(weight_T)[t] * spike), None

  (_, total), _ = scan(step, x_BTF.shape[1], (rest(x_BTF), rest(x_BTF)))
  return total


def _check(x_BTF, gain_C, offset_C, residue_BF):
  chex.assert_equal_shape([x_BTF[:, 0], residue_BF])
  chex.assert_shape([gain_C, offset_C], x_BTF.shape[-1:])


def _step(neuron, x, gain_C, offset_C, residue):
  gain, offset = (per_channel(v_C, x) for v_C in (gain_C, offset_C))
  u = residue + gain * x + offset
  spike = (u > neuron.v_th).astype(u.dtype)
  return u, spike, neuron.tau * u * (1 - spike)


def _backward(neuron, x_BTF, gain_C, offset_C, residue_BF, d_spike, d_residue_BF):
  """Reverse of the recursion, given `d_spike(t)` = dL/do[t] and dL/dr[T-1]."""
  steps = x_BTF.shape[1]
  derivative = surrogates.SURROGATES[neuron.surrogate]

  def remember(t, residue, _):
    u, _, residue = _step(neuron, wide(at(x_BTF, t)), gain_C, offset_C, residue)
    return residue, u

  _, u_BTF = scan(remember, steps, residue_BF, jnp.zeros_like(wide(x_BTF)))

  gain = per_channel(gain_C, x_BTF[:, 0])

  def step(t, carry, u):  # dL/dx takes the place of the membranes
    d_residue, d_gain, d_offset = carry
    spike = (u > neuron.v_th).astype(u.dtype)
    d_o = d_spike(t) - d_residue * neuron.tau * u
    d_u = d_o * derivative(u, neuron.v_th) + d_residue * neuron.tau * (1 - spike)
    return (d_u, d_gain + d_u * wide(at(x_BTF, t)), d_offset + d_u), gain * d_u

  zero = jnp.zeros_like(residue_BF)
  (d_residue_BF, d_gain, d_offset), dx_BTF = scan(
    step, steps, (d_residue_BF, zero, zero), u_BTF, reverse=True
  )
  axes = tuple(range(residue_BF.ndim - 1))
  dx_BTF = dx_BTF.astype(x_BTF.dtype)
  return dx_BTF, jnp.sum(d_gain, axes), jnp.sum(d_offset, axes), d_residue_BF


def _lif_forward(neuron, *inputs):
  return lif(neuron, *inputs), inputs


def _lif_backward(neuron, inputs, cotangents):
  d_spikes_BTF, d_residue_BF = cotangents
  return _backward(neuron, *inputs, lambda t: wide(at(d_spikes_BTF, t)), d_residue_BF)


def _readout_forward(neuron, *inputs):
  return lif_readout(neuron, *inputs), inputs


def _readout_backward(neuron, inputs, d_total):
  x_BTF, gain_C, offset_C, weight_T = inputs
  at_rest = rest(x_BTF)
  d_x, d_gain, d_offset, _ = _backward(
    neuron, x_BTF, gain_C, offset_C, at_rest, lambda t: jnp.asarray(weight_T)[t] * d_total, at_rest
  )
  return d_x, d_gain, d_offset, jnp.zeros_like(weight_T)


lif.defvjp(_lif_forward, _lif_backward)
lif_readout.defvjp(_readout_forward, _readout_backward)

"""The formulations that a first port would have, to measure what each technique gives.

They are put in the place of the package's own functions for as long as a benchmark runs.
"""

from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import fidelity
from fsvae_jax.compute import chunks, conv, layout, linear
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.spiking import neurons, surrogate

TECHNIQUES = ('products', 'linear_time', 'fused_neurons', 'matmul_backward', 'chunks')


def dilated_transpose(x, kernel):
  """conv_transpose_phases as the convolution of an image with zeros between its pixels."""
  y = lax.conv_general_dilated(
    x,
    kernel[::-1, ::-1],
    (1, 1),
    ((1, 2), (1, 2)),
    lhs_dilation=(2, 2),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  n, h, w, c = y.shape
  phases = jnp.moveaxis(layout.reshape(y, n, h // 2, 2, w // 2, 2, c), -4, -3)
  return layout.reshape(phases, n, h // 2, w // 2, 4 * c)


def kernel_gradient(x, dy):
  """What JAX makes of the product's gradient."""
  kernel_IO = jnp.zeros((x.shape[-1], dy.shape[-1]), x.dtype)
  return jax.vjp(lambda kernel_IO: x @ kernel_IO, kernel_IO)[1](dy)[0]


def turn_off(technique, stack):
  """Replaces one technique of the package by the formulation that a first port would have."""

  def put(module, name, function):
    stack.enter_context(mock.patch.object(module, name, function))

  def stored_lif(neuron, x_BTF, gain_C, offset_C, residue_BF, constants=None):
    assert not constants  # a first port has none
    derivative = surrogate.SURROGATES[neuron.surrogate]

    @jax.custom_jvp
    def spike(u):
      return (u > neuron.v_th).astype(u.dtype)

    spike.defjvp(lambda u, du: (spike(*u), derivative(*u, neuron.v_th) * du[0]))

    def step(residue, x):
      u = residue + x
      o = spike(u)
      return neuron.tau * u * (1 - o), o

    drive = gain_C * x_BTF + offset_C
    residue_BF, spikes = lax.scan(step, residue_BF, jnp.moveaxis(drive, 1, 0))
    return jnp.moveaxis(spikes, 0, 1), residue_BF

  def stored_readout(neuron, x_BTF, gain_C, offset_C, weight_T, constants=None):
    spikes, _ = stored_lif(neuron, x_BTF, gain_C, offset_C, neurons.rest(x_BTF))
    return jnp.tensordot(weight_T, spikes, (0, 1))

  if technique == 'products':
    put(conv, '_conv_products', conv._conv_native)
    put(conv, '_transpose_products', dilated_transpose)
    put(conv, '_stride1_shifts', conv._stride1_native)
  elif technique == 'linear_time':
    put(bernoulli, 'encode', fidelity.detached(fidelity.prefix))
  elif technique == 'fused_neurons':
    put(neurons, 'lif', stored_lif)
    put(neurons, 'lif_readout', stored_readout)
  elif technique == 'matmul_backward':
    put(linear, '_matmul', lambda x, kernel: x @ kernel)
    put(conv, 'kernel_gradient', kernel_gradient)
  elif technique == 'chunks':
    put(chunks, 'in_chunks', lambda function, shared, x_B, size=None: function(shared, x_B))
  else:
    raise ValueError(f'unknown technique {technique!r}; known: {", ".join(TECHNIQUES)}')

"""Linear filters over time: the post-synaptic potential, and the leaky read-out."""

import jax.numpy as jnp
import numpy as np
from jax import lax


def psp(x_BTD, time_constant=2.0):
  """Post-synaptic potential s[t] = s[t-1] + (x[t] - s[t-1]) / time_constant, s[-1] = 0.

  Args:
    x_BTD: [B, T, D] spikes or rates.
    time_constant: in steps.

  Returns:
    [B, T, D] potentials, in units of the rate (arXiv 2110.00375, section 4.4).
  """

  def step(s_BD, x_BD):
    s_BD = s_BD + (x_BD - s_BD) / time_constant
    return s_BD, s_BD

  _, s_TBD = lax.scan(step, jnp.zeros_like(x_BTD[:, 0]), jnp.moveaxis(x_BTD, 1, 0))
  return jnp.moveaxis(s_TBD, 0, 1)


def readout_weights(timesteps, decay=0.8):
  """[T] decay^(T-1-t): how inputs weigh, at the end, in a leaky integrator that never fires."""
  return decay ** np.arange(timesteps - 1, -1, -1, dtype=np.float32)

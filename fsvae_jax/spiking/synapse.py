"""Linear filters over time: the post-synaptic potential, and the leaky read-out."""

import jax.numpy as jnp
import numpy as np


def psp(x_BTD, time_constant=2.0):
  """Post-synaptic potential s[t] = s[t-1] + (x[t] - s[t-1]) / time_constant, s[-1] = 0.

  Args:
    x_BTD: [B, T, D] spikes or rates.
    time_constant: in steps.

  Returns:
    [B, T, D] potentials, in units of the rate (arXiv 2110.00375, section 4.4).
  """

  age_TS = np.subtract.outer(*2 * (np.arange(x_BTD.shape[1]),))  # t - s
  weight_TS = np.where(age_TS < 0, 0, (1 - 1 / time_constant) ** age_TS / time_constant)
  return jnp.einsum('bsd,ts->btd', x_BTD, weight_TS.astype(np.float32), precision='highest')


def readout_weights(timesteps, decay=0.8):
  """[T] decay^(T-1-t): how inputs weigh, at the end, in a leaky integrator that never fires."""
  return decay ** np.arange(timesteps - 1, -1, -1, dtype=np.float32)

"""Linear filters over time: the post-synaptic potential, and the leaky read-out."""

import jax
import jax.numpy as jnp
import numpy as np

from fsvae_jax.compute import checks
from fsvae_jax.compute.layout import wide_type

READOUT_DECAY = 0.8  # a step of the read-out's membrane


def psp(x_BTD: jax.Array, time_constant: float = 2.0) -> jax.Array:
  """Post-synaptic potential s[t] = s[t-1] + (x[t] - s[t-1]) / time_constant, s[-1] = 0.

  Args:
    x_BTD: [B, T, D] spikes or rates.
    time_constant: in steps.

  Returns:
    [B, T, D] potentials, in units of the rate (arXiv 2110.00375, section 4.4).

  Raises:
    ValueError: for an x that is not a float array of three axes, or a time constant below one step.

  Examples:
    >>> psp(jnp.array([[[1.0], [0.0], [1.0]]]))[0, :, 0].tolist()
    [0.5, 0.25, 0.625]
  """
  x_BTD = checks.floats('x_BTD', x_BTD, 'B', 'T', 'D')
  if checks.number('time_constant', time_constant) < 1:
    raise checks.ArgumentError(f'time_constant is {time_constant}; it must be at least 1 (step)')
  t = np.arange(x_BTD.shape[1])
  age_TS = np.maximum(t[:, None] - t, 0)  # t - s
  weight_TS = np.tril((1 - 1 / time_constant) ** age_TS / time_constant)  # of s <= t
  return jnp.einsum('bsd,ts->btd', x_BTD, weight_TS.astype(wide_type(x_BTD)), precision='highest')


def readout_weights(timesteps: int, decay: float = READOUT_DECAY) -> np.ndarray:
  """float32 [T] decay^(T-1-t): how inputs weigh, at the end, in a leaky integrator never firing.

  Raises:
    ValueError: for a number of timesteps below one, or a decay that is no finite number.

  Examples:
    >>> readout_weights(3, decay=0.5).tolist()
    [0.25, 0.5, 1.0]
  """
  timesteps, decay = checks.count('timesteps', timesteps, 1), checks.number('decay', decay)
  return decay ** np.arange(timesteps - 1, -1, -1, dtype=np.float32)

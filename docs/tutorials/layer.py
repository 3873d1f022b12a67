# %% [markdown]
# # Inside a spiking layer
#
# A layer is synapses, tdBN, LIF neurons. Here are neurons, their gradient and the normalisation as
# what they are in this package: functions of arrays, without a network around them. Arrays are
# `[batch, time, ..., channel]`, and names say so: `x_BTC`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from fsvae_jax.spiking import neurons, norm, surrogate

# %% [markdown]
# ## A neuron
#
# A leaky integrate-and-fire neuron adds its input to what is left of its membrane potential, fires
# when that exceeds the threshold, and is reset to zero by its own spike:
#
#     u[t] = r[t-1] + x[t]          potential
#     o[t] = 1 if u[t] > v_th       spike
#     r[t] = tau u[t] (1 - o[t])    residue: what the next step starts from
#
# `neurons.lif` does all steps at once. It takes the input with a gain and an offset for each
# channel (that is where tdBN will come in; 1 and 0 are none) and the residue before the first step.

# %%
neuron = neurons.LIF(tau=0.9, v_th=1.0)
one, zero = jnp.ones(1), jnp.zeros(1)
x_BTC = jnp.full((1, 40, 1), 0.22)
spikes_BTC, residue_BC = neurons.lif(neuron, x_BTC, one, zero, neurons.rest(x_BTC))
print(spikes_BTC.shape, 'spikes at', np.flatnonzero(spikes_BTC))

# %% [markdown]
# The potential is not returned, since a network never stores it. To see it, run step by step,
# handing on the residue; the spikes are the same. A constant input makes a regular train: the
# neuron codes the input's size as a rate.


# %%
def trace(x_T):
  """(potentials, spikes) [T] of the neuron."""
  residue_BC, potentials, spikes = jnp.zeros((1, 1)), [], []
  for x in x_T:
    potentials.append(float(residue_BC[0, 0] + x))
    own, residue_BC = neurons.lif(neuron, jnp.full((1, 1, 1), x), one, zero, residue_BC)
    spikes.append(float(own[0, 0, 0]))
  return np.array(potentials), np.array(spikes)


potential_T, spikes_T = trace(x_BTC[0, :, 0])
assert np.array_equal(spikes_T, spikes_BTC[0, :, 0])
plt.figure(figsize=(6, 2.4))
plt.plot(potential_T, '.-')
plt.axhline(neuron.v_th, color='grey', ls='--', lw=1)
plt.vlines(np.flatnonzero(spikes_T), 1.15, 1.3, color='C1')
plt.xlabel('step')
plt.ylabel('u')
plt.show()

# %% [markdown]
# The model's own neurons forget faster (tau = 0.25) and fire sooner (v_th = 0.2): at T = 16 there
# is no time for slow ones.
#
# ## The gradient of a spike
#
# A spike is a step function of u: its derivative is zero, or infinite. The backward pass puts a
# *surrogate* in its place; forward, spikes stay exactly 0 and 1. This is what
# `torch.autograd.Function` with its own `backward` is in PyTorch. The table `SURROGATES` has them
# by name; the published model uses a rectangle around **zero**, not around the threshold.

# %%
u = jnp.linspace(-1, 1.5, 501)
plt.figure(figsize=(6, 2.8))
for name, derivative in surrogate.SURROGATES.items():
  plt.plot(u, derivative(u, 0.2), label=name)
plt.axvline(0.2, color='grey', ls='--', lw=1)
plt.xlabel('u')
plt.ylabel('do/du')
plt.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# `jax.grad` of a function is a function: no graph is kept and no `.backward()` is called. The
# number of spikes of the first neuron, as a function of its input, is a staircase; its surrogate
# gradient says which inputs would have had to be larger. It reaches back through the leak, and
# through the reset (a spike now takes away from what comes later).


# %%
def count(x_BTC, neuron):
  return neurons.lif(neuron, x_BTC, one, zero, neurons.rest(x_BTC))[0].sum()


plt.figure(figsize=(6, 2.4))
for name in ('triangle', 'fast_sigmoid'):
  d_x = jax.grad(count)(x_BTC, neurons.LIF(tau=0.9, v_th=1.0, surrogate=name))
  plt.plot(d_x[0, :, 0], '.-', label=name)
plt.xlabel('step of the input')
plt.ylabel('d spikes / d x[t]')
plt.ylim(-0.4, 1.9)
plt.legend(frameon=False, ncols=2, loc='upper left')
plt.show()

# %% [markdown]
# ## tdBN
#
# A neuron whose input is far below its threshold never fires, and one far above always does; both
# say nothing and learn little. Threshold-dependent batch normalisation (tdBN) scales each channel's
# input to standard deviation alpha * v_th, times a learned scale, around a learned offset (alpha is
# a constant of the layer; here it is 1). Its statistics are over batch, time and space. Here they
# become two numbers for each channel, which the neurons apply as they integrate:

# %%
v_th = 0.2
neuron = neurons.LIF(tau=0.25, v_th=v_th)
scales_C = jnp.array([0.01, 0.1, 1.0, 10.0])  # four channels with very different inputs
x_BTC = scales_C * (0.5 + jax.random.normal(jax.random.key(0), (256, 16, 4), jnp.float32))
at_rest = neurons.rest(x_BTC)
plain, _ = neurons.lif(neuron, x_BTC, jnp.ones(4), jnp.zeros(4), at_rest)

mean_C, var_C = norm.batch_statistics(x_BTC, channels=4)
gain_C, offset_C = norm.gain_offset(mean_C, var_C, jnp.ones(4), jnp.zeros(4), amplitude=v_th)
normed, _ = neurons.lif(neuron, x_BTC, gain_C, offset_C, at_rest)
print('rates without:', plain.mean((0, 1)).round(3), ' with:', normed.mean((0, 1)).round(3))

# %% [markdown]
# Without it, the first channel is dead. With it, all four fire alike, and since the statistics have
# gradients too, the scale of the synapses no longer matters to what is learned.
#
# ## A layer
#
# Synapses are a product (or a convolution). 64 inputs that fire at random with rates from 0 to 1,
# 48 neurons, 32 steps: a raster has time to the right and a neuron a row.

# %%
key_w, key_x = jax.random.split(jax.random.key(1))
kernel = jax.random.uniform(key_w, (64, 48), jnp.float32, -1, 1) / 8
rates_C = jnp.linspace(0, 1, 64)
inputs_BTC = jax.random.bernoulli(key_x, rates_C, (16, 32, 64)).astype(jnp.float32)


@jax.jit  # compiled as one program, at the first call with these shapes
def layer(inputs_BTC, kernel):
  x_BTC = inputs_BTC @ kernel
  statistics = norm.batch_statistics(x_BTC, channels=48)
  affine = norm.gain_offset(*statistics, jnp.ones(48), jnp.zeros(48), amplitude=v_th)
  return neurons.lif(neuron, x_BTC, *affine, neurons.rest(x_BTC))[0]


spikes_BTC = layer(inputs_BTC, kernel)
figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout='constrained')
for axis, x_BTC, title in zip(axes, (inputs_BTC, spikes_BTC), ('inputs', 'neurons'), strict=True):
  axis.imshow(x_BTC[0].T, cmap='Greys', aspect='auto', interpolation='nearest')
  axis.set(xlabel='step', ylabel=title, title=f'rate {x_BTC.mean():.2f}')
plt.show()

# %% [markdown]
# Three differences from PyTorch were in this cell: random numbers come of a *key*, which is split
# and never used twice; `jax.jit` compiles what it wraps; and the statistics are values that the
# function computes, not a state that it changes. In a network, the running statistics that replace
# them at test time are part of `variables['batch_stats']`, which a step returns anew.
#
# Next: [the latent](latent.md). Reference: [spiking](../reference/spiking.md).

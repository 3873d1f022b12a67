# %% [markdown]
# # Write your own
#
# A latent, a surrogate, a read-out is a function and a row in a table; nothing else in the package
# is touched. This page adds a surrogate derivative in two lines and a latent in some more, trains
# them, and compares them with the model's own.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from flax import linen as nn

from fsvae_jax import configuration, inference, samples, train
from fsvae_jax.models.interface import Latent
from fsvae_jax.models.latents import LATENTS
from fsvae_jax.run import pictures, writer
from fsvae_jax.spiking.surrogate import SURROGATES


def trained(name, **fields):
  """A model of this name, small and quickly trained; `fields` are the configuration's."""
  config = configuration.load('digits')
  config.model.update(image_size=8, features=(16, 32), timesteps=6, latent_dim=32, draws=6)
  config.model.latent = 'bernoulli'  # the published one
  config.train.update(steps=100, test_every=0, log_every=100)
  config.model.update(fields)
  train.train_and_evaluate(config, f'runs/own/{name}')
  model = inference.restore(config, f'runs/own/{name}')
  last = writer.read_metrics(model.workdir)[-1]  # also of a run that was finished before
  figures = {key: round(value, 4) for key, value in last.items() if key.startswith('test/')}
  return model, figures


# %% [markdown]
# ## A neuron's gradient
#
# A surrogate is a function of the potential and the threshold. A row makes it a value of
# `model.surrogate`, which is checked at the start like the others.


# %%
def bump(u, v_th):
  """exp(-(u - v_th)^2 / 0.18): a Gaussian of width 0.3, or 0.45 with `surrogate_width=1.5`."""
  return jnp.exp(-jnp.square(u - v_th) / 0.18)


SURROGATES['bump'] = bump

# %% [markdown]
# ## A latent
#
# A `Latent` says how z comes about between encoder and decoder: which networks it has, what is
# random in it (drawn as arrays, *before* anything is computed), how z is inferred from the
# encoder's spikes x, sampled from the prior, and how far posterior and prior are apart.
#
# The simplest one: every entry of z is an independent coin. The posterior's probability is the
# encoder's firing rate, the prior's is a learned number for each channel. `run('prior', ...)`
# applies the network with its current parameters, and `stop_gradient` is PyTorch's `detach`.


# %%
class Rates(nn.Module):
  """The prior's network: one learned probability a channel [D]."""

  latent_dim: int

  @nn.compact
  def __call__(self, _, train=False):
    return nn.sigmoid(self.param('logits', nn.initializers.zeros, (self.latent_dim,)))


def coins(config, neuron):
  """z[t, d] ~ Bernoulli(mean_t x[t, d]); prior: a learned probability a channel."""
  size = config.timesteps, config.latent_dim

  def draw(key, count, train=False):
    return jax.random.uniform(key, (count, *size))

  def flip(rates, u_BTD):  # straight-through: forward a coin, backward its probability
    z_BTD = (u_BTD < rates).astype(u_BTD.dtype)
    return rates + jax.lax.stop_gradient(z_BTD - rates)

  def infer(run, x_BTD, u_BTD, schedule):
    rates_B1D = x_BTD.mean(1, keepdims=True)
    return flip(rates_B1D, u_BTD), {'q': rates_B1D, 'p': run('prior', u_BTD)[None, None]}

  return Latent(
    networks={'prior': Rates(config.latent_dim)},
    shapes={'prior': (1, *size)},
    draw=draw,
    encode=lambda run, x_BTD, u_BTD: flip(x_BTD.mean(1, keepdims=True), u_BTD),
    sample=lambda run, u_BTD: flip(run('prior', u_BTD)[None, None], u_BTD),
    infer=infer,
    distance=lambda terms: jnp.square(terms['q'].mean(0) - terms['p'][0]).mean(),
    weight=1.0,
    replay=lambda run, z_BTD, x_BTD=None: None,
  )


LATENTS['coins'] = coins

# %% [markdown]
# ## Trained and compared
#
# A finished run in `runs/own` is not trained again: remove it after changing a part. `bernoulli`
# has the published latent; its surrogate, the triangle, and its optimiser are those of
# `digits`.

# %%
models = {
  'bernoulli': trained('bernoulli'),
  'bump': trained('bump', surrogate='bump'),
  'coins': trained('coins', latent='coins'),
}
for name, (_, figures) in models.items():
  print(f'{name:10}', figures['test/reconstruction'], 'distance', figures['test/distance'])

# %%
figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.7), layout='constrained')
for axis, (name, (model, _)) in zip(axes, models.items(), strict=True):
  grid = pictures.grid(samples.quantized(model.generate(36)), 6)
  axis.imshow(grid.squeeze(), cmap='gray', vmin=0, vmax=255)
  axis.set(title=f'samples: {name}', xticks=[], yticks=[])
plt.show()

# %% [markdown]
# After so short a training `coins` reconstructs best, since it has least to learn. But its samples
# are mixtures of digits: channels that are independent cannot say that *this* stroke goes with
# *that* one. What the autoregressive prior buys is seen when the pictures are compared. Comparisons
# worth reporting have longer trainings, several seeds, and the metrics of
# [evaluation](../explanation/evaluation.md).
#
# To use an own part from the command line, put the function and its row into a file of your own
# configuration: `--config=my.py` runs that file, and its `get_config()` names the part. Give it to
# `--mode=eval` and the others too, since a run's folder knows the name of the part alone. A
# surrogate, in a file:
#
# ```python
# import jax.numpy as jnp
#
# from fsvae_jax.configs import digits
# from fsvae_jax.spiking.surrogate import SURROGATES
#
# SURROGATES['bump'] = lambda u, v_th: jnp.exp(-jnp.square(u - v_th) / 0.18)
#
#
# def get_config(kind=''):
#   config = digits.get_config(kind)
#   if 'surrogate' in config.model:  # the ANN has none
#     config.model.surrogate = 'bump'
#   return config
# ```
#
# What else can be added, and where: [architecture](../explanation/architecture.md#to-add).

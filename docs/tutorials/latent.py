# %% [markdown]
# # The latent: what T and K do, and where the information is
#
# The latent z of an image is T steps of D zeros and ones, all that the decoder is given. This page
# takes it apart. The model is that of [the first tutorial](train.md): the same call finds it
# trained, or trains it now.

# %%
import matplotlib.pyplot as plt
import numpy as np

from fsvae_jax import configuration, data, inference, samples, train
from fsvae_jax.metrics import robustness
from fsvae_jax.metrics.made import Made
from fsvae_jax.run import pictures

config = configuration.load('digits')
config.model.update(features=(16, 32, 64), latent_dim=64)
config.train.update(steps=300, log_every=50, test_every=0)
train.train_and_evaluate(config, 'runs/train')
trained = inference.restore(config, 'runs/train')
images = np.asarray(trained.images('test')[:180])
pixels = data.normalize(images)
z_NTD = trained.encode(images)


def show(images, columns, title=''):
  """A grid of images of bytes."""
  plt.figure(figsize=(columns * 0.55, len(images) / columns * 0.55 + 0.3 * bool(title)))
  plt.imshow(pictures.grid(images, columns).squeeze(), cmap='gray', vmin=0, vmax=255)
  plt.title(title, fontsize=9)
  plt.axis('off')
  plt.show()


def error(z_NTD):
  """Mean squared error of what the decoder makes of latents of `images`."""
  return float(np.mean((trained.decode(z_NTD) - pixels) ** 2))


# %% [markdown]
# ## One latent
#
# Left, z of one image: steps to the right, channels down, ordered by their rate. Right, the rates
# of this image against those of another. With 8 steps there are 9 possible rates. Which channels
# fire more differs from image to image; when they fire looks random.

# %%
order = np.argsort(z_NTD.mean((0, 1)))
figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout='constrained')
axes[0].imshow(z_NTD[0][:, order].T, cmap='Greys', aspect='auto', interpolation='nearest')
axes[0].set(xlabel='step', ylabel='channel', title='z of the first image')
for i in (0, 1):
  axes[1].plot(z_NTD[i].mean(0)[order], '.', label=f'image {i}')
axes[1].set(xlabel='channel', ylabel='spikes a step', ylim=(-0.05, 1.15))
axes[1].legend(frameon=False, ncols=2, loc='upper left')
plt.show()

# %% [markdown]
# ## K: how random is a spike
#
# The posterior network fires K spikes for each channel and step, and *one of them is picked* at
# random. So z[t, d] is one with probability (spikes fired)/K: with K = 1 the latent would be
# deterministic, with K = 5 probabilities are fifths. The pick is all that is random in a
# posterior, and it is drawn before anything is computed.
#
# Encoding the same images with four seeds shows how much it matters: how often two samples of one
# image agree, and what the decoder makes of them.

# %%
seeds_SNTD = np.stack([trained.encode(images[:8], seed) for seed in range(4)])
print('two samples agree in', (seeds_SNTD[0] == seeds_SNTD[1]).mean().round(3), 'of the entries;')
print('two images, in', (z_NTD[:-1] == z_NTD[1:]).mean().round(3))
show(samples.quantized(trained.decode(np.concatenate(seeds_SNTD))), 8, 'a row a seed')

# %% [markdown]
# ## T: how long the decoder looks
#
# The decoder takes any number of steps. Its read-out is a leaky sum, in which step t of T weighs
# 0.8^(T-1-t): the image grows as spikes arrive. Stopping early costs some error, and saves the
# energy of the steps that are not taken.

# %%
steps = range(1, config.model.timesteps + 1)
errors = [error(z_NTD[:, :t]) for t in steps]
growing = np.concatenate([trained.decode(z_NTD[:8, :t]) for t in steps])
show(samples.quantized(growing), 8, 'rows: after 1, 2, ... steps')
print({t: round(e, 4) for t, e in zip(steps, errors, strict=True)})

# %% [markdown]
# ## Where the information is
#
# A spike train could say something by *how many* spikes there are, by *when* they come, or by
# *which channels* fire together. Three ways to destroy a part of this and keep the rest:
#
# - `shuffle`: the steps of each image in random order. Channels that fired together still do.
# - `rates`: each channel fires as often, at steps of its own choice. Only counts are left.
# - `channels`: the same number of spikes at each step, in other channels. Only the timing of the
#   whole population is left.

# %%
rng = np.random.default_rng(0)
changed = {
  'as it is': z_NTD,
  'shuffle': robustness.shuffle(z_NTD, rng),
  'rates': rng.permuted(z_NTD, axis=1),
  'channels': rng.permuted(z_NTD, axis=2),
}
for name, other_NTD in changed.items():
  print(f'{name:10} {error(other_NTD):.4f}')
show(samples.quantized(np.concatenate([trained.decode(z[:8]) for z in changed.values()])), 8)

# %% [markdown]
# Of digits the order in time hardly matters; which channels fire, and how often, is the image. The
# latent is a *rate code*, although nothing in the model says that it must be: the encoder sees the
# same image at every step, so there is little to say with time. Losing spikes is survived as well:

# %%
for name, perturb in {'lost': robustness.dropout, 'flipped': robustness.flip}.items():
  print(name, {p: round(error(perturb(z_NTD, p, rng)), 4) for p in (0.0, 0.05, 0.1, 0.2)})

# %% [markdown]
# ## Interpolation
#
# Between two spike trains there is no straight line. `interpolate` replaces entry after entry of
# one by the other's, in random order: rates change linearly, and every picture on the way is of a
# latent of zeros and ones.

# %%
show(samples.interpolations(Made(trained, images[:8], count=0, seed=0)), 8)

# %% [markdown]
# Next: [write your own latent](own.md). The paper's words for all this:
# [the paper in two pages](../explanation/paper.md).

# %% [markdown]
# # Train, look, generate
#
# From nothing to digits that no one wrote: a Fully Spiking VAE trained in a minute or two on two
# CPU cores. You know PyTorch; what is different in JAX is said where it first appears.

# %%
import matplotlib.pyplot as plt
import numpy as np

from fsvae_jax import configuration, data, inference, samples, train
from fsvae_jax.run import pictures, writer

# %% [markdown]
# The model has four networks. The *encoder* turns an image into spikes; the *posterior* turns these
# into the latent z, T steps of D zeros and ones; the *decoder* turns z into an image. The *prior*
# learns to make such z without an image. [The paper in two pages](../explanation/paper.md) has a
# drawing.
#
# ## A configuration
#
# `--config=digits` on the command line is `configuration.load('digits')` here. It is a dictionary
# with dots, of which [every field](../reference/configuration.md) is in the reference. The model is
# made smaller than `make train`'s, so that this page is quick: half as many channels everywhere. A
# misspelt field is an error, not a new field:

# %%
config = configuration.load('digits')
config.model.update(features=(16, 32, 64), latent_dim=64)
config.train.update(steps=300, log_every=50, test_every=0)
try:
  config.train.learnin_rate = 1e-3
except AttributeError as error:
  print(error)

# %% [markdown]
# ## Training
#
# One call. The first step takes ten seconds or more, because JAX *compiles* the whole training step
# (forward, backward, optimizer) into one program for this shape of batch; the other steps run it.
# There is no `model.train()`, no `optimizer.zero_grad()`, no `.to(device)`: a step is a function
# from (parameters, batch, key) to new parameters.
#
# The networks' sizes are printed first. The folder holds checkpoints, `metrics.jsonl`
# and pictures; the same call again would find all steps done and return at once.

# %%
finished, last = train.train_and_evaluate(config, 'runs/train')
print(finished, {name: round(value, 4) for name, value in last.items() if name.startswith('test/')})

# %% [markdown]
# `test/reconstruction` is the mean squared error of test images in [-1, 1]. To judge it, the error
# of the best single guess, the mean of all training images:

# %%
sets = {split: data.load(config.data, 16, 1, split) for split in ('train', 'test')}
pixels = {split: data.normalize(np.asarray(images[:])) for split, images in sets.items()}
print(((pixels['test'] - pixels['train'].mean(0)) ** 2).mean().round(4))

# %% [markdown]
# ## Looking
#
# `inference.restore` gives the model with the newest checkpoint's variables, and knows the folder:

# %%
trained = inference.restore(config, 'runs/train')
rows = writer.read_metrics(trained.workdir)
steps = [row['step'] for row in rows]
plt.figure(figsize=(5, 2.6))
plt.plot(steps, [row['train/reconstruction'] for row in rows], label='reconstruction')
plt.plot(steps, [row['train/distance'] for row in rows], label='distance of prior and posterior')
plt.yscale('log')
plt.minorticks_off()
plt.xlabel('step')
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# `encode`, `decode`, `reconstruct` and `generate` take and give NumPy arrays, in batches, on all
# devices.

# %%
images = np.asarray(trained.images('test')[:16])


def show(images, columns):
  """A grid of images of bytes."""
  plt.figure(figsize=(columns * 0.55, len(images) / columns * 0.55))
  plt.imshow(pictures.grid(images, columns).squeeze(), cmap='gray', vmin=0, vmax=255)
  plt.axis('off')
  plt.show()


show(samples.reconstructions(trained, images), columns=8)

# %% [markdown]
# Test images, and below each row what the decoder makes of 8 steps of 64 zeros and ones. That
# latent is all that the decoder sees:

# %%
z_BTD = trained.encode(images)
print(z_BTD.shape, z_BTD.dtype, 'values:', np.unique(z_BTD), 'mean rate:', z_BTD.mean().round(3))

# %% [markdown]
# ## Generating
#
# The first six of the eight steps of z are drawn from patterns, which were fitted when training
# ended (`model.latent=mixture`). The prior network makes the last two, each from all before; the
# decoder makes an image of it. `seed` is all the randomness there is: the same seed gives the same
# digits. (There is no global generator in JAX; what is random is given a *key*, and `generate`
# makes keys of its seed.)

# %%
generated = trained.generate(48, seed=0)
print(generated.shape, 'from', generated.min().round(2), 'to', generated.max().round(2))
show(samples.quantized(generated), columns=12)
assert np.array_equal(generated, trained.generate(48, seed=0))

# %% [markdown]
# Many are digits, some are between digits: the training was short. `make train` trains a model that
# is twice as wide for longer, evaluates it, and writes a report. From the command
# line, more of this run's samples are
#
#     python -m fsvae_jax.main --mode=generate --workdir=runs/train --count=48 --seed=1
#
# Next: [what happens inside a layer](layer.md).

# %% [markdown]
# # Out of the lab
#
# A trained model lives in a folder of checkpoints and in this package. This page takes it to three
# other places: a file of weights, a program that needs JAX alone, and spiking graphs that
# neuromorphic simulators and chips read. Each comes back, and is compared. The model is that of
# [the first tutorial](train.md): the same call finds it trained, or trains it now. The libraries
# come with `pip install 'fsvae_jax[nir,stablehlo]'`.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import fsvae_jax
from fsvae_jax import configuration, inference, samples, train
from fsvae_jax.exchange import export, nir, nir_simulator
from fsvae_jax.run import pictures

config = configuration.load('digits')
config.model.update(features=(16, 32, 64), latent_dim=64)
config.train.update(steps=300, log_every=50, test_every=0)
train.train_and_evaluate(config, 'runs/train')
trained = inference.restore(config, 'runs/train')

# %% [markdown]
# ## Weights
#
# On the command line this is `--mode=export --workdir=runs/train --format=safetensors`. The folder
# has arrays, the configuration, and a card that says where they come from. `fsvae_jax.load` reads
# it, on any machine, and the same seed draws the same digits:

# %%
export.write(config, 'runs/train', 'safetensors')
loaded = fsvae_jax.load('runs/train/export/safetensors')
print('equal:', np.array_equal(loaded.generate(24), trained.generate(24)))

# %% [markdown]
# ## A program
#
# `--format=stablehlo` writes `generate`, `reconstruct` and `decode` as compiled-to-be programs with
# the weights inside. What is random in a sample is an argument, for the program has no state and no
# seed: which of K spikes is picked for each step and channel, and uniform numbers, of which the
# mixture makes the first three quarters of the steps. Here it is called in the same process;
# elsewhere it needs `jax` and `flatbuffers`, and nothing of this package.

# %%
export.write(config, 'runs/train', 'stablehlo')
with open('runs/train/export/stablehlo/generate.jax', 'rb') as file:
  generate = jax.jit(jax.export.deserialize(bytearray(file.read())).call)
c = config.model
rng = np.random.default_rng(0)
draws = {
  'picks': rng.integers(0, c.draws, (24, c.timesteps, c.latent_dim), np.int32),
  'uniform': rng.random((24, 1 + c.latent_dim), np.float32),
}
generated = np.asarray(generate(draws))


def show(images, columns):
  """A grid of images of bytes."""
  plt.figure(figsize=(columns * 0.55, len(images) / columns * 0.55))
  plt.imshow(pictures.grid(images, columns).squeeze(), cmap='gray', vmin=0, vmax=255)
  plt.axis('off')
  plt.show()


show(samples.quantized(generated), columns=12)

# %% [markdown]
# ## Spikes for other simulators
#
# NIR, the Neuromorphic Intermediate Representation, describes a network as a graph of neurons and
# synapses. tdBN is folded into weights; each of the four networks is a graph. A simulator of plain
# NumPy, which shares no code with the model, runs the decoder on latents of test images, step by
# step, and the host sums up what comes out:

# %%
export.write(config, 'runs/train', 'nir')
graph = nir.read('runs/train/export/nir/decoder.nir')
print(' -> '.join(type(graph.nodes[name]).__name__ for name in nir_simulator.chain(graph)))

images = np.asarray(trained.images('test')[:12])
z_BTD = trained.encode(images)
outputs, _ = nir_simulator.run(graph, z_BTD)
y_BTF = outputs['output'].reshape(*z_BTD.shape[:2], -1)
weights_T = np.asarray(graph.metadata['readout_weights'])
drawn = np.tanh(np.einsum('t,btf->bf', weights_T, y_BTF)).reshape(images.shape)
print('largest difference of a pixel:', np.abs(drawn - trained.decode(z_BTD)).max())
show(np.concatenate([images, samples.quantized(drawn)]), columns=12)

# %% [markdown]
# The spikes are the same, every one; pixels differ by rounding. [NIR](../how-to/nir.md) has that
# comparison for norse, snnTorch and SpikingJelly, the loop in which a host picks z from the prior's
# graph, and what a chip has to hold; [export](../how-to/export.md) has sizes and the other formats.

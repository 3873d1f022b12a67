# %% [markdown]
# # Energy: where the joules go
#
# Spikes promise cheap hardware: a spike costs an *addition* for each neuron that it reaches, and no
# spike costs nothing, where an ordinary network multiplies everywhere. Whether that pays is a
# matter of counting. The model is that of [the first tutorial](train.md).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from fsvae_jax import configuration, data, inference, train
from fsvae_jax.metrics import operations, spikes
from fsvae_jax.metrics.made import Made

config = configuration.load('digits')
config.model.update(features=(16, 32, 64), latent_dim=64)
config.train.update(steps=300, log_every=50, test_every=0)
train.train_and_evaluate(config, 'runs/train')
trained = inference.restore(config, 'runs/train')
config.eval.update(seeds=1, probe=100)

# %% [markdown]
# ## Every layer counts itself
#
# The metric runs test images and samples through the model, records how often every neuron fired,
# and multiplies by how many targets it has. An accumulate is taken to cost 0.9 pJ, a
# multiply-accumulate 4.6 pJ (`eval.ac_pj`, `eval.mac_pj`): figures for 32 bits in 45 nm.

# %%
metric, test_images = (
  spikes.evaluate(trained, trained.images),
  np.asarray(trained.images('test')[:100]),
)
result = metric.result([metric.measure(Made(trained, test_images, count=100, seed=0))])
rows, total = (result.details[part]['reconstruct'] for part in ('layers', 'totals'))
print('layer                rate   spikes, uJ   ANN, uJ')
for row in [*rows, {'layer': 'all', **total}]:
  rate, energies = row.get('firing_rate', 0), (row['energy_uj'], row['ann_energy_uj'])
  print('{:18} {:6.2f}   {:10.3f}   {:7.3f}'.format(row['layer'], rate, *energies))

# %%
names, y = [row['layer'] for row in rows], np.arange(len(rows))
plt.figure(figsize=(6, 3.6))
plt.barh(y - 0.2, [row['energy_uj'] for row in rows], 0.4, label='spikes')
plt.barh(y + 0.2, [row['ann_energy_uj'] for row in rows], 0.4, label='ANN of the same shape')
plt.yticks(y, names)
plt.gca().invert_yaxis()
plt.xlabel('uJ an image')
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# Look at the posterior: the ANN has no such network, so that all that this one takes is extra
# cost. Its last layer, K neurons for each latent channel, is the largest of all. Spikes win most in
# the decoder's last layers, where many neurons are mostly silent. (`decoder/pixels` has no neurons
# of its own.)
#
# ## Break-even
#
# If every neuron fired at every step, there would be an addition for each synapse at each of T
# steps. The *SOP rate* is the share of those that happen, and break-even is the rate at which both
# cost the same. It does not depend on the training; the rate does.

# %%
pj = config.eval.ac_pj, config.eval.mac_pj
print(f'SOP rate {total["sop_rate"]:.3f}, break-even {operations.break_even(total, pj):.3f}')

# %% [markdown]
# This model is below it: spikes pay. With the published 16 steps and 20 draws it would not be, on
# the same images: for each step and draw the posterior pays, and the ANN does not. At 32x32 pixels,
# where convolutions weigh more, it depends on the training
# ([limits](../explanation/limits.md#energy)).
#
# ## Fewer steps
#
# What can be done? Spikes can be made rarer, or steps fewer. Decoding fewer steps than were trained
# costs quality at once, and the decoder's energy falls with the steps:

# %%
images = np.asarray(trained.images('test')[:100])
z_NTD, pixels = trained.encode(images), data.normalize(images)


def of_decoding(model, variables, key, z_BTD):
  """What `Trained.means` runs over all latents, compiled: each layer's operations."""
  return jax.tree.map(jnp.asarray, model.operations(variables, z_BTD))


def decoder_uj(z_NTD):
  layers = trained.means(of_decoding, z_NTD)
  counts = [operations.count(layers[name]) for name in layers if name.startswith('decoder')]
  return operations.energy_uj(sum(own['accumulates'] for own in counts), 0, pj)


steps = (2, 3, 4, 6, 8)
errors = [np.mean((trained.decode(z_NTD[:, :t]) - pixels) ** 2) for t in steps]
energies = [decoder_uj(z_NTD[:, :t]) for t in steps]
plt.figure(figsize=(5, 2.8))
plt.plot(energies, errors, 'o-')
for t, x, y in zip(steps, energies, errors, strict=True):
  plt.annotate(f'T={t}', (x, y), xytext=(3, 4), textcoords='offset points', fontsize=8)
plt.xlabel('uJ, decoder')
plt.ylabel('squared error')
plt.show()

# %% [markdown]
# A model *trained* with fewer steps does better than one that is stopped early, since its read-out
# expects them: `--config.model.timesteps=4`. What the figures leave out is said in
# [limits](../explanation/limits.md): memory traffic above all, and neurons' own updates.

"""Latents: how z comes about. One file a latent, and a row here: config -> `interface.Latent`."""

from fsvae_jax.models.latents import bernoulli, mixture, rate

LATENTS = {'bernoulli': bernoulli.make, 'mixture': mixture.make, 'rate': rate.make}

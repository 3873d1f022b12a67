"""FSVAE: the Fully Spiking Variational Autoencoder (arXiv 2110.00375) in JAX."""

__version__ = '0.2.0.dev0'

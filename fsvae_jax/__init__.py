"""FSVAE: the Fully Spiking Variational Autoencoder (arXiv 2110.00375) in JAX."""

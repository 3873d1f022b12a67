"""Latents: how z comes about. One file a latent."""

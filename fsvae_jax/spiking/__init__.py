"""Spiking layers as pure functions: no Flax, no config, no VAE. Arrays are [B, T, ..., C]."""

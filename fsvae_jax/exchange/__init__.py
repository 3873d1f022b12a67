"""Checkpoints from and to other codes."""

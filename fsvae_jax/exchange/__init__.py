"""Models from and to other codes: checkpoints, weights, graphs, programs."""

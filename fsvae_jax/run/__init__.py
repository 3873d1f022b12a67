"""What surrounds a step: files, processes, devices, checkpoints, what a run leaves to read."""

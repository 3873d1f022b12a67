"""How XLA is made to run a layer fast and split over devices: no spike, no Flax, no config."""

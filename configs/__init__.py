"""One file a data set: `--config=NAME`, or `--config=NAME:ann` for the ANN VAE."""

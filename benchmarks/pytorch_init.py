"""Initial weights of the MNIST model as PyTorch draws them, in the reference's names and shapes.

python -m benchmarks.pytorch_init --seed=0 --out=init.npz                 # needs PyTorch
python -m benchmarks.fidelity --seeds 0 --start=init.npz
"""

import argparse

import numpy as np
import torch
from torch import nn


def layers(latent_dim=128, draws=20):
  """(name, module, features or None without tdBN), in the order in which they are drawn."""
  d, window = latent_dim, (3, 3, 1)
  for i, (inputs, features) in enumerate(((1, 32), (32, 64), (64, 128), (128, 256))):
    yield f'encoder.{i}', nn.Conv3d(inputs, features, window), features
  yield 'before_latent_layer', nn.Linear(1024, d), d
  for net, inputs in (('posterior', 2 * d), ('prior', d)):
    for i, features in enumerate((2 * d, 4 * d, draws * d)):
      yield f'{net}.layers.{i}', nn.Linear(inputs, features), features
      inputs = features
  yield 'decoder_input', nn.Linear(d, 1024), 1024
  for i, (inputs, features) in enumerate(((256, 128), (128, 64), (64, 32))):
    yield f'decoder.{i}', nn.ConvTranspose3d(inputs, features, window), features
  yield 'final_layer.0', nn.ConvTranspose3d(32, 32, window), 32
  yield 'final_layer.1', nn.ConvTranspose3d(32, 1, window), None


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', required=True)
  args = parser.parse_args()
  torch.manual_seed(args.seed)
  state = {}
  for name, module, features in layers():
    state |= {f'{name}.{k}': v.detach().numpy() for k, v in module.named_parameters()}
    if features:
      ones, zeros = np.ones(features, np.float32), np.zeros(features, np.float32)
      state |= {f'{name}.bn.weight': ones, f'{name}.bn.bias': zeros}
      state |= {f'{name}.bn.running_mean': zeros, f'{name}.bn.running_var': ones}
  np.savez(args.out, **state)


if __name__ == '__main__':
  main()

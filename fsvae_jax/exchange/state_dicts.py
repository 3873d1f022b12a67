"""State dicts of PyTorch in files: `.pth`, which needs PyTorch, or `.npz` of the same arrays.

A file is only read, as tensors, and never run, as pickled modules would be.
"""

import os
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from fsvae_jax.run import files

_PYTORCH = (b'PK', b'\x80')  # how files of torch.save begin: zip, and once pickle


def load(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """{name: array} of a `.pth` or an `.npz` file, under the names of the bare model.

  A `.pth` file may hold the state dict beside other entries (epoch, optimizer), and either may name
  it as wrappers do: `module.`, `_orig_mod.`. Floating-point numbers of any width become float32.

  Raises:
    ValueError: for a file that cannot be read, or holds no state dict, or several.
    FileNotFoundError: if it is not there.
    ImportError: if it needs PyTorch, which is not installed.
  """
  path = files.expand(path, '--checkpoint')
  if path.is_dir():
    raise ValueError(f'{path} is a folder; a checkpoint is a file')
  if not path.is_file():
    raise FileNotFoundError(f'no checkpoint at {path}')
  if not os.access(path, os.R_OK):
    raise ValueError(f'{path} may not be read: see who may')
  state = _load_npz(path) if path.suffix.lower() == '.npz' else _load_pth(path)
  bare = _bare_names(state)
  if len(set(bare)) < len(bare):
    twice = next(name for name in bare if bare.count(name) > 1)
    raise ValueError(f'{path} holds {twice} twice, with and without a prefix: save one model alone')
  return {name: float32(array) for name, array in zip(bare, state.values(), strict=True)}


def _load_npz(path):
  try:
    with np.lib.npyio.NpzFile(path.open('rb'), own_fid=True) as arrays:
      return {name: np.asarray(arrays[name]) for name in arrays}
  except Exception as error:  # whatever zipfile, zlib and NumPy raise, which advises to unpickle
    raise ValueError(
      f'{path} cannot be read as an .npz file of numbers ({type(error).__name__}): it is cut short '
      'or damaged, or holds Python objects; save the arrays of its state_dict() with numpy.savez'
    ) from None


def _load_pth(path):
  with path.open('rb') as file:
    begin = file.read(16)
  if not begin.startswith(_PYTORCH):
    found = f'begins with {begin!r}' if begin else 'is empty'
    raise ValueError(
      f'{path} {found}, which is nothing that PyTorch saves (is it a web page, or a Git LFS '
      'pointer?): get the checkpoint itself, and save its state_dict()'
    )
  try:
    import torch
  except ImportError as error:
    raise ImportError(
      f'reading {path} needs PyTorch: pip install "fsvae_jax[torch]", or save its arrays as .npz'
    ) from error
  try:
    saved = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # of all kinds; PyTorch's advice, to run what the file says, is none
    raise ValueError(
      f'{path} cannot be read as tensors ({type(error).__name__}): it is cut short or damaged, or '
      'holds Python objects, as a whole module is; save its state_dict() alone, with torch.save'
    ) from None
  is_state = lambda x: _is_named(x) and all(map(torch.is_tensor, x.values()))
  dicts = {way: x for way, x in _within('', saved) if is_state(x) and any('.' in n for n in x)}
  if len(dicts) != 1:
    held = f'several state dicts ({", ".join(dicts)})' if dicts else 'no state dict of tensors'
    raise ValueError(f'{path} holds {held}: save the state_dict() of the model alone')
  return {name: _numpy(path, name, tensor) for name, tensor in dicts.popitem()[1].items()}


def _is_named(x):
  return isinstance(x, dict) and bool(x) and all(isinstance(name, str) for name in x)


def _within(way, x):
  """(name, x) and of everything in it that is named; an optimizer numbers what it holds."""
  yield way, x
  if _is_named(x):
    for name, inner in x.items():
      yield from _within(f'{way}/{name}'.lstrip('/'), inner)


def _numpy(path, name, tensor):
  tensor = tensor.detach()
  try:
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
  except Exception as error:  # sparse, quantized, or without content
    raise ValueError(
      f'{path}: {name} cannot be read as an array ({tensor.layout}, {tensor.dtype})'
    ) from error


def _bare_names(names):
  """Without `module.` and `_orig_mod.` anywhere, and without a first part that all have."""
  wrappers = ('module', '_orig_mod')
  split = [[part for part in name.split('.') if part not in wrappers] for name in names]
  while split and len({parts[0] for parts in split if parts}) == 1 and min(map(len, split)) > 1:
    split = [parts[1:] for parts in split]
  return ['.'.join(parts) for parts in split]


def float32(array: np.ndarray) -> np.ndarray:
  """Floating-point numbers in our width; others stay as they are, and do not fit."""
  with np.errstate(over='ignore'):  # what was finite and is not any more does not fit either
    return array.astype(np.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array


def save(path: pathlib.Path, state: Mapping[str, np.ndarray]) -> None:
  """Writes a `.pth` file of tensors; ImportError without PyTorch."""
  import torch

  torch.save({name: torch.from_numpy(np.array(x)) for name, x in state.items()}, path)

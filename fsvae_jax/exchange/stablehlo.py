"""Programs that need nothing but JAX: generate, reconstruct and decode, with the weights inside.

What is random is an argument, so that the same draws give the same images here and there. One
image is traced and batched by `vmap`: the batch stays a symbol, `b`, and may be of any size.
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import flatbuffers  # noqa: F401  # which jax.export needs, and misses too late to say whose extra
import jax
import numpy as np

from fsvae_jax.compute import platform
from fsvae_jax.inference import Trained
from fsvae_jax.run import files

PLATFORMS = ('cpu', 'cuda', 'tpu')
SUMS = 'SHA256SUMS'

_README = """# {model} on {data}, step {step}, as programs of JAX

Each file is a program of `jax.export` (StableHLO) for {platforms}, with the weights inside; it was
written by JAX {version}. JAX of up to six months later reads it, and of up to three weeks before.
`sha256sum -c {sums}` says whether they are whole. `pip install jax flatbuffers` is all that they
need:

    import jax
    from jax import export

    generate = jax.jit(export.deserialize(bytearray(open('generate.jax', 'rb').read())).call)
    images = generate(draws{label})  # in [-1, 1]

`b` is any number of images, the same in all arguments.

| program | arguments | result |
|---|---|---|
{programs}

Draws named `picks` are integers from 0 to {largest}, all equally likely; `uniform` are uniform
between 0 and 1; others are of the standard normal distribution.{classes}
"""

_CLASSES = """ The last argument
is each image's label, 0 to {last}; -1 is none."""


def programs(trained: Trained) -> dict[str, jax.export.Exported]:
  """{name: program} for all PLATFORMS, of a batch of any size.

  reconstruct  (image [b, H, W, C] in [-1, 1], draws) -> image
  decode       (latent [b, ...])                      -> image
  generate     (draws)                                -> image, of a model that has a prior

  Draws and latent are the model's: of `Model.draw(key, b, train=False)` and `Model.encode`. With
  classes, the last argument of each is the images' label, int32 [b]; -1 is none.
  """
  model, c = trained.model, trained.config.model
  variables = jax.device_get(trained.variables)
  image = jax.ShapeDtypeStruct((1, c.image_size, c.image_size, c.channels), np.float32)
  draws = jax.eval_shape(lambda: model.draw(jax.random.key(0), 1, train=False))
  latent = jax.eval_shape(model.posterior, variables, image, draws)
  told = (jax.ShapeDtypeStruct((1,), np.int32),) * (model.classes > 0)

  def of(function):
    def run(*args):
      label = args[len(args) - len(told) :]
      return model.decode(variables, function(variables, *args), *label)

    return run

  made = {
    'reconstruct': _exported(of(model.posterior), image, draws, *told),
    'decode': _exported(functools.partial(model.decode, variables), latent, *told),
  }
  if model.prior is None:
    return made
  return made | {'generate': _exported(of(model.prior), draws, *told)}


def _exported(function: Callable, *of_one: Any) -> jax.export.Exported:
  """`function` of arguments of one image, as a program of any number."""
  (batch,) = jax.export.symbolic_shape('b')
  alone = lambda *args: function(*jax.tree.map(lambda x: x[None], args))[0]
  args = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), of_one)
  with platform.for_any():
    return jax.export.export(jax.jit(jax.vmap(alone)), platforms=PLATFORMS)(*args)


def export(trained: Trained, folder: pathlib.Path) -> None:
  """Writes a file a program, their sums, and README.md: what they take, and how to call them."""
  rows, sums = [], []
  for name, program in programs(trained).items():
    content = bytes(program.serialize())
    files.write_bytes(folder / f'{name}.jax', content)
    sums.append(f'{hashlib.sha256(content).hexdigest()}  {name}.jax\n')
    shown = [f'{x.dtype}[{", ".join(map(str, x.shape))}]' for x in program.in_avals]
    arguments, _ = jax.tree.unflatten(program.in_tree, shown)
    (image,) = program.out_avals
    told = ', '.join(map(str, arguments)).replace("'", '')
    rows.append(f'| {name}.jax | {told} | {image.dtype}[{", ".join(map(str, image.shape))}] |')
  files.write_text(folder / SUMS, ''.join(sums))
  text = _README.format(
    model=trained.config.model.name,
    data=trained.config.data.name,
    step=trained.step,
    platforms=', '.join(PLATFORMS),
    version=jax.__version__,
    sums=SUMS,
    programs='\n'.join(rows),
    largest=trained.config.model.get('draws', 1) - 1,
    label=', label' if trained.model.classes else '',
    classes=_CLASSES.format(last=trained.model.classes - 1) if trained.model.classes else '',
  )
  files.write_text(folder / 'README.md', text)


def read(path: str | pathlib.Path) -> jax.export.Exported:
  """The program in a file that `export` wrote.

  Raises:
    ValueError: for a file that is damaged, none of these, or too new for the JAX that runs.
    FileNotFoundError: if it is not there.
  """
  path = files.expand(path, 'path')
  content = path.read_bytes()
  sums = path.with_name(SUMS)
  lines = sums.read_text(errors='replace').splitlines() if sums.exists() else []
  known = {name.strip(' *'): digest for digest, _, name in (line.partition(' ') for line in lines)}
  if known.get(path.name) not in (None, hashlib.sha256(content).hexdigest()):
    raise ValueError(f'{path} is damaged: its sum is not that in {sums}; export the run again')
  try:
    return jax.export.deserialize(bytearray(content))
  except Exception as error:  # of all kinds
    raise ValueError(
      f'{path} cannot be read by JAX {jax.__version__} ({type(error).__name__}: {error}): it is no '
      'program of jax.export, cut short, or written by a JAX that is weeks newer or months older'
    ) from error

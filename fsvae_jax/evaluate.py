"""Evaluation of a checkpoint: metrics, eval.json, pictures, the report."""

import importlib.metadata
import json
import os
import pathlib
import platform
import time

import jax
import numpy as np

from fsvae_jax import data, report, writer
from fsvae_jax.metrics import METRICS, robustness
from fsvae_jax.trained import Trained


def evaluate(config, workdir, step=None):
  """Computes `config.eval.metrics` of a checkpoint; writes eval.json and report.html in `workdir`.

  Every figure is {'mean', 'std', 'seeds', 'protocol'}: over `eval.seeds` seeds of all draws. What
  is finished is in eval.json at once, whatever happens to the metrics after it.

  Returns:
    The contents of eval.json.

  Raises:
    ValueError, FileNotFoundError: for an unknown metric or a checkpoint that is not there.
  """
  unknown = set(config.eval.metrics) - set(METRICS)
  if unknown or config.eval.seeds < 1:
    raise ValueError(
      f'unknown eval.metrics {", ".join(sorted(unknown))}; known: {", ".join(METRICS)}'
      if unknown
      else f'eval.seeds is {config.eval.seeds}; it must be at least 1'
    )
  workdir = pathlib.Path(workdir)
  trained = Trained(config, workdir, step)
  told = {'run': about(trained), 'seconds': {}, 'missing': {}, 'details': {}}
  for name in config.eval.metrics:
    begin = time.perf_counter()
    result = METRICS[name](trained)
    told |= {figure: value.summary() for figure, value in result.figures.items()}
    told['seconds'][name] = round(time.perf_counter() - begin, 1)
    told['details'] |= {name: result.details} if result.details else {}
    told['missing'] |= {name: result.missing} if result.missing else {}
    save(workdir / 'eval.json', told)
    say(name, result)
  told['twin'] = twin(config, workdir)
  save(workdir / 'eval.json', told)
  shown = pictures(trained)
  if jax.process_index() == 0:
    report.write(workdir, told, config.to_dict(), writer.read_metrics(workdir), *shown)
    print(f'figures are in {workdir}/eval.json, the report is {workdir}/report.html')
  return told


def save(path, told):
  """Writes JSON; the file is whole at any moment."""
  if jax.process_index() == 0:
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(told, indent=1) + '\n')
    partial.replace(path)


def say(name, result):
  """Prints a metric's figures."""
  if jax.process_index() != 0:
    return
  for figure, value in result.figures.items():
    s = value.summary()
    spread = '' if s['std'] is None else f' +- {s["std"]:.2g} ({s["seeds"]} seeds)'
    print(f'{figure:32s} {s["mean"]:.4g}{spread}', flush=True)
  if result.missing:
    print(f'{name} not computed: {result.missing}', flush=True)


def about(trained):
  """What was evaluated, with which versions, on what."""
  device = jax.devices()[0]
  versions = ('fsvae_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
    'model': trained.config.model.name,
    'data': trained.config.data.name,
    'step': trained.step,
    'test_images': len(trained.test_images),
    'generated_images': trained.config.eval.images,
    'parameters': sum(x.size for x in jax.tree.leaves(trained.variables['params'])),
    'devices': f'{jax.device_count()} x {device.device_kind} ({device.platform})',
    'host': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
    'versions': {'python': platform.python_version()}
    | {name: importlib.metadata.version(name) for name in versions},
  }


def twin(config, workdir):
  """Figures of the conventional VAE's evaluation, `eval.twin` or `<workdir>_ann`; {} if none is."""
  folder = pathlib.Path(config.eval.twin or f'{workdir}_ann')
  if config.model.name != 'fsvae' or not (folder / 'eval.json').is_file():
    return {}
  told = json.loads((folder / 'eval.json').read_text())
  return {
    name: value for name, value in told.items() if isinstance(value, dict) and 'mean' in value
  }


def pictures(trained, count=16):
  """PNG pictures {name: bytes}, and one test image's spikes {layer: [T, neurons]}."""
  images = np.asarray(trained.test_images[:count])
  again = data.quantize(trained.reconstruct(images))
  made = {'reconstructions': writer.grid(np.concatenate([images, again]), len(images))}
  if trained.model.sample is not None:
    made['samples'] = writer.grid(np.asarray(data.quantize(trained.generate(64))), 8)
    latents = trained.encode(images[:8])
    steps, rng = 8, np.random.default_rng(trained.config.seed)
    if trained.model.record is None:
      path = lambda a, b: np.stack([a + s * (b - a) for s in np.linspace(0, 1, steps)])
    else:
      path = lambda a, b: robustness.interpolate(a, b, steps, rng)
    ways = [path(a, b) for a, b in zip(latents[::2], latents[1::2], strict=True)]
    decoded = np.asarray(data.quantize(trained.decode(np.concatenate(ways))))
    made['interpolation'] = writer.grid(decoded, steps)
  rasters = {}
  if trained.model.record is not None:
    rasters = {
      name: spikes_BTF[0].reshape(len(spikes_BTF[0]), -1)
      for name, spikes_BTF in trained.over(record_spikes(trained.model), images[:1]).items()
    }
  return {name: writer.png(picture) for name, picture in made.items()}, rasters


def record_spikes(model):
  """A function for `Trained.over` that gives all spikes of images' reconstruction."""

  def run(variables, key, images):
    image_BHWC = data.normalize(images)
    latent = model.encode(variables, image_BHWC, key)
    return model.record('spikes', variables, latent, image_BHWC)

  return run


def write_images(config, workdir, mode, count, step=None, seed=0):
  """Writes `count` generated images, or reconstructed test images, below `workdir`.

  Args:
    mode: 'generate' or 'reconstruct'; also the name of the folder.
    count: number of images.
    step: of the checkpoint; default: the newest.
    seed: of the draws.

  Raises:
    ValueError: for a count below one or above the number of test images.
  """
  trained = Trained(config, workdir, step)
  if count < 1 or (mode == 'reconstruct' and count > len(trained.test_images)):
    most = f' and at most {len(trained.test_images)}' if mode == 'reconstruct' else ''
    raise ValueError(f'--count is {count}; it must be at least 1{most}')
  if mode == 'generate':
    arrays = {'generated': np.asarray(data.quantize(trained.generate(count, seed)))}
  else:
    images = np.asarray(trained.test_images[:count])
    again = np.asarray(data.quantize(trained.reconstruct(images, seed)))
    arrays = {'images': images, 'reconstructions': again}
  folder = pathlib.Path(workdir) / mode
  if jax.process_index() == 0:
    writer.save_images(folder, columns=8, **arrays)
    print(
      f'{count} images of step {trained.step} are in {folder}: grid.png, images.npz, single PNGs'
    )

"""Programs of jax.export: the package's images, bit for bit, of any batch, without the package."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from fsvae_jax.models import latents
from tests.exchange import trained as make_trained

stablehlo = pytest.importorskip('fsvae_jax.exchange.stablehlo')
pytestmark = pytest.mark.usefixtures('quick_compilation')

FAMILY = {latent: {'latent': latent} for latent in latents.LATENTS} | {
  'ann_vae': {'name': 'ann_vae'}
}
FAMILY['mixture'] |= {'classes': 3}
FAMILY['rate'] |= {'readout': 'attention', 'learned': ('tau',)}


def some(trained, count):
  """Images and draws."""
  images = np.random.default_rng(0).uniform(-1, 1, (count, 8, 8, 1)).astype('f')
  return images, jax.device_get(trained.model.draw(jax.random.key(1), count, train=False))


def packages(trained, images, draws):
  """{program: (arguments, images)} of the package."""
  model, variables = trained.model, jax.device_get(trained.variables)
  decode, posterior = jax.jit(model.decode), jax.jit(model.posterior)
  label = (np.arange(len(images), dtype=np.int32) - 1,) * (model.classes > 0)  # -1, 0, 1, ...
  latent = posterior(variables, images, draws, *label)
  again = decode(variables, latent, *label)
  made = {'reconstruct': ((images, draws, *label), again), 'decode': ((latent, *label), again)}
  if model.prior:
    sampled = jax.jit(model.prior)(variables, draws, *label)
    made['generate'] = (draws, *label), decode(variables, sampled, *label)
  return made


@pytest.mark.parametrize('kind', FAMILY)
def test_every_model_of_the_family_gives_the_packages_images_spiking_ones_bit_for_bit(
  tmp_path, kind
):
  trained = make_trained.make(tmp_path, **FAMILY[kind])
  programs = stablehlo.programs(trained)
  wanted = packages(trained, *some(trained, 5))
  assert programs.keys() == wanted.keys()
  assert wanted['reconstruct'][1].std(0).max() > 1e-3  # images are not all alike
  for name, (arguments, images) in wanted.items():
    assert programs[name].platforms == ('cpu', 'cuda', 'tpu')
    again = programs[name].call(*arguments)
    if trained.model.record:
      np.testing.assert_array_equal(again, images)
    else:  # sums in another order: there are no spikes to hide it
      np.testing.assert_allclose(again, images, atol=1e-6)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
  trained = make_trained.make(tmp_path_factory.mktemp('run'), latent='mixture')
  folder = tmp_path_factory.mktemp('exported')
  stablehlo.export(trained, folder)
  return trained, folder


FRESH = """
import sys, jax, numpy as np
from jax import export
assert not {'fsvae_jax', 'flax'} & sys.modules.keys()
generate = jax.jit(export.deserialize(bytearray(open('generate.jax', 'rb').read())).call)
for count in (1, 7):
  given = np.load(f'{count}.npz')
  draws = {name: given[name] for name in ('picks', 'uniform')}
  assert (generate(draws) == given['images']).all()
"""


def test_a_process_without_the_package_draws_the_same_images_in_batches_of_any_size(exported):
  trained, folder = exported
  model, variables = trained.model, trained.variables
  generate = jax.jit(lambda draws: model.decode(variables, model.prior(variables, draws)))
  for count in (1, 7):
    _, draws = some(trained, count)
    np.savez(folder / f'{count}.npz', **draws, images=generate(draws))
  code = ['-c', "import jax; jax.config.update('jax_disable_most_optimizations', True)\n" + FRESH]
  done = subprocess.run([sys.executable, *code], cwd=folder, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_the_folder_says_what_its_programs_take(exported):
  text = (exported[1] / 'README.md').read_text()
  assert (
    '| generate.jax | {picks: int32[b, 3, 6], uniform: float32[b, 7]} | float32[b, 8, 8, 1] |'
    in text
  )
  assert 'integers from 0 to 2' in text


def test_programs_are_read_back_and_other_files_refused(exported, tmp_path):
  file = exported[1] / 'decode.jax'
  assert stablehlo.read(file).in_avals[0].shape[1:] == (3, 6)
  content = file.read_bytes()
  beside = tmp_path / stablehlo.SUMS
  beside.write_text(f'\nof another program\n{(exported[1] / stablehlo.SUMS).read_text()}')
  flipped = bytearray(content)
  flipped[len(content) // 2] ^= 1
  (tmp_path / 'decode.jax').write_bytes(flipped)
  with pytest.raises(ValueError, match='decode.jax is damaged: its sum'):
    stablehlo.read(tmp_path / 'decode.jax')
  beside.unlink()
  for wrong in (b'', b'<html>', content[: len(content) // 2]):
    (tmp_path / 'decode.jax').write_bytes(wrong)
    with pytest.raises(ValueError, match='decode.jax cannot be read by JAX'):
      stablehlo.read(tmp_path / 'decode.jax')
  with pytest.raises(FileNotFoundError):
    stablehlo.read(str(tmp_path / 'nowhere.jax'))

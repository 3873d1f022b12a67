"""Weights in the common format: what is loaded is what was exported; other files are refused."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import fsvae_jax
from fsvae_jax import configuration, figures, inference
from fsvae_jax.configs import digits, mnist
from fsvae_jax.exchange import export, reference, reference_arrays, weights
from fsvae_jax.run import files
from tests import golden
from tests.exchange import trained as make_trained

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  return make_trained.make(tmp_path_factory.mktemp('run'))


@pytest.fixture
def folder(trained, tmp_path):
  weights.export(trained, tmp_path)
  return tmp_path


def test_what_is_loaded_is_the_model_that_was_exported(trained, folder):
  loaded = fsvae_jax.load(folder)
  make_trained.assert_same(loaded.variables, trained.variables)
  assert loaded.model is trained.model and loaded.step == 3
  images = loaded.generate(20)  # in batches, whose size is kept as well
  assert images.shape == (20, 8, 8, 1) and np.abs(images).max() <= 1
  np.testing.assert_array_equal(images, trained.generate(20))


def test_constants_that_layers_have_learned_come_back(tmp_path):
  learning = make_trained.make(tmp_path / 'run', learned=('tau', 'v_th'))
  for form in (weights.export, weights.export_16_bits):
    form(learning, tmp_path)
    loaded = jax.device_get(fsvae_jax.load(tmp_path).variables)
    constant = loaded['params']['encoder']['conv_0']['tau']
    assert constant == learning.variables['params']['encoder']['conv_0']['tau']
    assert constant.shape == ()


def test_16_bits_halve_the_file_and_move_kernels_by_their_rounding_alone(trained, folder, tmp_path):
  half = tmp_path / 'half'
  half.mkdir()
  weights.export_16_bits(trained, half)
  sizes = [(place / weights.FILE).stat().st_size for place in (half, folder)]
  kernels = sum(x.size for x in jax.tree.leaves(trained.variables) if x.ndim > 1)
  assert abs(sizes[1] - sizes[0] - 2 * kernels) < 0.1 * kernels  # the rest is names

  def close(ours, theirs):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=2**-11 if ours.ndim > 1 else 0, atol=2**-24)

  loaded = jax.device_get(fsvae_jax.load(half).variables)
  jax.tree.map(close, loaded, jax.device_get(trained.variables))


def test_what_16_bits_do_not_hold_is_refused_by_name(trained, tmp_path):
  large = jax.tree.map(lambda x: x * 1e9, trained.replicated)
  with pytest.raises(ValueError, match='not finite.*params.encoder.conv_0.synapses.kernel'):
    weights.export_16_bits(trained._replace(replicated=large), tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', weights.names())
def test_weights_that_ship_draw_images(name):
  model = fsvae_jax.load(name)
  images = model.generate(8)
  assert images.shape[0] == 8 and np.isfinite(images).all() and np.abs(images).max() <= 1
  assert images.std(0).mean() > 0.1  # they differ
  assert (images < -0.9).mean() > 0.2 and (images > 0).mean() > 0.02  # light strokes on black
  assert configuration.command(model.config) in (model.workdir / 'README.md').read_text()


def test_the_functions_of_a_loaded_model_take_its_variables_as_they_are(trained):
  model, variables, key = trained.model, trained.variables, jax.random.key(0)
  z = trained.sample(2)
  np.testing.assert_array_equal(jax.jit(model.decode)(variables, z), trained.decode(z))
  assert model.sample(variables, key, 2).shape == z.shape
  assert jax.jit(lambda: model.sample(variables, key, 2))().shape == z.shape


def test_a_loaded_model_takes_lists_and_nothing_at_all():
  model = fsvae_jax.load('digits')
  images, latents = model.generate(2), model.sample(2)
  np.testing.assert_array_equal(model.reconstruct(images.tolist()), model.reconstruct(images))
  for nothing in (model.generate(0), model.decode(latents[:0]), model.reconstruct(images[:0])):
    assert nothing.shape == (0, 16, 16, 1) and nothing.dtype == np.float32
  assert model.encode(images[:0]).shape == (0, 8, 128)


@pytest.mark.parametrize(
  'message, call',
  [
    ("unknown split 'validation'; known: train, test", lambda m: m.images('validation')),
    ('count is 2.5; it must be a whole number', lambda m: m.generate(2.5)),
    ('count is -1; it must be at least 0', lambda m: m.sample(-1)),
    (r'arrays of \[2, 3\] rows', lambda m: m.over(None, np.zeros((2, 1)), np.zeros((3, 1)))),
    ('images are from 200', lambda m: m.encode(np.full((1, 16, 16, 1), 200, jnp.bfloat16))),
    ('seed is 0.5; it must be a whole number', lambda m: m.sample(1, seed=0.5)),
    ('seed is -1001; it must be at least 0', lambda m: m.generate(1, seed=-1001)),
  ],
)
def test_a_loaded_model_refuses_by_name(message, call):
  with pytest.raises(ValueError, match=message):
    call(fsvae_jax.load('digits'))


def test_an_imported_checkpoint_of_the_authors_ends_as_weights(tmp_path):
  state = golden.group(golden.load('fsvae_small'), 'state')
  np.savez(tmp_path / 'theirs.npz', **state)
  config = mnist.get_config()
  config.model.update(timesteps=6, latent_dim=8, draws=4)
  reference.import_checkpoint(tmp_path / 'theirs.npz', config, tmp_path / 'run')
  export.write(config, tmp_path / 'run', 'safetensors')
  loaded = fsvae_jax.load(tmp_path / 'run' / 'export' / 'safetensors')
  make_trained.assert_same(
    loaded.variables, reference_arrays.convert(state, config.model.features, loaded.variables)
  )


def test_the_files_say_how_the_weights_were_made_and_nothing_of_places(trained, folder):
  said = json.loads((folder / 'config.json').read_text())
  assert said['model']['timesteps'] == 3 and 'path' not in said['data'] and 'eval' not in said
  card = (folder / 'README.md').read_text()
  assert str(trained.workdir) not in card + json.dumps(said)
  assert card.startswith('---\nlibrary_name: fsvae_jax\nlicense: mit\n') and 'seed 0' in card
  assert '--config=digits ' in card and '--config.model.timesteps=3' in card


def test_a_figure_that_is_not_finite_is_no_reason_to_refuse_an_export(tmp_path):
  trained = make_trained.make(tmp_path)
  figure = {'mean': None, 'std': None, 'seeds': 3, 'protocol': 'all test images'}
  results = {'run': figures.about(trained, np.zeros((9, 8, 8, 1))), 'figures': {'psnr': figure}}
  files.write_text(tmp_path / 'eval.json', json.dumps(results))
  weights.export(trained, tmp_path)
  assert '| psnr | not finite |' in (tmp_path / 'README.md').read_text()


@pytest.mark.parametrize('other', [{'step': 2}, {'weights': '0123abcd'}], ids=str)
def test_figures_of_other_weights_are_not_on_the_card(tmp_path, other):
  trained = make_trained.make(tmp_path)
  figure = {'mean': 1.5, 'std': None, 'seeds': 3, 'protocol': 'all test images'}
  about = figures.about(trained, np.zeros((9, 8, 8, 1)))
  for run, is_there in ((about, True), (about | other, False)):
    files.write_text(tmp_path / 'eval.json', json.dumps({'run': run, 'figures': {'psnr': figure}}))
    weights.export(trained, tmp_path)
    card = (tmp_path / 'README.md').read_text()
    assert ('| psnr | 1.5 |' in card) == is_there != ('were not evaluated' in card)


@pytest.mark.parametrize('name', ['digits', 'mnist:ann', 'fashion_mnist:esvae'])
def test_the_command_of_a_configuration_names_it_and_what_differs(name):
  config = configuration.load(name)
  config.train.steps, config.model.features = 40, (4, 8)
  config.data.path = '/data/mine'  # which is nobody's but ours
  assert configuration.command(config) == (
    f"python -m fsvae_jax.main --config={name} '--config.model.features=(4, 8)' "
    '--config.train.steps=40'
  )


@pytest.mark.parametrize('name', weights.names())
def test_weights_that_ship_are_of_a_finished_run_by_the_command_of_their_card(name):
  loaded = fsvae_jax.load(name)
  assert loaded.model.fit and inference.is_fitted(loaded.variables)
  command = configuration.command(loaded.config)  # which says of the recipe what differs from it
  assert command in [f'python -m fsvae_jax.main --config={c}' for c in (name, f'{name}_long')]
  assert f'    {command}\n' in (weights.SHIPPED / name / 'README.md').read_text()
  assert loaded.step == loaded.config.train.steps


def test_importing_the_package_waits_for_no_library():
  code = 'import sys, fsvae_jax; sys.exit("jax" in sys.modules or "numpy" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_unknown_names_and_folders_without_weights_are_told_what_there_is(tmp_path):
  for name in ('mnst', tmp_path, tmp_path / 'nowhere'):
    with pytest.raises(
      FileNotFoundError, match='no weights .*digits, .*mnist ship with the package.*export'
    ):
      fsvae_jax.load(name)


def change(folder, **metadata):
  """Writes the weights in `folder` again, with other metadata, or other arrays by name."""
  with safetensors.safe_open(folder / weights.FILE, 'np') as file:
    about = file.metadata() | metadata
  content = safetensors.numpy.load_file(folder / weights.FILE)
  safetensors.numpy.save_file(content, folder / weights.FILE, about)


def cut(folder):
  file = folder / weights.FILE
  file.write_bytes(file.read_bytes()[:-100])


def pointer(folder):
  (folder / weights.FILE).write_text('version https://git-lfs.github.com/spec/v1\nsize 9\n')


def foreign(folder):
  safetensors.numpy.save_file({'a': np.ones(3)}, folder / weights.FILE)


def of_another_model(folder):
  config = digits.get_config().to_dict()
  (folder / 'config.json').write_text(json.dumps(config))


def of_a_later_model(folder):
  said = json.loads((folder / 'config.json').read_text())
  said['model']['hearts'] = 2
  (folder / 'config.json').write_text(json.dumps(said))


WRONG = {
  cut: (ValueError, 'cannot be read .*cut short or damaged'),
  pointer: (ValueError, 'cannot be read .*Git LFS'),
  foreign: (ValueError, 'something else than fsvae_jax'),
  of_another_model: (ValueError, 'does not fit the configured model:\n'),
  of_a_later_model: (ValueError, r'config.json is of fsvae_jax .*this is .*hearts'),
  lambda folder: change(folder, fsvae_jax='2'): (ValueError, 'version 2 of the format.*update it'),
  lambda folder: (folder / 'config.json').unlink(): (FileNotFoundError, 'has no config.json'),
  lambda folder: (folder / 'config.json').write_text('{'): (
    ValueError,
    'config.json is damaged: get it',
  ),
}


@pytest.mark.parametrize('damage', WRONG)
def test_files_that_are_not_weights_of_ours_are_refused_by_name(folder, damage):
  damage(folder)
  kind, said = WRONG[damage]
  with pytest.raises(kind, match=said) as error:
    fsvae_jax.load(folder)
  assert str(folder) in str(error.value)

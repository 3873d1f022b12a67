"""The code of the Frechet distance: the authors' autoencoder, read and run as theirs."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fsvae_jax import evaluate, train
from fsvae_jax.configs import digits, mnist
from fsvae_jax.metrics import fad, frechet
from fsvae_jax.run import sharding

pytestmark = pytest.mark.usefixtures('quick_compilation')

RNG = np.random.default_rng(0)
WIDTHS = (32, 64, 128, 256)


def authors_state(dim=64):
  """A state dict of the authors' autoencoder, its encoder and a part of its decoder."""
  normal = lambda *shape: RNG.normal(size=shape).astype(np.float32)
  state, channels = {'decoder_input.weight': normal(1024, dim)}, 1
  for i, width in enumerate(WIDTHS):
    state[f'encoder.{i}.0.weight'] = normal(width, channels, 3, 3) / np.sqrt(9 * channels)
    state[f'encoder.{i}.0.bias'] = normal(width)
    for name in ('weight', 'bias', 'running_mean'):
      state[f'encoder.{i}.1.{name}'] = normal(width)
    state[f'encoder.{i}.1.running_var'] = normal(width) ** 2 + 0.1
    channels = width
  state['latent_layer.weight'] = normal(dim, 1024)
  state['latent_layer.bias'] = normal(dim)
  return {name: np.asarray(x, np.float32) for name, x in state.items()}


def authors_encoder(state, images_NHWC):
  """The same network written out channels first, as theirs is."""
  x = jnp.moveaxis(images_NHWC, -1, 1)
  for i in range(len(WIDTHS)):
    get = lambda name, i=i: state[f'encoder.{i}.{name}']
    per_channel = lambda v: v[None, :, None, None]
    x = lax.conv_general_dilated(x, get('0.weight'), (2, 2), ((1, 1), (1, 1)))
    x = x + per_channel(get('0.bias')) - per_channel(get('1.running_mean'))
    x = x / jnp.sqrt(per_channel(get('1.running_var')) + 1e-5)
    x = x * per_channel(get('1.weight')) + per_channel(get('1.bias'))
    x = jnp.where(x > 0, x, 0.01 * x)
  return x.reshape(len(x), -1) @ state['latent_layer.weight'].T + state['latent_layer.bias']


@pytest.fixture
def config(tmp_path):
  state = authors_state()
  np.savez(tmp_path / 'mnist_64.npz', **state)
  np.savez(tmp_path / 'mnist_test_64.npz', mu=np.zeros(64), sigma=np.eye(64))
  config = mnist.get_config()
  config.eval.fad_reference = str(tmp_path)
  return config, state


def test_the_authors_code_is_theirs(config):
  config, state = config
  code, statistics, *_ = fad.authors_space(config, sharding.make_mesh())
  images = RNG.integers(0, 256, (300, 32, 32, 1), dtype=np.uint8)  # more than one batch
  with jax.numpy_rank_promotion('allow'):
    want = authors_encoder(state, images / np.float32(127.5) - 1)
  got = code(images)
  np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
  rounding = 1e-6 * np.abs(got).max()  # of two programs: this one does not normalise
  np.testing.assert_allclose(code(images / np.float32(127.5) - 1), got, atol=rounding)
  assert statistics.mean.shape == (64,) and statistics.covariance.shape == (64, 64)


def test_files_that_do_not_fit_are_refused_before_anything_is_trained(config, tmp_path):
  config, _ = config
  config.data.cache_dir = str(tmp_path)
  evaluate.check(config)
  np.savez(tmp_path / 'mnist_test_64.npz', mu=np.zeros(32), sigma=np.eye(32))
  with pytest.raises(ValueError, match='mnist_test_64.npz is of 32 features; expected 64'):
    evaluate.check(config)
  np.savez(tmp_path / 'mnist_test_64.npz', mu=np.full(64, np.nan), sigma=np.eye(64))
  with pytest.raises(ValueError, match='mnist_test_64.npz has numbers that are not finite'):
    evaluate.check(config)
  config.eval.fad_reference = str(tmp_path / 'typo')
  with pytest.raises(ValueError, match='eval.fad_reference is .*no statistics at .*typo.*empty'):
    evaluate.check(config)


def test_the_autoencoder_can_be_trained():
  _, variables = train.checked_model(fad.autoencoder_config(mnist.get_config()))
  assert set(variables['params']) == {'encoder', 'decoder'}


def test_the_authors_statistics_are_of_other_images_than_ours():
  config = mnist.get_config()
  code = lambda images: np.asarray(images, float)
  space = lambda of: fad.Space(code, frechet.gaussian(of), '')
  ours = RNG.normal(size=(10_000, 3))
  assert not fad.of_others(config, space(ours), ours)
  assert 'of 10000 test images, here are 7' in fad.of_others(config, space(ours), ours[:7])
  assert 'are at a distance of 12 from' in fad.of_others(
    config, space(ours + 2), ours
  )  # as KMNIST's, 10,000
  config.data.name = 'digits'  # of which they have none
  assert not fad.of_others(config, space(ours[:7]), ours[:7])


def test_a_place_that_cannot_keep_the_autoencoder_is_refused_at_once(tmp_path, monkeypatch):
  config = mnist.get_config()
  config.data.cache_dir = str(tmp_path / '[fast]')
  with pytest.raises(ValueError, match='data.cache_dir is .*fast.* could not be read again'):
    evaluate.check(config)
  config.data.cache_dir = str(tmp_path / 'cache')
  evaluate.check(config)
  monkeypatch.setattr(evaluate.files, 'is_writable', lambda folder: folder != tmp_path)
  with pytest.raises(ValueError, match='take another data.cache_dir, or leave fad out'):
    evaluate.check(config)
  (tmp_path / 'cache' / 'autoencoders' / 'mnist-64-1').mkdir(parents=True)
  (tmp_path / 'cache' / 'autoencoders' / 'mnist-64-1' / 'finished').touch()
  monkeypatch.setattr(evaluate.files, 'is_writable', lambda folder: False)
  evaluate.check(config)  # it may be this one
  config.data.name = 'fashion_mnist'  # of which it cannot be
  with pytest.raises(ValueError, match='take another data.cache_dir, or leave fad out'):
    evaluate.check(config)


def test_a_state_that_does_not_fit_names_its_tensors(config, monkeypatch):
  config, state = config
  del state['latent_layer.bias']
  state['encoder.2.0.weight'] = state['encoder.2.0.weight'][:3]
  monkeypatch.setattr(fad.state_dicts, 'load', lambda path: state)
  with pytest.raises(ValueError, match=r'(?s)missing: latent_layer.bias.*encoder.2.0.weight is'):
    fad.authors_space(config, sharding.make_mesh())


def test_statistics_that_are_not_there_or_not_such_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no statistics at .*none.npz'):
    frechet.load(tmp_path / 'none.npz')
  (tmp_path / 'page.npz').write_text('<html>not found</html>')
  with pytest.raises(
    ValueError, match='page.npz cannot be read as statistics .*: get it anew'
  ) as e:
    frechet.load(tmp_path / 'page.npz')
  assert 'pickle' not in str(e.value)
  np.savez(tmp_path / 'odd.npz', mean=np.zeros(3))
  with pytest.raises(ValueError, match='odd.npz has mean; expected mu and sigma'):
    frechet.load(tmp_path / 'odd.npz')


def test_the_autoencoders_run_is_the_same_whatever_the_model():
  config = mnist.get_config()
  one = fad.autoencoder_config(config)
  config.train.update(learning_rate=3e-3, batch_size=50, epochs=7, ema_decay=0.9)
  config.seed = 5
  config.model.update(timesteps=4, features=(8, 16), latent_dim=9)
  config.data.flip, config.data.validation = True, 10
  assert fad.autoencoder_config(config).to_dict() == one.to_dict()
  config.eval.fad_epochs = 3
  assert fad.autoencoder_config(config).to_dict() != one.to_dict()


def measured(reconstructions, generated):
  """The figures of a model that makes these of the test images, and of nothing, in pixel space."""
  config = mnist.get_config()
  config.eval.images = 200
  code = lambda images: np.asarray(images, np.float64).reshape(len(images), -1)
  statistics = frechet.gaussian(code(TEST))
  space = fad.Space(code, statistics, 'pixels', code(TEST))
  trained = types.SimpleNamespace(config=config, model=types.SimpleNamespace(sample=True))
  made = types.SimpleNamespace(
    trained=trained, seed=0, reconstructions=reconstructions, generated=generated
  )
  return fad.measure(made, TRAIN, {'': space, '_authors': space._replace(test_ND=None)})


TEST, TRAIN, OTHER = (RNG.normal(size=(300, 2, 2, 1)) for _ in range(3))


def test_a_perfect_autoencoder_is_at_distance_zero_whatever_the_prior_draws():
  values = measured(TEST, OTHER + 5)
  assert abs(values['fad_reconstruction']) < 1e-9
  assert abs(values['fad_reconstruction_authors']) < 1e-9
  assert values['fad'] == pytest.approx(values['fad_authors']) and values['fad'] > 90
  assert values['precision'] == values['recall'] == 0


def test_a_perfect_prior_is_at_the_floor_whatever_the_decoder_loses():
  values = measured(TEST + 5, TRAIN)
  assert values['fad_reconstruction'] == pytest.approx(4 * 25)
  assert values['fad'] < 1 and values['fad_floor'] < 1
  for name in ('precision', 'recall'):
    assert values[name] == pytest.approx(values[f'{name}_floor'], abs=0.1) and values[name] > 0.7
  assert abs(values['kid_code']) < 0.2 and abs(values['kid_code_floor']) < 0.2


def test_every_figure_has_a_protocol():
  values = measured(TEST, OTHER)
  assert {name.removesuffix('_authors') for name in values} == set(fad.PROTOCOLS)
  assert 'precision_authors' not in values


def test_the_autoencoders_widths_are_the_published_ones():
  widths = {32: (32, 64, 128, 256), 64: (32, 64, 128, 256, 512), 16: (32, 64, 128), 28: (32, 64)}
  assert {size: fad._widths(size) for size in widths} == widths
  assert fad._widths(256) == (32, 64, 128, 256, 512, 512, 512) and fad._widths(2) == (32,)


def test_an_autoencoder_is_of_its_images_and_their_size(tmp_path):
  config = digits.get_config()
  config.data.cache_dir = str(tmp_path)
  named = lambda name: lambda split: types.SimpleNamespace(name=f'{name}-{split}')
  folder = lambda name: fad.autoencoder(config, named(name))[1]
  own = folder('a')
  assert own == folder('a') != folder('b')
  config.train.batch_size += 1  # the recipe of the model in question
  assert own == folder('a')
  config.model.features = (8, 16)
  assert own == folder('a')
  config.model.image_size = 8
  assert own != folder('a')

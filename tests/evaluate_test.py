"""Evaluation from a checkpoint to eval.json, images and report, at smoke size."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from configs import digits
from fsvae_jax import evaluate, sharding, train
from fsvae_jax.trained import Trained


def smoke(cache):
  """Digits at 8x8, two convolutions, T = 5; few images, one epoch of the autoencoder."""
  c = digits.get_config()
  c.data.cache_dir = str(cache)
  c.model.update(image_size=8, features=(4, 8), timesteps=5, latent_dim=6, draws=3)
  c.train.update(batch_size=32, steps=40, log_every=10, test_every=20, checkpoint_every=20)
  c.test.update(batch_size=32, images=16, samples=4)
  c.eval.update(seeds=2, images=64, probe=32, fad_epochs=1)
  return c


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A trained and evaluated run, and its configuration."""
  config = smoke(tmp_path_factory.mktemp('cache'))
  workdir = tmp_path_factory.mktemp('runs') / 'digits'
  train.train_and_evaluate(config, workdir)
  return config, workdir, evaluate.evaluate(config, workdir)


def test_every_figure_has_its_spread_and_protocol(run):
  _, workdir, told = run
  assert json.loads((workdir / 'eval.json').read_text()) == json.loads(json.dumps(told))
  figures = {k: v for k, v in told.items() if isinstance(v, dict) and 'mean' in v}
  wanted = 'reconstruction_mse psnr ssim fad fad_floor firing_rate energy_uj_reconstruct '
  wanted += 'energy_uj_generate break_even_rate_reconstruct latent_never_fires mse_shuffled'
  assert set(wanted.split()) <= set(figures)
  for name, figure in figures.items():
    assert np.isfinite(figure['mean']) and len(figure['protocol']) > 10, name
    assert (figure['std'] is None) == (figure['seeds'] == 1), name
  assert told['reconstruction_mse']['seeds'] == 2 and told['fad']['std'] > 0
  assert 'inception' in told['missing'] or 'fid' in figures


def test_an_untrained_generator_is_farther_than_the_floor(run):
  told = run[2]
  assert told['fad']['mean'] > told['fad_floor']['mean'] > 0


def test_losing_spikes_is_no_help_and_nothing_changed_is_nothing_changed(run):
  curves = run[2]['details']['robustness']['curves']
  assert curves['dropout'][0.0] == curves['flip'][0.0] == curves['steps'][5]
  assert set(curves['steps']) == {1, 2, 3, 4, 5}


def test_the_report_is_whole_and_needs_nothing_else(run):
  text = (run[1] / 'report.html').read_text()
  for heading in ('Figures', 'Images', 'Training', 'Spikes', 'Firing rates', 'Robustness'):
    assert f'<h2>{heading}' in text
  assert 'width=device-width' in text
  assert not re.findall(r'(?:src|href)="(?!data:)', text)
  assert text.count('<img') >= 12
  assert str(run[1]) not in text


def test_one_device_gives_the_figures_of_four(run, monkeypatch):
  config, workdir, told = run
  with monkeypatch.context() as patch:
    one = sharding.make_mesh(jax.devices()[:1])
    patch.setattr(sharding, 'make_mesh', lambda: one)
    again = {
      name: figure.summary()
      for metric in ('reconstruction', 'fad', 'spikes')
      for name, figure in evaluate.METRICS[metric](Trained(config, workdir)).figures.items()
    }
  for name, figure in again.items():
    assert figure['mean'] == pytest.approx(told[name]['mean'], rel=1e-4), name


@pytest.mark.parametrize('count', [3, 45])
def test_images_of_any_number_are_written(run, count):
  config, workdir, _ = run
  evaluate.write_images(config, workdir, 'generate', count)
  files = sorted((workdir / 'generate' / 'generated').iterdir())
  with np.load(workdir / 'generate' / 'images.npz') as arrays:
    images = arrays['generated']
  assert images.shape == (count, 8, 8, 1) and images.dtype == np.uint8
  np.testing.assert_array_equal(np.asarray(Image.open(files[count - 1])), images[-1, ..., 0])
  for file in files:
    file.unlink()


def test_reconstructions_come_with_their_images_from_any_checkpoint(run):
  config, workdir, _ = run
  made = []
  for step in (20, 40):
    evaluate.write_images(config, workdir, 'reconstruct', 20, step=step)
    with np.load(workdir / 'reconstruct' / 'images.npz') as arrays:
      made.append(dict(arrays))
  np.testing.assert_array_equal(made[0]['images'], Trained(config, workdir).test_images[:20])
  assert (made[0]['reconstructions'] != made[1]['reconstructions']).any()
  assert Image.open(workdir / 'reconstruct' / 'grid.png').width > 8 * 64


def test_the_conventional_vae_is_evaluated_alike_and_stands_beside(run):
  config, workdir, _ = run
  ann = smoke(config.data.cache_dir)
  with ann.unlocked():
    ann.model = type(ann)({'name': 'ann_vae', 'image_size': 8, 'channels': 1, 'latent_dim': 6})
    ann.model.features = (4, 8)
  other = workdir.with_name('digits_ann')
  train.train_and_evaluate(ann, other)
  told = evaluate.evaluate(ann, other)
  assert {'reconstruction_mse', 'fad', 'energy_uj_reconstruct'} <= set(told)
  assert 'firing_rate' not in told and 'robustness' in told['missing']
  config.eval.metrics = ('spikes',)
  again = evaluate.evaluate(config, workdir)
  config.eval.metrics = digits.get_config().eval.metrics
  assert again['twin']['fad'] == told['fad']
  ours = again['energy_uj_reconstruct_ann']['mean']
  assert ours == pytest.approx(told['energy_uj_reconstruct']['mean'])
  assert 'ANN VAE here' in (workdir / 'report.html').read_text()


def test_what_is_not_there_is_named(run, tmp_path):
  config, workdir, _ = run
  with pytest.raises(FileNotFoundError, match='has no checkpoints: train there first'):
    Trained(config, tmp_path)
  with pytest.raises(ValueError, match=r'no checkpoint 3 in .*there are \[20, 40\]'):
    Trained(config, workdir, step=3)
  with pytest.raises(ValueError, match='--count is 999; it must be at least 1 and at most'):
    evaluate.write_images(config, workdir, 'reconstruct', 999)
  config.eval.metrics = ('fidd',)
  with pytest.raises(ValueError, match='unknown eval.metrics fidd; known: reconstruction, fad'):
    evaluate.evaluate(config, workdir)
  config.eval.metrics = digits.get_config().eval.metrics

"""The page, of results that are made up."""

import html
import re

import numpy as np
import pytest

from fsvae_jax import report

PROTOCOL = 'spikes of 32 test images'
FIGURES = {
  'reconstruction_mse': {'mean': 0.03123, 'std': 0.0004, 'seeds': 3, 'protocol': 'squared error'},
  'fad': {'mean': 12.5, 'std': None, 'seeds': 1, 'protocol': 'own autoencoder'},
  'firing_rate': {'mean': 0.2018, 'std': 0.001, 'seeds': 3, 'protocol': PROTOCOL},
  'energy_uj_reconstruct': {'mean': 3.456, 'std': 0.02, 'seeds': 3, 'protocol': PROTOCOL},
  'a_new_figure': {'mean': 7.125, 'std': None, 'seeds': 1, 'protocol': 'counted by hand'},
}
TOLD = 'accumulates multiply_accumulates neuron_updates energy_uj ann_multiply_accumulates'
ROW = dict.fromkeys((*TOLD.split(), 'ann_energy_uj'), 2.0)
FIRED = ROW | {'firing_rate': 0.25, 'channels': 8, 'dead_channels': 1}
LAYERS = [{'layer': 'encoder/<&>'} | FIRED, {'layer': 'decoder/pixels'} | ROW]
SPIKES = {
  'layers': {'reconstruct': LAYERS, 'generate': LAYERS},
  'totals': dict.fromkeys(('reconstruct', 'generate'), FIRED | {'neuron_updates': 5000.0}),
  'latent_rates': [0.0, 0.5, 1.0],
  'pj': {'accumulate': 0.9, 'multiply_accumulate': 4.6},
}
ERRORS = [[0.0, 0.1], [1, 0.2]]
RESULTS = {
  'run': {
    'model': 'fsvae',
    'data': 'mnist',
    'step': 1200,
    'parameters': 10447,
    'devices': '1 x cpu (cpu)',
    'host': 'Linux',
    'versions': {'numpy': '2.4.6'},
  },
  'seconds': {'spikes': 2.1},
  'missing': {'fad': '', 'inception': 'FID: a package is not there'},
  'figures': FIGURES,
  'details': {
    'spikes': SPIKES,
    'robustness': {'curves': dict.fromkeys(('dropout', 'flip', 'shuffle', 'steps'), ERRORS)},
  },
  'ann': {'fad': {'mean': 17.25, 'std': None, 'seeds': 1, 'protocol': 'own autoencoder'}},
}
CONFIG = {'model': {'name': 'fsvae', 'distance': 'mmd'}, 'train': {'batch_size': 8}}
METRICS = [
  {'step': 10, 'train/reconstruction': 0.5, 'train/distance': 0.1, 'images_per_s': 40.0},
  {'step': 20, 'train/reconstruction': 0.4, 'train/distance': 0.1, 'images_per_s': 40.0},
]
PICTURES = {'reconstructions': b'first', 'samples': b'second', 'interpolation': b'third'}
# Another latent's layers: neither posterior nor prior.
RASTERS = {name: np.eye(4, 6) for name in ('encoder/<&>', 'latent/z', 'flow/a', 'decoder/dense')}


def write(workdir, results=RESULTS, metrics=METRICS, rasters=RASTERS):
  """The page of `results`; by default it has all that there can be."""
  report.write(workdir, results, CONFIG, metrics, PICTURES, rasters)
  return (workdir / 'report.html').read_bytes().decode('utf-8')


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  return write(tmp_path_factory.mktemp('run'))


def visible(text):
  """What is read: no tags, no style, one space between words."""
  text = re.sub('<[^>]*>', ' ', re.sub('(?s)<style>.*</style>', '', text))
  return ' '.join(html.unescape(text).split())


def test_every_figure_is_there_with_its_spread_and_protocol(page):
  text = visible(page)
  for row in (
    'reconstruction error squared error (3 seeds) 0.03123 ± 0.0004 0.031 0.048',
    'FAD, own code own autoencoder 12.5 17.25',
    f'firing rate {PROTOCOL} (3 seeds) 0.2018 ± 0.001',
    f'energy of a reconstruction, µJ {PROTOCOL} (3 seeds) 3.456 ± 0.02',
    'a new figure counted by hand 7.125',
  ):
    assert row in text
  assert 'this run ANN VAE here paper: FSVAE paper: ANN VAE' in text
  assert 'step 1,200; 10,447 parameters' in text and 'No ANN VAE' not in text


def test_sections_and_captions_stand_in_order(page):
  sections, text = re.findall('<h2>(.*)</h2>', page), visible(page)
  assert sections[:4] == ['Figures', 'Images', 'Training', 'Spikes']
  assert sections[4:] == ['Firing rates and energy', 'Robustness', 'The run']
  assert page.count('<figcaption>') == 3 + 2 + 2 + 4 + 3
  assert 'through encoder, latent, flow and decoder' in text
  assert 'encoder/<&> 0.25 1/8 2 2 2 2 2 decoder/pixels 2 2 2 2 2 sum 0.25 2' in text
  assert '5,000 neuron updates of a reconstruction, 0.023 µJ' in text
  assert 'training, minutes (steps alone) 0.0667' in text


def test_the_priors_layers_are_left_out_of_the_rasters(tmp_path):
  rasters = {'prior/a': None, 'latent/z': RASTERS['latent/z']}
  assert 'through latent: at most' in write(tmp_path, RESULTS | {'details': {}}, rasters=rasters)


def test_text_is_escaped(page, tmp_path):
  assert '<td>encoder/&lt;&amp;&gt;</td>' in page
  other = {'run': RESULTS['run'] | {'data': '<&>"'}, 'missing': {'fad': '<script>'}, 'details': {}}
  text = write(tmp_path, RESULTS | other)
  assert '<&>' not in text and '<script' not in text
  assert '<h1>fsvae on &lt;&amp;&gt;&#34;</h1>' in text and '&lt;script&gt;' in text
  assert 'paper: ' not in visible(text)


def test_a_model_without_spikes_has_a_page(tmp_path):
  figures = {'fad': FIGURES['fad']}
  results = RESULTS | {'figures': figures, 'details': {}, 'ann': {}}
  text = write(tmp_path, results, metrics=[], rasters={})
  sections = re.findall('<h2>(.*)</h2>', text)
  assert sections == ['Figures', 'Images', 'Training', 'The run']
  assert 'There is no metrics.jsonl' in text and 'not recorded' in text
  assert '<th>ANN VAE here' not in text
  assert 'No ANN VAE was evaluated beside this run' in text


def test_without_any_figure_there_is_a_page_still(tmp_path):
  text = write(tmp_path, RESULTS | {'figures': {}, 'details': {}}, rasters={})
  assert '<h2>Figures' in text and '<th>' not in text


def test_what_is_missing_is_told(page):
  assert page.count('Not computed') == 1
  assert 'Not computed: FID: a package is not there.' in page


def test_all_is_inside_and_utf_8(page):
  text = re.sub('data:[^"]*', 'data:', page)
  assert text.startswith('<!doctype html>') and '<meta charset="utf-8">' in text
  assert 'µJ' in text and 'font: 15px' in text
  assert not re.findall(r'(?:src|href)="(?!data:)|url\(|@import|<link|<script', text)
  assert 'http' not in text

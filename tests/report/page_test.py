"""The page, of results and pictures that are made up."""

import base64
import html
import re

import numpy as np
import pytest

from fsvae_jax import report
from fsvae_jax.report import page as page_of

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
  'compared': {},
}
ANN = {
  'run': {'model': 'ann_vae', 'data': 'mnist', 'step': 300},
  'figures': {'fad': {'mean': 17.25, 'std': 0.5, 'seeds': 3, 'protocol': 'own autoencoder'}},
}
CONFIG = {
  'model': {'name': 'fsvae', 'distance': 'mmd', 'timesteps': 16},
  'train': {'batch_size': 8},
}
METRICS = [
  {'step': 10, 'train/reconstruction': 0.5, 'train/distance': 0.1, 'images_per_s': 40.0},
  {'step': 20, 'train/reconstruction': 0.4, 'train/distance': 0.1, 'images_per_s': 40.0},
]
PNG, GIF = b'\x89PNG', b'GIF89a'
PICTURES = {
  'reconstructions_001200.png': PNG + b'second',
  'samples_001200.png': PNG + b'first',
  'growth_001200.gif': GIF + b'third',
  'a_new_picture_001200.png': PNG + b'fourth',
  'samples_000600.png': PNG + b'of an earlier step',
}
# Another latent's layers: neither posterior nor prior.
RASTERS = {name: np.eye(4, 6) for name in ('encoder/<&>', 'latent/z', 'flow/a', 'decoder/dense')}


def write(workdir, results=RESULTS, metrics=METRICS, rasters=RASTERS):
  """The page of `results`; by default it has all that there can be."""
  draw(workdir, PICTURES)
  report.write(workdir, results, CONFIG, metrics, rasters)
  return (workdir / 'report.html').read_bytes().decode('utf-8')


def draw(workdir, pictures):
  """A folder with pictures."""
  (workdir / 'pictures').mkdir(parents=True, exist_ok=True)
  for name, content in pictures.items():
    (workdir / 'pictures' / name).write_bytes(content)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  """The page of a run with an ANN VAE beside it."""
  folder = tmp_path_factory.mktemp('runs')
  draw(folder / 'mnist_ann', {'samples_000300.png': PNG + b'of the other'})
  return write(folder / 'mnist', RESULTS | {'compared': {str(folder / 'mnist_ann'): ANN}})


def embedded(text):
  """[(kind, bytes)] of the pictures that are no charts, in the order of the page."""
  found = re.findall('data:image/(png|gif);base64,([^"]*)', text)
  return [(kind, base64.b64decode(data)) for kind, data in found]


def visible(text):
  """What is read: no tags, no style, one space between words."""
  text = re.sub('<[^>]*>', ' ', re.sub('(?s)<style>.*</style>', '', text))
  return ' '.join(html.unescape(text).split())


def test_a_figure_that_is_not_finite_has_no_bar(tmp_path):
  nothing = {'reconstruction_mse': FIGURES['reconstruction_mse'] | {'mean': None}}
  report.write(tmp_path, RESULTS | {'figures': FIGURES | nothing}, CONFIG, METRICS, {})
  assert 'this run 12.5' in re.sub(
    r'\s+', ' ', visible((tmp_path / 'report.html').read_text('utf-8'))
  )


@pytest.mark.parametrize('other', [{'test_images': 300}, {'image_shape': [16, 16, 1]}], ids=str)
def test_figures_of_own_images_are_not_beside_the_published_ones(tmp_path, other):
  run = RESULTS['run'] | other
  report.write(tmp_path, RESULTS | {'run': run}, CONFIG, METRICS, {})
  assert 'paper:' not in (tmp_path / 'report.html').read_text('utf-8')


def test_every_figure_is_there_with_its_spread_and_protocol(page):
  text = visible(page)
  for row in (
    'error of a reconstruction squared error (3 seeds) 0.03123 ± 0.0004 0.031 0.048',
    'FAD, own code: distance of new images from real ones own autoencoder 12.5 17.25 ± 0.5',
    f'firing rate {PROTOCOL} (3 seeds) 0.2018 ± 0.001',
    f'energy of a reconstruction, µJ {PROTOCOL} (3 seeds) 3.456 ± 0.02',
    'a new figure counted by hand 7.125',
  ):
    assert row in text
  assert 'this run ANN VAE mnist_ann paper: FSVAE paper: ANN VAE' in text
  assert '1,200 steps; 10,447 parameters; an image takes 16 time steps' in text
  assert 'No ANN VAE' not in text


def test_pictures_stand_first_then_numbers_and_the_long_tables_are_folded(page):
  sections, text = re.findall('<h2>(.*)</h2>', page), visible(page)
  assert sections[:5] == ['Images', 'Numbers', 'Training', 'Spikes', 'Firing rates and energy']
  assert sections[5:] == ['Robustness', 'In detail']
  end = page.index('<h2>In detail')
  assert '<table' not in page[:end] and page[end:].count('<details>') == 4
  assert page.count('<figcaption>') == 5 + 2 + 2 + 4 + 3
  assert 'through encoder, latent, flow and decoder' in text
  assert 'encoder/<&> 0.25 1/8 2 2 2 2 2 decoder/pixels 2 2 2 2 2 sum 0.25 2' in text
  assert '5,000 neuron updates of a reconstruction, 0.023 µJ' in text
  assert 'training, minutes (steps alone) 0.0667' in text


def test_the_steps_pictures_are_shown_in_order_those_of_other_names_last(tmp_path):
  text = write(tmp_path)
  shown = [content.removeprefix(PNG).removeprefix(GIF) for _, content in embedded(text)]
  assert shown == [b'first', b'second', b'third', b'fourth']
  assert [kind for kind, _ in embedded(text)] == ['png', 'png', 'gif', 'png']
  assert 'A new picture' in text


def test_pictures_of_another_run_stand_beside(page):
  assert [content for _, content in embedded(page)][:2] == [PNG + b'first', PNG + b'of the other']
  assert 'drawn from random numbers this run ANN VAE mnist_ann Test images,' in visible(page)


def test_numbers_have_bars_as_long_as_they_are_with_their_spread(page):
  number = re.search('<div class="number"><h3>Distance(.*?)</div>\n</div>', page, re.S)[1]
  assert re.findall('<i[^>]*width:([^%]*)%', number) == ['70.4', '97.2']
  assert re.findall('<s style="left:([^%]*)%;width:([^%]*)%', number) == [('94.4', '5.6')]
  assert 'this run 12.5 ANN VAE mnist_ann 17.2 ± 0.5' in visible(number)
  for words in ('paper: FSVAE 0.031', 'Firing rate 0.202', 'this run 3.46 ± 0.02'):
    assert words in visible(page)


def test_what_a_number_compares_to_stands_under_it(tmp_path):
  floors = {name: FIGURES['fad'] | {'mean': 1.5} for name in ('fad_floor', 'fad_floor_authors')}
  text = visible(write(tmp_path, RESULTS | {'figures': FIGURES | floors}))
  assert 'this run 12.5 floor: real images 1.5 Firing' in text
  own = FIGURES | floors | {'fad_authors': FIGURES['fad'] | {'mean': 40.0}}
  text = visible(write(tmp_path, RESULTS | {'figures': own}))
  assert 'this run 40 paper: FSVAE 35.5 paper: ANN VAE 17.1 floor: real images 1.5 Firing' in text


def test_runs_of_one_name_are_told_apart(tmp_path):
  other = {'run': RESULTS['run'], 'figures': FIGURES}
  text = write(tmp_path, RESULTS | {'compared': {'lr1/mnist': other, 'lr2/mnist': other}})
  assert 'this run 12.5 lr1/mnist 12.5 lr2/mnist 12.5' in visible(text)


def test_the_page_is_for_phones_and_for_dark_rooms(page):
  assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
  assert '@media (prefers-color-scheme: dark)' in page and 'color-scheme: light dark' in page
  colours = re.findall('[^-]color: *(#[^;]*)|background: *(#[^;]*)', page)
  assert not colours  # all are variables, which the dark page sets anew


def test_the_priors_layers_are_left_out_of_the_rasters(tmp_path):
  rasters = {'prior/a': None, 'latent/z': RASTERS['latent/z']}
  assert 'through latent: at most' in write(tmp_path, RESULTS | {'details': {}}, rasters=rasters)


def test_text_is_escaped(page, tmp_path):
  assert '<td>encoder/&lt;&amp;&gt;</td>' in page
  other = {'run': RESULTS['run'] | {'data': '<&>"'}, 'missing': {'kid': '<script>'}, 'details': {}}
  text = write(tmp_path, RESULTS | other)
  assert '<&>' not in text and '<script' not in text
  assert '<h1>fsvae on &lt;&amp;&gt;&#34;</h1>' in text and '&lt;script&gt;' in text
  assert 'paper: ' not in visible(text)


def test_a_model_without_spikes_has_a_page(tmp_path):
  figures = {'fad': FIGURES['fad']}
  missing = {'spikes': ''}
  results = RESULTS | {'figures': figures, 'details': {}, 'missing': missing}
  text = write(tmp_path, results, metrics=[], rasters={})
  assert re.findall('<h2>(.*)</h2>', text) == ['Images', 'Numbers', 'Training', 'In detail']
  assert 'There is no metrics.jsonl' in text and 'not recorded' in text
  assert text.count('Not computed: this model has none.') == 2
  assert 'Not computed: reconstruction is not in eval.metrics.' in text
  assert 'No ANN VAE was evaluated beside this run' in text


def test_without_any_figure_there_is_a_page_still(tmp_path):
  text = write(tmp_path, RESULTS | {'figures': {}, 'details': {}}, rasters={})
  assert '<h2>Numbers' in text and '<th>' not in text


def test_what_is_missing_is_told(page):
  assert page.count('Not computed') == 1
  assert 'Not computed: FID: a package is not there.' in page


def test_what_is_missing_of_the_numbers_is_told_in_its_place(tmp_path):
  figures = {name: value for name, value in FIGURES.items() if name != 'fad'}
  results = RESULTS | {'figures': figures, 'missing': {'fad': 'too few images'}}
  text = visible(write(tmp_path, results))
  assert 'real images get. Not computed: too few images. Firing rate' in text


def test_all_is_inside_and_utf_8(page):
  text = re.sub('data:[^"]*', 'data:', page)
  assert text.startswith('<!doctype html>') and '<meta charset="utf-8">' in text
  assert 'µJ' in text and 'font: 15px' in text
  assert not re.findall(r'(?:src|href)="(?!data:)|url\(|@import|<link|<script', text)
  assert 'http' not in text


def test_numbers_below_a_hundred_thousand_have_no_exponents():
  shown = {(150.0, 2): '150', (99.6, 2): '100', (999.6, 3): '1,000', (112.5, 4): '112.5'}
  assert {key: page_of.number(*key) for key in shown} == shown
  assert page_of.number(5000) == '5,000' and page_of.number(0.031) == '0.031'

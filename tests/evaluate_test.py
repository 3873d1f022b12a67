"""Evaluation from a checkpoint to eval.json, images and report, at smoke size."""

import collections
import copy
import functools
import json
import pathlib
import re
import shutil
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fsvae_jax
from fsvae_jax import configuration, data, evaluate, figures, inference, samples, train
from fsvae_jax.configs import default, digits
from fsvae_jax.exchange import export
from fsvae_jax.metrics import fad, frechet
from fsvae_jax.metrics.made import Made
from fsvae_jax.metrics.result import Figure, Metric, Result
from fsvae_jax.report import charts
from fsvae_jax.run import files, sharding, signals

pytestmark = pytest.mark.usefixtures('quick_compilation')


def smoke(cache):
  """Digits at 16x16, with labels, one convolution, T = 2; few images, one epoch of the
  autoencoder."""
  c = digits.get_config()
  c.data.cache_dir = str(cache)
  c.model.update(image_size=16, features=(8,), timesteps=2, latent_dim=6, draws=3, classes=10)
  c.model.surrogate = 'reference_rectangle'  # what is quick to learn something in 40 steps
  c.train.update(batch_size=32, steps=40, warmup_steps=0, ema_decay=0.0)
  c.train.update(log_every=10, test_every=20, checkpoint_every=20)
  c.test.update(batch_size=32, images=16, samples=4)
  c.eval.metrics = ('reconstruction', 'fad', 'labels', 'spikes', 'robustness')
  c.eval.update(seeds=2, images=64, probe=32, fad_epochs=1)
  return c


def images_of(trained):
  return functools.cache(trained.images)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A trained and evaluated run, and its configuration."""
  config = smoke(tmp_path_factory.mktemp('cache'))
  workdir = tmp_path_factory.mktemp('runs') / 'digits'
  train.train_and_evaluate(config, workdir)
  return config, workdir, evaluate.evaluate(config, workdir)


def test_every_figure_has_its_spread_and_protocol(run):
  _, workdir, results = run
  assert json.loads((workdir / 'eval.json').read_text()) == json.loads(json.dumps(results))
  figures = results['figures']
  wanted = 'reconstruction_mse psnr ssim fad fad_floor firing_rate energy_uj_reconstruct '
  wanted += 'fad_reconstruction precision precision_floor recall recall_floor kid_code '
  wanted += 'energy_uj_generate break_even_rate_reconstruct latent_never_fires mse_shuffled '
  wanted += 'label_accuracy'
  assert set(wanted.split()) <= set(figures)
  for name, figure in figures.items():
    assert np.isfinite(figure['mean']) and len(figure['protocol']) > 10, name
    assert (figure['std'] is None) == (figure['seeds'] == 1), name
  assert figures['reconstruction_mse']['seeds'] == 2 and figures['fad']['std'] > 0


def test_the_error_is_that_of_the_test_images_and_of_each_seed(run):
  config, workdir, results = run
  trained = inference.restore(config, workdir)
  test = np.asarray(trained.images('test'))
  errors = [np.mean((trained.reconstruct(test, s) - data.normalize(test)) ** 2) for s in range(2)]
  mean = {name: figure['mean'] for name, figure in results['figures'].items()}
  assert mean['reconstruction_mse'] == pytest.approx(np.mean(errors), rel=1e-5)
  assert results['figures']['reconstruction_mse']['std'] == pytest.approx(
    np.std(errors, ddof=1), rel=1e-2
  )
  assert mean['ssim'] < 1 < mean['psnr']


def test_each_seed_is_encoded_sampled_and_decoded_once(run, tmp_path, monkeypatch):
  config, workdir, results = run
  trained = inference.restore(config, workdir)._replace(workdir=tmp_path)
  calls = collections.Counter()
  over = inference.Trained.over

  def counted(self, function, *arrays, seed=0):
    if self.workdir == tmp_path:  # and not the autoencoder
      calls[function.__name__, len(arrays[0]), seed] += 1
    return over(self, function, *arrays, seed=seed)

  monkeypatch.setattr(inference.Trained, 'over', counted)
  again = results | {'figures': {}}
  evaluate.take(trained, images_of(trained), again)
  assert again['figures'] == results['figures']
  tests = results['run']['test_images']
  for seed in range(2):
    assert calls['encode', tests, seed] == calls['sample', 64, seed] == 1
  assert {name for name, *_ in calls} == {'encode', 'sample', 'decode', '_spikes', '_unfold'}
  of_classes = [calls.pop(('sample', count, seed)) for count, seed in ((80, 0), (32, 0), (32, 1))]
  assert of_classes == [1, 1, 1]  # for their pictures, and to be judged
  assert sum(n for (name, *_), n in calls.items() if name in ('encode', 'sample')) == 4
  assert calls['decode', tests, 0] == calls['decode', 64, 0] == 2  # not by seed: one of each


def test_figures_of_other_weights_do_not_stay(run, tmp_path, monkeypatch):
  config, workdir, results = run
  trained = inference.restore(config, workdir)
  moved = jax.tree.map(lambda x: x * (1 + 1e-6), trained.variables)
  assert inference.mark(moved) != inference.mark(trained.variables) == results['run']['weights']
  workdir = pathlib.Path(shutil.copytree(workdir, tmp_path / 'run'))
  config = copy.deepcopy(config)
  config.eval.metrics = ()
  monkeypatch.setattr(evaluate, 'take', lambda *_: ({}, None))  # no pictures either
  monkeypatch.setattr(evaluate.report, 'write', lambda *_: None)
  for changed, stays in (
    ({}, True),
    ({'weights': None}, True),  # of an earlier version, which did not say
    ({'generated_images': 7}, False),  # what figures were made of, as versions before said it
    ({'weights': 'others'}, False),
    ({'fsvae_jax': '0.1.0'}, False),
  ):
    said = {name: x for name, x in (results['run'] | changed).items() if x}
    (workdir / 'eval.json').write_text(json.dumps(results | {'run': said}))
    assert ('fad' in evaluate.evaluate(config, workdir)['figures']) == stays, changed
  (workdir / 'eval.json').write_text(json.dumps(results))
  config.eval.update(images=9, probe=5, seeds=1)  # of other figures: each says what it is made of
  assert 'fad' in evaluate.evaluate(config, workdir)['figures']


def test_the_step_that_is_asked_for_is_evaluated_and_exported(run, tmp_path, monkeypatch):
  config, workdir = copy.deepcopy(run[0]), shutil.copytree(run[1], tmp_path / 'run')
  config.eval.metrics = ()
  monkeypatch.setattr(evaluate, 'take', lambda *_: ({}, None))
  monkeypatch.setattr(evaluate.report, 'write', lambda *_: None)
  for step in (20, 40):
    of_step = inference.restore(config, workdir, step)
    about = evaluate.evaluate(config, workdir, step)['run']
    assert about['step'] == step and about['weights'] == inference.mark(of_step.variables)
    export.write(config, workdir, 'safetensors', step)
    exported = fsvae_jax.load(workdir / 'export' / 'safetensors')
    assert exported.step == step
    np.testing.assert_array_equal(exported.generate(2), of_step.generate(2))


def test_rows_of_images_are_above_those_of_their_reconstructions():
  grid = samples.in_turns(np.arange(16), np.arange(16) + 100)
  rows = np.split(grid, 4)
  assert [row[0] for row in rows] == [0, 100, 8, 108] and all(len(row) == 8 for row in rows)


def test_each_row_is_of_a_class():
  asked = []
  generate = lambda count, label: asked.append(label) or np.zeros((count, 2, 2, 1))
  trained = types.SimpleNamespace(generate=generate, model=types.SimpleNamespace(classes=3))
  assert len(samples.of_classes(trained)) == 24
  np.testing.assert_array_equal(np.reshape(asked, (3, 8)), [[0] * 8, [1] * 8, [2] * 8])


def test_generated_images_follow_from_the_seed(run):
  config, workdir, _ = run
  made = []
  for seed in (0, 1, 0):
    samples.write(config, workdir, 'generate', 8, seed=seed)
    with np.load(workdir / 'generate' / 'images.npz') as arrays:
      made.append(arrays['generated'])
  np.testing.assert_array_equal(made[0], made[2])
  assert (made[0] != made[1]).any()


@pytest.mark.parametrize('own', ['.', '../run', '../run/sub/..'])
def test_the_ann_beside_is_found_however_the_run_is_named(tmp_path, monkeypatch, own):
  (tmp_path / 'run/sub').mkdir(parents=True)
  (tmp_path / 'run_ann').mkdir()
  theirs = {'run': {'data': 'digits'}, 'figures': {}}
  (tmp_path / 'run_ann/eval.json').write_text(json.dumps(theirs))
  monkeypatch.chdir(tmp_path / 'run')
  trained = types.SimpleNamespace(config=digits.get_config(), workdir=pathlib.Path(own))
  assert len(figures.compared(trained, theirs)) == 1


def test_a_run_to_compare_with_whose_figures_say_no_data_is_named(tmp_path):
  (tmp_path / 'eval.json').write_text('{"figures": {}, "run": {}}')
  config = digits.get_config()
  config.eval.compare = str(tmp_path)
  with pytest.raises(ValueError, match='a run on None; this one is on digits: leave it out'):
    figures.named_runs(config)


def test_spikes_of_a_model_in_bfloat16_are_drawn_as_float32():
  spikes = {'latent/z': np.eye(4, 512)[None].astype(jnp.bfloat16)}
  model = types.SimpleNamespace(record=True)
  trained = types.SimpleNamespace(model=model, over=lambda *_: spikes)
  made = types.SimpleNamespace(trained=trained, latents=[0], test_images=[0])
  rasters = samples.rasters(made)
  np.testing.assert_array_equal(rasters['latent/z'], np.eye(4, 512))
  drawn = [charts.raster(x, '') for x in (rasters['latent/z'], np.eye(4, 512, dtype=np.float32))]
  pixels = [re.findall(b'base64,([^"]+)', svg) for svg in drawn]
  assert pixels[0] == pixels[1] != []  # Matplotlib draws nothing of bfloat16 so narrow


def test_nearest_training_images_are_a_picture(run):
  (picture,) = (run[1] / 'pictures').glob('nearest_*.png')
  assert picture.name == 'nearest_000040.png'
  assert Image.open(picture).size == (8 * 4 * 18 + 8, 2 * 4 * 18 + 8)
  assert 'below each the training image' in (run[1] / 'report.html').read_text()


def test_an_untrained_generator_is_farther_than_the_floor(run):
  figures = run[2]['figures']
  assert figures['fad']['mean'] > figures['fad_floor']['mean'] > 0


def test_labels_are_judged_by_a_classifier_that_knows_the_data(run):
  figures = run[2]['figures']
  assert figures['classifier_accuracy']['mean'] > 0.95
  assert 0 <= figures['label_accuracy']['mean'] < 1
  assert 0 <= figures['label_entropy']['mean'] <= np.log2(10)


def test_images_of_a_class_are_written(run):
  config, workdir, _ = run
  assert list((workdir / 'pictures').glob('classes_*.png'))
  assert 'a row for each' in (workdir / 'report.html').read_text()
  made = []
  for label in (3, 7, None):
    samples.write(config, workdir, 'generate', 16, label=label)
    with np.load(workdir / 'generate' / 'images.npz') as arrays:
      made.append(arrays['generated'])
  assert (made[0] != made[1]).any() and (made[0] != made[2]).any()
  with pytest.raises(ValueError, match='label is 10; the classes of this model are 0 to 9'):
    samples.write(config, workdir, 'generate', 16, label=10)
  with pytest.raises(ValueError, match='--label=3 is of --mode=generate'):
    samples.write(config, workdir, 'reconstruct', 16, label=3)
  trained = inference.restore(config, workdir)
  with pytest.raises(ValueError, match='label is 12; the classes of this model are 0 to 9'):
    trained.generate(2, label=[0, 12])
  with pytest.raises(ValueError, match='label is 4294967296; the classes'):
    trained.generate(2, label=2**32)  # and not 0
  with pytest.raises(ValueError, match='label is float'):
    trained.generate(2, label=1.7)
  with pytest.raises(ValueError, match=r'label has the shape \(3,\)'):
    trained.encode(trained.images('test')[:2], label=np.arange(3))
  shown = np.asarray(trained.images('test')[:4])
  again = trained.reconstruct(shown, label=3)
  latents = trained.encode(shown, label=3)
  np.testing.assert_array_equal(trained.decode(latents, label=3), again)
  assert (trained.decode(latents) != again).any()  # the decoder is told as well
  bytes_N = np.array([0, 7], np.uint8)  # as data sets keep them
  np.testing.assert_array_equal(
    trained.generate(2, label=bytes_N), trained.generate(2, label=[0, 7])
  )


def test_constant_images_are_farther_still(run):
  config, workdir, results = run
  images, figures = images_of(inference.restore(config, workdir)), results['figures']
  code, statistics, *_ = fad.own_space(config, images)
  constant = frechet.gaussian(code(np.full((64, 16, 16, 1), 0.9, np.float32)))
  assert frechet.distance(constant, statistics) > figures['fad']['mean']
  same = frechet.gaussian(code(images('test')))
  assert frechet.distance(same, statistics) < 1e-6 * figures['fad_floor']['mean']


def test_curves_start_at_the_unchanged_latent_and_end_at_all_steps(run):
  curves = {k: dict(v) for k, v in run[2]['details']['robustness']['curves'].items()}
  assert curves['dropout'][0.0] == curves['flip'][0.0] == curves['steps'][2]
  assert set(curves['steps']) == {1, 2}
  assert len(set(curves['dropout'].values())) > 3


def test_the_report_is_whole_and_needs_nothing_else(run):
  text = (run[1] / 'report.html').read_text()
  for heading in ('Images', 'Numbers', 'Training', 'Spikes', 'Firing rates', 'Robustness'):
    assert f'<h2>{heading}' in text
  assert 'width=device-width' in text
  assert not re.findall(r'(?:src|href)="(?!data:)', text)
  assert text.count('<img') >= 12
  assert str(run[1]) not in text


def test_a_reconstruction_grows_frame_by_frame_over_the_time_steps(run):
  config, workdir, _ = run
  with Image.open(workdir / 'pictures' / 'growth_000040.gif') as growth:
    assert growth.n_frames == config.model.timesteps
  assert 'data:image/gif;base64,' in (workdir / 'report.html').read_text()
  trained = inference.restore(config, workdir)
  made = Made(trained, np.asarray(trained.images('test')[:8]), 8, seed=0)
  *_, last = samples.growth(made)
  np.testing.assert_array_equal(last[:8], made.test_images)
  np.testing.assert_allclose(last[8:], samples.quantized(made.reconstructions), atol=1)


@pytest.mark.slow
def test_one_device_gives_the_figures_of_four(run, tmp_path, monkeypatch):
  config, workdir, results = run
  with monkeypatch.context() as patch:
    one = sharding.make_mesh(jax.devices()[:1])
    patch.setattr(sharding, 'make_mesh', lambda: one)
    trained = inference.restore(config, workdir)
    again = results | {'figures': {}, 'details': {}}
    evaluate.take(trained._replace(workdir=tmp_path), images_of(trained), again)
  assert trained.mesh.size == 1 and set(again['figures']) == set(results['figures'])
  for name, figure in again['figures'].items():
    wanted = results['figures'][name]['mean']
    assert figure['mean'] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize('count', [45, 3])
def test_images_of_any_number_are_written(run, count):
  config, workdir, _ = run
  samples.write(config, workdir, 'generate', count)
  files = sorted((workdir / 'generate' / 'generated').iterdir())
  with np.load(workdir / 'generate' / 'images.npz') as arrays:
    images = arrays['generated']
  assert images.shape == (count, 16, 16, 1) and images.dtype == np.uint8
  np.testing.assert_array_equal(np.asarray(Image.open(files[count - 1])), images[-1, ..., 0])
  assert len(files) == count


def test_reconstructions_come_with_their_images_from_any_checkpoint(run):
  config, workdir, _ = run
  made = []
  for step, seed in ((20, 0), (40, 0), (40, 1)):
    samples.write(config, workdir, 'reconstruct', 20, step, seed)
    with np.load(workdir / 'reconstruct' / 'images.npz') as arrays:
      made.append(dict(arrays))
  np.testing.assert_array_equal(
    made[0]['images'], inference.restore(config, workdir).images('test')[:20]
  )
  assert (made[0]['reconstructions'] != made[1]['reconstructions']).any()
  assert (made[1]['reconstructions'] != made[2]['reconstructions']).any()
  assert Image.open(workdir / 'reconstruct' / 'grid.png').width > 8 * 64


@pytest.mark.slow
def test_the_ann_vae_is_evaluated_alike_and_stands_beside(run):
  config, workdir, _ = run
  other = workdir.with_name(f'{workdir.name}_ann')
  ann = default.of_kind(smoke(config.data.cache_dir), 'ann', batches=50)
  train.train_and_evaluate(ann, other)
  theirs = evaluate.evaluate(ann, other)
  assert {'reconstruction_mse', 'fad', 'energy_uj_reconstruct'} <= set(theirs['figures'])
  assert 'label_entropy' in theirs['figures'] and 'label_accuracy' not in theirs['figures']
  with pytest.raises(ValueError, match=r'has no classes: train one with --config.model.classes=N'):
    samples.write(ann, other, 'generate', 4, label=3)
  assert 'firing_rate' not in theirs['figures'] and 'robustness' in theirs['missing']['robustness']
  config = copy.deepcopy(config)
  config.eval.metrics = ('spikes',)
  ours = evaluate.evaluate(config, workdir)
  beside = ours['compared'][str(other)]['figures']
  assert beside['fad'] == theirs['figures']['fad']  # our figures of the evaluation before are kept
  energy = ours['figures']['energy_uj_reconstruct_ann']['mean']
  assert energy == pytest.approx(theirs['figures']['energy_uj_reconstruct']['mean'])
  text = (workdir / 'report.html').read_text()
  assert '<th>ANN VAE digits_ann' in text
  assert text.count('<figcaption>ANN VAE digits_ann') == 4  # of six: it has no time and no classes
  assert not list((other / 'pictures').glob('growth*'))
  ours['figures']['fad']['protocol'] = 'another autoencoder'
  (beside,) = figures.compared(inference.restore(config, workdir), ours).values()
  assert 'fad' not in beside['figures'] and 'psnr' in beside['figures']


def test_a_run_without_figures_or_on_other_data_is_not_compared(run, tmp_path):
  config = copy.deepcopy(run[0])
  config.eval.compare = f'{run[1]}, {tmp_path}'
  with pytest.raises(FileNotFoundError, match=f'eval.compare names {tmp_path}, which has no eval'):
    evaluate.check(config)
  (tmp_path / 'eval.json').write_text(json.dumps({'run': {'data': 'mnist'}, 'figures': {}}))
  with pytest.raises(ValueError, match=f'{tmp_path}, a run on mnist; this one is on digits'):
    evaluate.check(config)
  config.eval.compare = str(run[1])
  evaluate.check(config)
  config.eval.compare = str(
    shutil.copytree(run[1], tmp_path / 'lr=1,wide')
  )  # as a run may be named
  evaluate.check(config)
  config.eval.inception = 'gs://bucket/weights'
  with pytest.raises(ValueError, match='eval.inception is gs://bucket/weights: only folders'):
    evaluate.check(config)


def test_what_is_not_there_or_not_the_same_is_named(run, tmp_path):
  config, workdir, _ = run
  config = copy.deepcopy(config)
  with pytest.raises(FileNotFoundError, match='has no checkpoints: train there first'):
    inference.restore(config, tmp_path)
  with pytest.raises(ValueError, match=r'no checkpoint 3 in .*there are \[20, 40\]'):
    inference.restore(config, workdir, step=3)
  for count in (0, 999):
    with pytest.raises(ValueError, match=f'--count is {count}; it must be at least 1 and at most'):
      samples.write(config, workdir, 'reconstruct', count)
  with pytest.raises(ValueError, match='--count is 0; it must be at least 1'):
    samples.write(config, workdir, 'generate', 0)
  config.eval.metrics = ('fidd',)
  with pytest.raises(ValueError, match="unknown eval.metrics 'fidd'; known: reconstruction, fad"):
    evaluate.evaluate(config, workdir)
  config.model.v_th = 0.3  # the same arrays, another model
  with pytest.raises(ValueError, match='model.v_th: 0.2 there, 0.3 now'):
    inference.restore(config, workdir)


@pytest.mark.parametrize('mode', ['generate', 'export'])
def test_a_file_in_the_way_of_what_is_written_is_named_before_anything_is_made(tmp_path, mode):
  config = configuration.load('digits')
  (tmp_path / mode).touch()
  write = functools.partial(samples.write, count=9) if mode == 'generate' else export.write
  with pytest.raises(ValueError, match=f'{mode} is no folder that can be written: move it away'):
    write(config, tmp_path, 'generate' if mode == 'generate' else 'safetensors')


def test_evaluation_leaves_a_running_save_alone(run):
  config, workdir, _ = run
  unfinished = workdir / 'checkpoints' / '60.orbax-checkpoint-tmp'
  unfinished.mkdir()
  inference.restore(config, workdir)
  assert unfinished.is_dir()
  unfinished.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize('test_images', [1, 3])
def test_a_tiny_test_set_gets_a_report(run, tmp_path, test_images):
  config = copy.deepcopy(run[0])
  images = np.random.default_rng(0).integers(0, 256, (300, 16, 16), np.uint8)
  np.savez(tmp_path / 'tiny.npz', train=images, test=images[:test_images] // 2)
  config.data.path = str(tmp_path / 'tiny.npz')
  config.train.steps = 1
  with pytest.raises(ValueError, match='model.classes is 10, but the training images have no'):
    train.train_and_evaluate(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  config.model.classes = 0
  train.train_and_evaluate(config, tmp_path / 'run')
  results = evaluate.evaluate(config, tmp_path / 'run')['figures']
  assert results['reconstruction_mse']['mean'] > 0 and results['firing_rate']['mean'] > 0
  assert ('fad' in results) == (test_images > 1) and 'label_entropy' not in results
  text = (tmp_path / 'run' / 'report.html').read_text()
  assert ('Not computed: fad: too few images' in text) == (test_images == 1)
  assert text.count('<img class="pixels"') == 5 - (test_images == 1)  # nothing to go to


def test_an_autoencoder_that_cannot_be_kept_costs_its_own_figures_alone(run, monkeypatch):
  """Somebody's read-only cache has one of these images, but of other epochs."""
  config, workdir, _ = run
  trained = inference.restore(config, workdir)
  trained = trained._replace(config=copy.deepcopy(config))
  trained.config.eval.fad_epochs += 1
  monkeypatch.setattr(files, 'is_writable', lambda folder: False)
  evaluate.check_autoencoders(trained.config)
  evaluate.train_autoencoder(trained.config, trained.images)
  result = fad.evaluate(trained, trained.images).result([])
  assert not result.figures and 'no autoencoder of these images is in' in result.missing
  trained.config.eval.fad_epochs -= 1
  assert not fad.missing_for(trained.config, trained.images)


def test_a_damaged_earlier_evaluation_is_made_anew(run, tmp_path, caplog):
  (tmp_path / 'eval.json').write_bytes(bytes(100))
  assert figures.read(tmp_path / 'eval.json') == {}
  assert 'eval.json is damaged' in caplog.text and 'made anew' in caplog.text
  (tmp_path / 'eval.json').write_text('{"run": {"step": 1}, "figures": null}')
  assert figures.read(tmp_path / 'eval.json') == {}
  assert 'its figures is None' in caplog.text


def test_an_autoencoder_whose_checkpoints_are_gone_is_trained_anew(tmp_path, monkeypatch):
  config, trained = smoke(tmp_path), []
  images_of = lambda split: data.load(config.data, 16, 1, split)
  own, folder = fad.autoencoder(config, images_of)
  (folder / 'checkpoints').mkdir(parents=True)
  (folder / 'finished').touch()
  (folder / 'test_statistics.npz').touch()  # in the code of the one that is gone
  train_it = lambda *given: trained.append(given) or (True, {})
  monkeypatch.setattr(train, 'train_and_evaluate', train_it)
  evaluate.train_autoencoder(config, images_of)
  assert [workdir for _, workdir in trained] == [folder]
  assert not (folder / 'test_statistics.npz').exists() and (folder / 'finished').exists()
  monkeypatch.setattr(train, 'train_and_evaluate', lambda *_: (False, {}))
  with pytest.raises(signals.Stopped):
    evaluate.train_autoencoder(config, images_of)
  assert not (folder / 'finished').exists()  # a half-trained one is none


def test_an_evaluation_waits_for_another_of_the_same_run(run, monkeypatch):
  config, workdir, _ = run
  config = copy.deepcopy(config)
  config.eval.metrics = ()
  begun = threading.Event()

  def about(*_):
    begun.set()
    raise signals.Stopped('by SIGTERM')

  monkeypatch.setattr(figures, 'about', about)
  monkeypatch.setattr(files, 'NOTICE_SECONDS', 0.01)
  waiting = threading.Event()
  told = lambda text, *_: 'waiting for another' in text and waiting.set()
  monkeypatch.setattr(files.logging, 'warning', told)
  with ThreadPoolExecutor() as pool:
    with files.locked(workdir / '.eval.lock'):
      other = pool.submit(evaluate.evaluate, config, workdir)
      assert waiting.wait(60) and not begun.wait(0.5)
    assert begun.wait(20) and isinstance(other.exception(), signals.Stopped)


def test_the_authors_statistics_are_of_their_own_test_images(run, monkeypatch):
  config, workdir, _ = run
  trained = inference.restore(config, workdir)
  trained = trained._replace(config=copy.deepcopy(config))
  trained.config.data.name, trained.config.eval.fad_reference = 'mnist', 'anywhere'
  monkeypatch.setattr(fad, 'own_space', lambda *_: fad.Space(None, None, 'own'))
  monkeypatch.setattr(fad, 'authors_space', lambda *_: fad.Space(None, None, 'theirs'))
  metric = fad.evaluate(trained, inference.restore(config, workdir).images)
  result = metric.result([collections.defaultdict(float, fad=1.0, fad_authors=1.0)])
  assert result.missing.endswith('of 10000 test images, here are 179')
  assert not any('authors' in name for name in result.figures)


def test_figures_of_earlier_versions_are_read(tmp_path):
  fad = {'mean': 1.0, 'std': None, 'seeds': 1, 'protocol': 'own'}
  (tmp_path / 'eval.json').write_text(json.dumps({'run': {'step': 1}, 'ann': {}, 'fad': fad}))
  read = figures.read(tmp_path / 'eval.json')
  assert read == {'run': {'step': 1}, 'ann': {}, 'figures': {'fad': fad}}


@pytest.mark.parametrize('count, size, devices', [(10, 4, 1), (11, 4, 2), (3, 8, 4), (48, 16, 4)])
def test_whole_batches_have_each_row_equally_often(count, size, devices):
  weight = np.zeros(count)
  for rows in inference.whole_batches(count, size, devices):
    assert len(rows) % devices == 0 and len(rows) <= max(size, devices * devices)
    weight += np.bincount(rows, minlength=count) / len(rows) * len(set(rows)) / count
  np.testing.assert_allclose(weight, 1 / count)


def test_what_is_finished_when_a_signal_comes_is_in_eval_json(tmp_path, monkeypatch):
  def stop(_):
    raise signals.Stopped('by SIGTERM')

  figure = lambda kept: Result({'a': Figure(kept, 'counted')})
  metrics = {'one': Metric(lambda made: 0.5, figure), 'two': Metric(stop, figure)}
  monkeypatch.setattr(evaluate, 'METRICS', {n: lambda *_, m=m: m for n, m in metrics.items()})
  monkeypatch.setattr(evaluate, 'made_of', lambda *_: (None, 0))
  config = digits.get_config()
  config.eval.update(metrics=('one', 'two'), seeds=3)
  trained = types.SimpleNamespace(config=config, workdir=tmp_path)
  results = {'run': {}, 'figures': {}, 'seconds': {}, 'missing': {}, 'details': {}}
  with pytest.raises(signals.Stopped):
    evaluate.take(trained, lambda split: None, results)
  found = figures.read(tmp_path / 'eval.json')['figures']
  assert found['a']['mean'] == 0.5 and found['a']['seeds'] == 1

"""Every benchmark runs to its table, a few steps of a small model.

(published_operations has a file of its own.)
"""

import argparse
import itertools
import json
import math
import pathlib
import re
import signal
import sys

import jax
import nir
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from benchmarks import (
  ahead,
  bfloat16,
  fidelity,
  plain,
  prior,
  quality,
  recipes,
  rounding,
  scaling,
  simulators,
  soak,
  streaming,
)
from benchmarks import fields as benchmark_fields
from benchmarks import run as speed
from fsvae_jax import configuration, data, fields, models
from fsvae_jax.exchange import nir_simulator, reference_arrays, state_dicts
from fsvae_jax.models import fsvae, passes
from fsvae_jax.run import pictures, signals, writer
from tests.exchange import trained as make_trained

pytestmark = pytest.mark.usefixtures('quick_compilation')

SMALL = ['model.features=(4,4)', 'model.timesteps=2', 'model.latent_dim=6', 'model.draws=3']


@pytest.fixture
def main(monkeypatch, capsys):
  """Function that runs a benchmark's command in this process; what it prints."""
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')  # for processes that it starts

  def main(benchmark, *arguments):
    monkeypatch.setattr(sys, 'argv', [benchmark.__name__, *map(str, arguments)])
    benchmark.main()
    return capsys.readouterr().out

  return main


def assert_finite(tree):
  values = [x for x in jax.tree.leaves(tree) if isinstance(x, float | int)]
  assert values and all(math.isfinite(x) for x in values), tree


@pytest.fixture(scope='module')
def mnist(tmp_path_factory):
  """Noise in the shape of MNIST."""
  path = tmp_path_factory.mktemp('data') / 'mnist.npz'
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (200, 28, 28), np.uint8)
  np.savez(path, train=images, test=images[:16] // 2)
  return path


@pytest.mark.slow
def test_fidelity_prints_the_learning_curve(main, mnist, tmp_path):
  small = [*SMALL, 'train.batch_size=8', 'test.images=16', 'test.batch_size=8']
  flags = ['--seeds', '0', '--steps', '2', '--every', '1', '--pytorch_init']
  out = ['--out', tmp_path / 'out.json', f'data.path={mnist}', f'data.cache_dir={tmp_path}']
  printed = main(fidelity, *flags, *out, *small)
  (curve,) = json.loads((tmp_path / 'out.json').read_text()).values()
  assert_finite(curve['2'])
  assert curve['2'][0] > 0 and 0 <= curve['2'][1] <= 1
  assert '| running, mean | ' in printed and '| agreement (at t = 0) after | 0 steps |' in printed


def test_every_kind_of_statistics_gives_a_first_pass():
  nets = fsvae.build(fsvae.FSVAEConfig(features=(4, 4), timesteps=2, latent_dim=6, draws=3))
  variables = fsvae.init(nets, jax.random.key(0))
  x_BTD = jax.random.bernoulli(jax.random.key(1), 0.5, (8, 2, 6)).astype(jax.numpy.float32)
  draws = {'picks': jax.numpy.zeros((8, 2, 6), jax.numpy.int32)}
  others = {name: f for name, f in fidelity.STATISTICS.items() if f}
  with jax.numpy_rank_promotion('allow'):
    of = lambda v: passes.Pass(nets.modules, v)
    run = jax.jit(lambda v: {name: f(of(v), x_BTD, draws) for name, f in others.items()})
    first = run(variables)
  assert set(first) == {'per_step', 'cumulative', 'prefix'}
  for z_BTD in first.values():
    assert z_BTD.shape == (8, 2, 6) and set(np.unique(z_BTD)) <= {0.0, 1.0}
  np.testing.assert_array_equal(first['prefix'][:, 0], first['per_step'][:, 0])  # one step alike


@pytest.mark.slow
def test_speed_prints_all_its_tables(main, monkeypatch, tmp_path):
  calls = []

  def here(what, huge_pages=True, cache=None, processes=1, **kwargs):
    calls.append(what)
    if what in ('train', 'reconstruct'):  # the former is measured by the next test
      return {'images_per_s': 100.0, 'compile_s': 1.0, 'peak_memory_gb': 1.0}
    kwargs['batch'] = 4
    return speed.measure(what, **kwargs)

  monkeypatch.setattr(speed, 'apart', here)
  monkeypatch.setattr(
    speed, 'rates', lambda *_: {'device': 'cpu', 'gflops': 100.0, 'copy_gb_per_s': 1.0}
  )
  out = tmp_path / 'new' / 'speed.json'
  parts = '--only', 'train', 'sample', 'overhead'
  small = '--batches', '4', '--repetitions', '1', '--seconds', '0', '--out', out, *SMALL
  printed = main(speed, *parts, *small)
  assert {'rates', 'train', 'generate', 'reconstruct', 'overhead'} == set(calls)
  assert_finite(json.loads(out.read_text()))
  assert '| training, batch | images/s |' in printed and '| overhead |' in printed


@pytest.mark.parametrize(('device', 'processes', 'plain'), [('cpu', 3, 1), ('NVIDIA H200', 1, 0)])
def test_a_card_is_measured_once_and_without_plain_pages(monkeypatch, device, processes, plain):
  calls = []

  def measured(what, huge_pages=True, processes=1, **_):
    calls.append((what, huge_pages, processes))
    speed = {'images_per_s': 100.0, 'peak_memory_gb': 1.0}
    return {'device': device, 'gflops': 100.0, 'copy_gb_per_s': 1.0} if what == 'rates' else speed

  monkeypatch.setattr(speed, 'apart', measured)
  results = speed.run(['train', 'sample'], [8], dtype='float32')
  assert results['device'] == device
  assert [call for call in calls if not call[1]] == [('train', False, processes)] * plain
  assert {n for what, _, n in calls if what != 'rates'} == {processes}


@pytest.mark.slow
@pytest.mark.parametrize('on', [0, 3])
def test_speed_is_measured_without_the_last_techniques(on):
  small = {'model.features': (4, 4, 4, 4), 'model.latent_dim': 6, 'model.draws': 3}
  kwargs = {'batch': 4, 'timesteps': 2, 'repetitions': 1, 'seconds': 0, 'changed': small}
  with jax.numpy_rank_promotion('allow'):
    assert_finite(speed.measure('train', off=plain.TECHNIQUES[on:], **kwargs))


def test_products_are_measured(monkeypatch):
  monkeypatch.setattr(speed.jnp, 'ones', lambda shape, dtype: np.ones((8, 8), dtype))
  assert_finite(speed.rates('float32', 1, 0))


class Run:
  """In the place of a process that trains: it has logged ten steps, and its flags are known."""

  pid, stdout = 0, None

  def __init__(self, command, **_):
    given = dict(word.removeprefix('--').split('=', 1) for word in command if '=' in word)
    config = fields.flatten(configuration.load(given['config']))
    names = [n.removeprefix('config.') for n in given if n.startswith('config.')]
    assert len(names) > 5 and set(names) <= set(config)
    out = writer.Writer(pathlib.Path(given['workdir']))
    for step in range(1, 11):
      out.scalars(step, {'images_per_s': 50.0, 'peak_memory_gb': 0.5})
    out.close()
    self.returncode = signals.STOPPED

  def poll(self):
    return None

  def send_signal(self, number):
    assert number == signal.SIGTERM

  def communicate(self):
    return b'', None


@pytest.mark.slow
def test_scaling_counts_predicts_and_measures(main, monkeypatch, tmp_path):
  monkeypatch.setattr(scaling.subprocess, 'Popen', Run)
  main(scaling, '--out', tmp_path / 'scaling.json', *SMALL)
  result = json.loads((tmp_path / 'scaling.json').read_text())
  assert_finite(result)
  assert result['sent']['all_reduces'] > 0 and result['sent']['gradient_bytes'] > 0
  assert all(0 < share <= 1 for row in result['predicted'].values() for share in row.values())
  assert result['measured'][0]['ratio'] == 1 and result['memory']['remat']['images_per_s'] == 50


@pytest.mark.slow
def test_soak_trains_twice_to_the_same_parameters(main, tmp_path):
  small = 'model.image_size=8', 'model.features=(4,8)'  # of the model that compiles sooner
  flags = '--workdir', tmp_path, '--steps', '20', '--kills', '0', '--config', 'digits:ann'
  result = json.loads(main(soak, *flags, *small, f'data.cache_dir={tmp_path}/cache'))
  assert result['differing_arrays'] == [] and result['arrays'] > 30
  assert result['steps_of_both'] == [20, 20] and not result['lines_lost_or_double']


def test_streaming_reads_and_trains(main, monkeypatch, tmp_path):
  monkeypatch.setattr(streaming.subprocess, 'Popen', Run)
  monkeypatch.setattr(soak, 'watch', lambda start, workdir: start() and [(5, 0.5), (9, 0.6)])
  flags = '--folder', tmp_path / 'set', '--gb', '0.004', '--steps', '10', '--seconds', '0.1'
  small = 'train.batch_size=8', 'test.images=8', 'model.timesteps=2', 'model.features=(4,4)'
  result = json.loads(main(streaming, *flags, *small, f'data.cache_dir={tmp_path}/cache'))
  assert_finite(result)
  assert result['training']['steps'] == 10 and result['reading']['images'] >= 150


@pytest.mark.slow
def test_quality_counts_images_and_seconds_to_each_error(main, mnist, tmp_path):
  small = *SMALL, 'train.batch_size=8', 'train.steps=4', 'test.batch_size=8'
  places = f'data.path={mnist}', f'data.cache_dir={tmp_path}'
  out, own = tmp_path / 'out.json', benchmark_fields.named('mnist', [*places, *small])
  assert own == ' '.join(['mnist', *sorted(small)])  # another model, wherever its data lie
  out.write_text(
    json.dumps({'mnist': {'T=4': 1}, own: {'K=5': {'4.0': [9.0, 24]}, 'T=4': {'0.5': [99.0, 16]}}})
  )
  flags = '--only', 'T=4', '--errors', '4.0', '1e-9', '--every', '2', '--out', out
  printed = main(quality, *flags, *small, *places)
  assert json.loads(out.read_text())['mnist'] == {'T=4': 1}
  results = json.loads(out.read_text())[own]
  reached = results['T=4']
  assert reached.pop('0.5') == [99.0, 16]  # of an earlier call
  assert list(reached) == ['4.0'] and reached['4.0'][1] == 16 and reached['4.0'][0] > 0
  assert '| T=4 | ' in printed and printed.rstrip().endswith('| - |')
  assert results['K=5'] == {'4.0': [9.0, 24]} and '| K=5 | 9 s, 0.0k | - |' in printed


class Study:
  """In the place of processes that train: what each was asked for, and figures that follow."""

  def __init__(self):
    self.trained, self.codes = [], {}

  def __call__(self, command):
    given = dict(word.removeprefix('--').split('=', 1) for word in command if '=' in word)
    names = {n.removeprefix('config.') for n in given if n.startswith('config.')}
    assert names <= set(fields.flatten(configuration.load(given['config'])))
    workdir, steps = pathlib.Path(given['workdir']), int(given['config.train.steps'])
    self.trained.append((workdir.parent.name, int(given['config.seed']), steps))
    out = writer.Writer(workdir)
    timesteps = float(given['config.model.timesteps'])
    out.scalars(steps, {'images_per_s': 400 / timesteps, 'validation/reconstruction': timesteps})
    out.close()
    figures = {'fad': {'mean': 10.0 + int(given['config.seed'])}}
    evaluated = {'run': {'parameters': 7}, 'figures': figures}
    (workdir / 'eval.json').write_text(json.dumps(evaluated))
    return self.codes.get(workdir.parent.name, 0)


def test_recipes_train_what_is_not_finished_and_rank_by_held_out_images(
  main, monkeypatch, tmp_path
):
  study = Study()
  monkeypatch.setattr(recipes, 'ended', study)
  monkeypatch.setattr(recipes, 'epoch', lambda args: 54_000)
  flags = '--only', 'T=4', 'T=2', '--results', tmp_path / 'r.jsonl', '--runs', tmp_path / 'runs'
  main(recipes, *flags, '--seeds', 1, '--budget', 'epochs', '--amount', 0.5)
  assert study.trained == [('T=4', 0, 540), ('T=2', 0, 540)]
  printed = main(recipes, *flags, '--seeds', 2, '--budget', 'epochs', '--amount', 0.5)
  assert study.trained[2:] == [('T=4', 1, 540), ('T=2', 1, 540)]  # the first seed is not run again
  assert printed.index('| T=2 (2) | 2 ± 0 | 10.5 ± 0.71 | 7 |') < printed.index('| T=4 (2) |')
  page = tmp_path / 'recipes.md'
  own = '# Recipes\n\nOwn words.\n\n## Own section\n\nMore.\n'
  page.write_text(own)
  for _ in range(2):  # the second time in place of the first tables
    main(recipes, '--results', tmp_path / 'r.jsonl', '--page', page)
    assert page.read_text().startswith(f'{own}\n## Studies\n\n### mnist, 0.5 epochs\n')
    assert page.read_text().count('### mnist') == 1
  for variant, color in (('T=4', 40), ('T=2', 200)):
    place = pictures.path(tmp_path / 'runs/mnist_0.5_epochs' / variant / '0', 'samples', 540)
    place.parent.mkdir()
    place.write_bytes(pictures.png(np.full((80, 80), color, np.uint8)))
  same = '--results', tmp_path / 'r.jsonl', '--runs', tmp_path / 'runs', '--amount', 0.5
  main(recipes, *same, '--picture', tmp_path / 'samples.png')
  beside = np.asarray(Image.open(tmp_path / 'samples.png').convert('L'))
  of = lambda color: np.argwhere(beside == color)[:, 1].min()
  assert of(200) < of(40)  # the smaller error first


@pytest.mark.parametrize('number', recipes.SIGNALS)
def test_a_signal_to_a_study_alone_reaches_the_run_that_trains(number):
  before = signal.getsignal(number)
  code = (
    'import os, signal, sys, time; number = int(sys.argv[1])\n'
    'signal.signal(number, signal.SIG_DFL); os.kill(os.getppid(), number); time.sleep(60)'
  )
  assert recipes.ended([sys.executable, '-c', code, str(int(number))]) == -number
  assert signal.getsignal(number) is before


def test_the_folder_of_results_is_there_before_hours_are_spent(tmp_path):
  assert benchmark_fields.new_file(tmp_path / 'new' / 'f.json').parent.is_dir()


def test_an_epoch_of_a_study_is_the_images_that_are_not_held_out(mnist, tmp_path):
  path = [f'data.path={mnist}', f'data.cache_dir={tmp_path}', 'data.validation=4']
  count = len(np.load(mnist)['train'])
  assert recipes.epoch(argparse.Namespace(config='mnist', fields=path)) == count - count // 4


def test_a_run_that_fails_is_named_and_leaves_the_others_of_a_study(main, monkeypatch, tmp_path):
  study = Study()
  study.codes = {'T=4': 1}
  monkeypatch.setattr(recipes, 'ended', study)
  monkeypatch.setattr(recipes, 'epoch', lambda args: 54_000)
  results = tmp_path / 'r.jsonl'
  flags = '--only', 'T=4', 'T=2', '--results', results, '--runs', tmp_path / 'runs', '--seeds', 1
  with pytest.raises(SystemExit, match='not finished:\nT=4, seed 0: .*/T=4/0 ended with 1'):
    main(recipes, *flags)
  assert [row['variant'] for row in recipes.read(results)] == ['T=2']
  recipes.add(results, {**recipes.read(results)[0], 'config': 'another'})
  study.codes = {'T=4': 75}  # told to stop
  with pytest.raises(SystemExit, match='75'):
    main(recipes, *flags)
  study.codes = {}
  results.write_text(results.read_text() + '{"con')
  with pytest.raises(SystemExit, match='r.jsonl, line 3 is damaged'):
    recipes.read(results)


@pytest.mark.parametrize(
  'benchmark, arguments, message',
  [
    (speed, ['model.dtype=bfloat16', '--only', 'train'], 'model.dtype is what this measures'),
    (speed, ['model.timesteps=4', '--only', 'timesteps'], 'give --only without timesteps'),
    (scaling, [], 'one device sends nothing'),
    (scaling, ['digits'], 'not understood: digits; fields are as'),
    (soak, ['--workdir', 'runs'], 'runs has runs already: name another folder'),
    (recipes, ['--picture', 'a.png', '--results', 'r.jsonl'], 'has no finished run of mnist'),
  ],
)
def test_what_would_measure_something_else_is_refused(
  main, monkeypatch, tmp_path, capsys, benchmark, arguments, message
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs/whole').mkdir(parents=True)
  monkeypatch.setattr(scaling.jax, 'devices', lambda: ['one'])
  with pytest.raises(SystemExit) as ended:
    main(benchmark, *arguments)
  assert message in capsys.readouterr().err + str(ended.value.code)


def test_recipes_of_other_fields_are_other_recipes(main, monkeypatch, tmp_path):
  study = Study()
  monkeypatch.setattr(recipes, 'ended', study)
  monkeypatch.setattr(recipes, 'epoch', lambda args: 54_000)
  flags = '--only', 'T=4', '--results', tmp_path / 'r.jsonl', '--runs', tmp_path / 'runs'
  for given in ((), ('model.latent_dim=64',), (f'data.path={tmp_path}',)):
    printed = main(recipes, *flags, '--seeds', 1, *given)
  assert len(study.trained) == 2  # where data lie makes no other recipe
  assert '### mnist, 1 epochs' in printed and '### mnist model.latent_dim=64, 1 epochs' in printed
  main(recipes, *flags, '--seeds', 1, 'train.batch_size=100')
  assert [steps for *_, steps in study.trained] == [1080, 1080, 540]  # of 54,000 images each
  with pytest.raises(SystemExit):  # what would rank them?
    main(recipes, *flags, 'data.validation=0')


def test_recipes_turn_minutes_into_steps_by_a_short_run(main, monkeypatch, tmp_path):
  study = Study()
  monkeypatch.setattr(recipes, 'ended', study)
  flags = '--only', 'T=4', '--results', tmp_path / 'r.jsonl', '--runs', tmp_path / 'runs'
  main(recipes, *flags, '--seeds', 1, '--budget', 'minutes', '--amount', 2)
  assert [steps for _, _, steps in study.trained] == [recipes.PROBE_STEPS, 2 * 60 * 100 / 50]


def test_every_recipe_is_one_that_trains_and_says_all_of_itself():
  for variant in recipes.VARIANTS.values():
    config = configuration.load('mnist')
    config.update_from_flattened_dict(recipes.COMMON | variant)
    config.train.steps = 1
    values = fields.flatten(config.to_dict())
    has_effect = lambda name, values=values: not fields.idle(name, values)
    assert all(map(has_effect, recipes.COMMON | variant))
    assert set(filter(has_effect, recipes.PUBLISHED)) <= set(variant)  # nothing is left to it
    fields.check_all(config)
    models.make(config.model)


HLO = """
%body (p: f32[4]) -> f32[4] {
  %p = f32[4] parameter(0)
  ROOT %a = f32[4] add(%p, %p), backend_config={"estimated_cycles":"10"}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %l = f32[4] while(%x), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %m = f32[4] multiply(%l, %l), backend_config={"estimated_cycles":"5"}
}
"""


def test_kernels_and_cycles_are_counted_through_loops():
  assert ahead.total(HLO, ahead.kernels) == 3 + 1
  assert ahead.total(HLO, ahead.cycles) == 3 * 10 + 5


def test_the_step_is_compiled_ahead_for_a_gpu(main, monkeypatch):
  pytest.importorskip('jax_cuda12_plugin', reason="needs pip install 'jax[cuda12]'")
  printed = main(ahead, '--target', 'h200', '--batch', '8', *SMALL)
  assert 'kernels: ' in printed


def test_weights_are_drawn_as_pytorch_does(main, tmp_path):
  pytest.importorskip('torch')
  from benchmarks import pytorch_init

  main(pytorch_init, '--out', tmp_path / 'init.npz')
  state = state_dicts.load(tmp_path / 'init.npz')
  wanted = {name for name, _ in reference_arrays.leaves((32, 64, 128, 256)).values()}
  assert set(state) == wanted
  bound = 1 / math.sqrt(1 * 9)
  weight = state['encoder.0.weight']
  assert 0.9 * bound < np.abs(weight).max() <= bound


def test_spikes_of_a_simulator_are_compared_layer_by_layer(main, monkeypatch, tmp_path):
  full = lambda value: np.full(2, value, np.float32)
  lif = nir.LIF(full(1.25e-4), full(1), full(0), full(0.2), full(0))
  nodes = {'input': nir.Input(np.array([2])), 'dense': nir.Affine(np.eye(2), np.zeros(2))}
  nodes |= {'dense_lif': lif, 'output': nir.Output(np.array([2]))}
  chain = list(itertools.pairwise(nodes))
  graph = nir.NIRGraph(nodes, chain, {'dt': 1e-4, 'discretisation': 'euler'})
  nir.write(tmp_path / 'prior.nir', graph)
  x_BTF = np.random.default_rng(0).uniform(size=(3, 4, 2))
  spikes_BTF = nir_simulator.run(graph, x_BTF)[0]['dense_lif'] > 0
  spikes_BTF[0, 0, 0] ^= True
  observed = {'input': {'input': x_BTF}, 'dense_lif': {'spikes': spikes_BTF}}
  observed = {
    name: nir.NIRNodeData({what: nir.TimeGriddedData(x, 1e-4) for what, x in of.items()})
    for name, of in observed.items()
  }
  nir.write_data(tmp_path / 'prior_spikes.nir', nir.NIRGraphData(observed))

  def ours(graph, x_TBF, dt):
    outputs, _ = nir_simulator.run(graph, np.moveaxis(x_TBF, 1, 0))
    return np.moveaxis(outputs['output'], 1, 0)

  monkeypatch.setattr(simulators, 'SIMULATORS', {'nir': ours, 'no_such': ours})
  printed = main(simulators, '--folder', tmp_path)
  assert f'prior/dense_lif, spikes {spikes_BTF.sum()}' in printed
  assert f'values 24, equal {23 / 24}' in printed
  assert 'encoder, FileNotFoundError' in printed and 'no_such is not installed' in printed


@pytest.mark.slow
def test_a_prior_given_all_steps_reconstructs_and_given_none_samples():
  own = {'image_size': 8, 'features': (4,), 'timesteps': 3, 'latent_dim': 5, 'draws': 3}
  nets, key = fsvae.build(fsvae.FSVAEConfig(**own)), jax.random.key(0)
  variables = fsvae.init(nets, key)
  stats = jax.tree.map(lambda x: 0.05 * np.ones_like(x), variables['batch_stats'])
  variables, model = variables | {'batch_stats': stats}, fsvae.make(**own)
  z_BTD = (np.random.default_rng(0).random((4, 3, 5)) < 0.5).astype(np.float32)
  go_on = prior.from_first(nets)
  given = lambda steps: go_on(model, variables, key, z_BTD, np.full(4, steps))
  np.testing.assert_allclose(given(3), model.decode(variables, z_BTD), atol=1e-6)
  np.testing.assert_allclose(given(0), model.generate(variables, key, 4), atol=1e-6)
  assert np.abs(given(1) - given(3)).max() > 0.01 < np.abs(given(1) - given(0)).max()


def test_latents_begin_with_patterns_by_their_shares():
  of = lambda values: np.array(values, np.float32)
  rates = of([[1, 0, 1, 0], [0, 1, 0, 1]])
  patterns = {'share': of([0.2, 0.8]), 'rate': rates, 'mixing': np.eye(2, dtype=np.float32)}
  z_NTD = prior.begun(patterns, 500, timesteps=3)
  first_N = z_NTD[:, :2].reshape(500, 4)[:, 0]
  np.testing.assert_array_equal(
    z_NTD[:, :2].reshape(500, 4), patterns['rate'][1 - first_N.astype(int)]
  )
  assert first_N.mean() == pytest.approx(0.2, abs=0.05) and not z_NTD[:, 2].any()


def test_weights_are_rounded_layer_by_layer():
  kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
  params = {'decoder': {'conv_0': {'synapses': {'kernel': kernel, 'bias': kernel}}}}
  other = rounding.with_rounded({'params': params}, ['decoder/conv_0'], 4)['params']
  rounded = other['decoder']['conv_0']['synapses']
  np.testing.assert_array_equal(rounded['bias'], kernel)
  for channel in range(5):
    assert len(np.unique(rounded['kernel'][..., channel])) <= 15
  step = np.abs(kernel).max((0, 1, 2)) / 7
  assert (np.abs(rounded['kernel'] - kernel) <= step / 2 + 1e-6).all()
  largest = np.abs(rounded['kernel']).max((0, 1, 2))
  np.testing.assert_allclose(largest, np.abs(kernel).max((0, 1, 2)), rtol=1e-6)


def test_rounded_kernels_are_those_that_reconstruct(tmp_path):
  trained = make_trained.make(tmp_path)
  variables, images = jax.device_get(trained.variables), np.zeros((2, 8, 8, 1), np.uint8)
  paths = traverse_util.flatten_dict(variables)
  layers = ['/'.join(path[1:3]) for path in paths if path[-1] == 'kernel']
  want = np.mean((trained.reconstruct(images) - data.normalize(images)) ** 2)
  assert rounding.error(trained, variables, images) == pytest.approx(want)
  other = rounding.with_rounded(variables, layers, 2)
  assert rounding.error(trained, other, images) != pytest.approx(want)


def test_rounding_to_bfloat16_is_measured_against_float64(tmp_path, capsys):
  bfloat16.compare(make_trained.make(tmp_path), 8)
  gradients, spikes = capsys.readouterr().out.strip().split('\n\n')
  rows = {cells[1]: [*map(float, cells[2:-1])] for cells in table(gradients)}
  assert set(rows) == {'encoder', 'posterior', 'prior', 'decoder'}
  for float32, half, other_draws in rows.values():
    assert 0 < float32 < 1e-3 < half < 1 and other_draws > 0
  rows = {cells[1]: [*map(float, cells[2:-1])] for cells in table(spikes)}
  assert {'encoder/conv_0', 'latent/z', 'decoder/conv_0'} < set(rows)
  assert all(float32 <= half for float32, half in rows.values())
  assert 0 < max(half for _, half in rows.values()) < 0.2


def table(text):
  """Cells of the rows of a Markdown table."""
  return [line.split('|') for line in text.replace(' ', '').splitlines()[2:]]


def test_each_benchmark_has_a_test_here():
  tests = pathlib.Path(__file__).read_text().partition('\ndef ')[2]
  elsewhere = {'__init__', 'fields', 'tables', 'published_operations'}
  for path in (pathlib.Path(__file__).parent.parent / 'benchmarks').glob('*.py'):
    name = 'speed' if path.stem == 'run' else path.stem
    assert path.stem in elsewhere or re.search(rf'[\s(=]{name}[,.]', tests), path

"""Runs that begin with another's arrays, and runs in which some networks stay as they are."""

import contextlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from fsvae_jax import assessment, data, inference, models, train, training_step, warm_start
from fsvae_jax.run import checkpoint, states, writer
from fsvae_jax.run import workdir as runs
from tests import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(scope='module', autouse=True)
def untested():
  """Runs without tests on the way, whose programs take as long to compile as the step."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(assessment, 'test', lambda *_: {})
    yield


@pytest.fixture(scope='module')
def short(untested, cache, tmp_path_factory):
  """A finished run of T = 3, and its variables."""
  config, workdir = smoke.config(cache), tmp_path_factory.mktemp('short') / 'run'
  config.train.update(steps=20, test_every=0)
  train.train_and_evaluate(config, workdir)
  return workdir, jax.device_get(inference.restore(config, workdir).variables)


@pytest.fixture(scope='module')
def variables(cache):
  """Of an untrained model, with statistics so small that its neurons fire."""
  made = jax.jit(models.make(smoke.config(cache).model).init)(jax.random.key(5))
  return {**made, 'batch_stats': jax.tree.map(lambda x: 0.1 * x, made['batch_stats'])}


def begun(config, workdir):
  """A run at step 0, as an imported checkpoint leaves one, and its variables."""
  variables = models.make(config.model).init(jax.random.key(5))
  variables = jax.tree.map(lambda x: x + 0.1, variables)
  optimizer = states.make_optimizer(config.train, 1)
  with (
    runs.claim(workdir),
    contextlib.closing(checkpoint.Checkpoints(workdir, keep=1)) as checkpoints,
  ):
    runs.write_record(workdir, config, {})
    checkpoints.save(0, states.create(variables, optimizer, config.train.ema_decay))
  return variables


def flat(variables):
  return traverse_util.flatten_dict(jax.device_get(variables), sep='/')


def assert_equal(got, want, names):
  for name in names:
    np.testing.assert_array_equal(got[name], want[name], err_msg=name)


@pytest.mark.slow
def test_more_timesteps_go_on_from_what_fewer_have_learned(config, short, tmp_path):
  workdir, variables = short
  config.model.timesteps = 5
  config.train.start = str(workdir)
  run = train.prepare(config, tmp_path / 'run')
  optimizer = states.make_optimizer(config.train, run.total)
  state = train.first_state(config, run.model, optimizer, jax.random.key(0), run.start)
  assert state.step == 0 and len(flat(variables)) == len(flat(state.variables))
  assert_equal(flat(state.variables), flat(variables), flat(variables))
  assert_equal(flat(state.ema), flat(variables), flat(variables))
  train.train_and_evaluate(config, tmp_path / 'run')
  begun, cold = (
    writer.read_metrics(w)[0]['train/reconstruction'] for w in (tmp_path / 'run', workdir)
  )
  assert begun < cold


@pytest.mark.slow
def test_what_has_another_shape_begins_anew_and_is_named(config, short, tmp_path, capsys):
  workdir, variables = short
  config.model.latent_dim = 7
  config.train.start = str(workdir)
  train.train_and_evaluate(config, tmp_path / 'run')
  said = next(
    s for s in capsys.readouterr().out.splitlines() if s.startswith('begins as train.start')
  )
  run = train.prepare(config, tmp_path / 'other')
  optimizer = states.make_optimizer(config.train, run.total)
  state = train.first_state(config, run.model, optimizer, jax.random.key(0), run.start)
  fits = lambda name: flat(variables)[name].shape == flat(state.variables)[name].shape
  fitting = {name for name in flat(variables) if fits(name)}
  assert_equal(flat(state.variables), flat(variables), fitting)
  assert 'params/encoder/dense/synapses/kernel' not in fitting
  anew = said.split('anew: ')[1].split(', ')
  assert 'encoder/dense' in anew and 'decoder/dense/synapses/kernel' in anew
  assert not any(name.startswith(('encoder/conv', 'decoder/conv')) for name in anew)


def test_spikes_begin_with_the_convolutions_of_the_ann(config, ann, tmp_path):
  theirs = flat(begun(ann, tmp_path / 'ann'))
  config.train.start = str(tmp_path / 'ann')
  run = train.prepare(config, tmp_path / 'run')
  optimizer = states.make_optimizer(config.train, run.total)
  state = train.first_state(config, run.model, optimizer, jax.random.key(0), run.start)
  convolutions = [name for name in flat(run.start) if '/conv_' in name]
  assert len(convolutions) == 12  # kernel, bias, scale, bias, mean, variance of two
  offsets = {name for name in convolutions if name.endswith('norm/bias')}
  assert_equal(flat(state.variables), theirs, set(convolutions) - offsets)
  for name in offsets:  # what was 1 to leaky ReLU is a threshold to the neurons
    np.testing.assert_allclose(flat(state.variables)[name], config.model.v_th * theirs[name])


def test_a_start_is_looked_at_once_and_a_run_goes_on_without_it(ann, tmp_path):
  begun(ann, tmp_path / 'first')
  ann.train.start = str(tmp_path / 'first')
  train.train_and_evaluate(ann, tmp_path / 'run')
  assert train.prepare(ann, tmp_path / 'run').start == {}


def test_what_a_killed_save_leaves_is_no_run_that_goes_on_without_its_start(config, tmp_path):
  begun(config, tmp_path / 'first')
  config.train.start = str(tmp_path / 'first')
  (tmp_path / 'run' / 'checkpoints' / '2.orbax-checkpoint-tmp').mkdir(parents=True)
  assert train.prepare(config, tmp_path / 'run').start


@pytest.mark.slow
def test_the_patterns_of_a_mixture_are_not_taken_from_another_run(cache, config, tmp_path):
  config.model.latent, config.train.steps = 'mixture', 2
  train.train_and_evaluate(config, tmp_path / 'short')
  variables = inference.restore(config, tmp_path / 'short').variables
  assert variables['batch_stats']['patterns']['share'].any()
  config.train.start = str(tmp_path / 'short')
  start = train.prepare(config, tmp_path / 'run').start
  assert len(start) > 20 and not any('patterns' in name for name in start)


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'train.start': 'nowhere'}, 'train.start is .*nowhere, which has no config.json, so no run'),
    ({'train.only': ('piror',)}, "unknown train.only 'piror'; known: .*prior"),
    ({'train.only': ('latent', 'prior')}, "unknown train.only 'latent'"),
    ({'model.latent': 'mixture', 'train.only': ('patterns',)}, "unknown train.only 'patterns'"),
    (
      {'train.only': ('prior',), 'train.energy_weight': 1.0},
      'train.energy_weight is 1.0, but the prior.*leave it at 0',
    ),
  ],
)
def test_what_is_no_run_or_no_network_is_refused_at_the_start(config, tmp_path, fields, message):
  config.update_from_flattened_dict(fields)
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    train.train_and_evaluate(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_run_of_which_nothing_fits_is_refused(config, tmp_path):
  begun(config, tmp_path / 'first')
  config.train.start = str(tmp_path / 'first')
  with pytest.raises(ValueError, match='first: no array there has a name and shape of this model'):
    warm_start.begin(config, {'params': {'encoder': {'kernel': np.zeros((3, 3))}}})


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'model.tau': 0.5}, 'decoder, encoder, posterior, which .* as model.tau differ: take'),
    ({'model.readout': 'learned'}, 'as there, as model.readout differ'),
    ({'model.readout': 'learned', 'train.only': ('decoder',)}, ''),
    ({'model.features': (7,)}, 'as there, as .*params/encoder/conv_0/.* differ'),
    ({}, ''),
  ],
  ids=str,
)
def test_networks_that_stay_as_they_are_are_those_of_the_start(config, tmp_path, fields, message):
  begun(config, tmp_path / 'first')
  config.train.update(start=str(tmp_path / 'first'), only=('prior',))
  config.update_from_flattened_dict(fields)
  refused = pytest.raises(ValueError, match=message) if message else contextlib.nullcontext()
  with refused:
    train.prepare(config, tmp_path / 'run')


@pytest.mark.parametrize('only', [(), ('prior',)])
def test_networks_that_stay_random_are_warned_of(config, tmp_path, only, caplog):
  config.train.only = only
  with caplog.at_level('WARNING'):
    train.prepare(config, tmp_path / 'run')
  assert ('leaves decoder, encoder, posterior as they begin: random' in caplog.text) == bool(only)


def stepped(config, variables, steps=3):
  """Variables after some steps, and the metrics of the first and of the last."""
  model = models.make(config.model)
  optimizer = states.make_optimizer(config.train, steps)
  state = states.create(variables, optimizer, config.train.ema_decay, config.train.only)
  batch = {'image': data.load(config.data, 8, 1, 'train')[:8]}
  step = lambda s: training_step.train_step(
    model, optimizer, config, steps, s, batch, jax.random.key(1)
  )
  step = jax.jit(step)
  metrics = []
  for _ in range(steps):
    state, own = step(state)
    metrics.append(own)
  return flat(state.variables), metrics[0], metrics[-1]


@pytest.mark.parametrize('only', [('prior',), ('decoder',), ('posterior', 'prior')])
def test_networks_that_are_not_named_keep_parameters_and_statistics(config, variables, only):
  config.train.only = only
  before, (after, _, metrics) = flat(variables), stepped(config, variables)
  moved = {name for name in before if np.any(before[name] != after[name])}
  assert {name.split('/')[1] for name in moved} == set(only)
  assert ('reconstruction' in metrics) == (only != ('prior',)) and metrics['loss'] > 0


def test_the_prior_alone_comes_nearer_to_the_posterior(config, variables):
  config.train.update(only=('prior',), schedule='constant', learning_rate=1e-2)
  config.model.distance = 'kld'
  _, first, last = stepped(config, variables, steps=40)
  assert 0 < last['distance'] < 0.8 * first['distance']

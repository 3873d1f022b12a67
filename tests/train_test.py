"""The training loop on real processes' terms: resuming, interruption, bad states, devices."""

import functools
import json
import os
import pathlib
import shutil
import signal
import threading
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from flax import traverse_util

from fsvae_jax import assessment, data, inference, models, train, training_step
from fsvae_jax.compute import chunks
from fsvae_jax.models import networks
from fsvae_jax.run import checkpoint, sharding, signals, states, workdir, writer
from tests import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')


@pytest.fixture(scope='module', autouse=True)
def one_program():
  """Runs whose steps are alike share the compiled step: to trace it takes as long as all else."""
  compiled, compile_step = {}, train.compile_step

  def shared(function, *args):
    _, _, config, total = function.args
    own = {n: x for n, x in config.train.items() if n not in ('test_every', 'checkpoint_every')}
    shapes = jax.tree.map(lambda x: (x.shape, str(x.sharding)), args)
    alike = str((config.model.to_json(), config.data.flip, own, total, shapes))
    if alike not in compiled:
      compiled[alike] = compile_step(function, *args)
    return compiled[alike]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, 'compile_step', shared)
    yield


@pytest.fixture(scope='module')
def trained(cache, tmp_path_factory):
  """What a whole run returns, and its workdir."""
  workdir = tmp_path_factory.mktemp('trained') / 'run'
  return train.train_and_evaluate(smoke.config(cache), workdir), workdir


@pytest.fixture(scope='module')
def trained_ann(cache, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained') / 'ann'
  train.train_and_evaluate(smoke.ann_config(cache), workdir)
  return workdir


@pytest.fixture
def finished(trained_ann, tmp_path):
  """A copy of the ANN's finished workdir."""
  return pathlib.Path(shutil.copytree(trained_ann, tmp_path / 'finished'))


KEY = jax.random.key(1)


def restored(config, workdir):
  """The newest state in `workdir`, as numpy arrays."""
  model = models.make(config.model)
  optimizer = states.make_optimizer(config.train, 1)
  whole = sharding.replicated(sharding.make_mesh())
  create = lambda key: states.create(model.init(key), optimizer, config.train.ema_decay)
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
    jax.eval_shape(create, jax.random.key(0)),
  )
  return jax.device_get(checkpoint.Checkpoints(workdir, keep=3).restore(like))


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def interrupt_after(monkeypatch, steps, number=signal.SIGINT):
  """Sends this process a signal after so many calls of `batches`' elements."""
  original = data.batches

  def batches(*args):
    for i, batch in enumerate(original(*args)):
      if i == steps:
        os.kill(os.getpid(), number)
      yield batch

  monkeypatch.setattr(data, 'batches', batches)


def test_a_run_leaves_what_it_promises(trained):
  (is_finished, last), workdir = trained
  assert is_finished
  rows = writer.read_metrics(workdir)
  assert [r['step'] for r in rows] == [2, 3, 4, 6]
  assert {'train/loss', 'train/reconstruction', 'train/distance', 'images_per_s'} <= set(rows[0])
  assert 0.1 < rows[0]['peak_memory_gb'] < 100
  tested = rows[-1]
  assert {'test/reconstruction', 'test/distance', 'firing/encoder/conv_0'} <= set(tested)
  assert {k: v for k, v in tested.items() if k != 'step'} == last
  rates = [v for k, v in tested.items() if k.startswith('firing/')]
  assert all(0 <= v <= 1 for v in rates) and any(rates)
  assert len(rates) == 1 + 1 + 3 + 3 + 1 + 1 + 1
  pictures = sorted(p.name for p in (workdir / 'pictures').iterdir())
  assert pictures == [
    f'{name}_{step:06d}.png' for name in ('reconstructions', 'samples') for step in (3, 6)
  ]
  assert any((workdir / 'tensorboard').iterdir())
  assert json.loads((workdir / 'config.json').read_text())['model']['timesteps'] == 3


def test_interrupted_and_resumed_equals_uninterrupted(config, trained, tmp_path, monkeypatch):
  """By SIGHUP, then by SIGTERM; nothing but the signals saves."""
  config.train.update(test_every=0, checkpoint_every=0)
  steps = [0]
  for number in (signal.SIGHUP, signal.SIGTERM):
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
      interrupt_after(patch, 1, number)
      assert not train.train_and_evaluate(config, tmp_path / 'cut')[0]
    assert signal.getsignal(number) is before
    steps.append(writer.read_metrics(tmp_path / 'cut')[-1]['step'])
    assert steps[-2] < steps[-1] < 6
    assert (tmp_path / 'cut' / 'checkpoints' / str(steps[-1])).is_dir()
  train.train_and_evaluate(config, tmp_path / 'cut')
  assert_equal(restored(config, trained[1]), restored(config, tmp_path / 'cut'))
  whole, cut = (writer.read_metrics(folder)[-1] for folder in (trained[1], tmp_path / 'cut'))
  assert whole['step'] == cut['step'] == 6
  assert whole['test/reconstruction'] == cut['test/reconstruction']


def test_a_signal_during_a_test_loses_nothing(ann, tmp_path, monkeypatch):
  ann.train.update(test_every=3, checkpoint_every=0)
  scalars = assessment.test_scalars

  def interrupted(*args):
    os.kill(os.getpid(), signal.SIGINT)
    return scalars(*args)

  with monkeypatch.context() as patch:
    patch.setattr(assessment, 'test_scalars', interrupted)
    train.train_and_evaluate(ann, tmp_path)
  assert sorted(int(p.name) for p in (tmp_path / 'checkpoints').glob('[0-9]*')) == [4]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_last_checkpoint_is_saved_loses_nothing(
  ann, tmp_path, monkeypatch, number
):
  ann.data.validation = 10
  settle = checkpoint.Checkpoints._settle

  def interrupted(self):
    if self._closed:
      os.kill(os.getpid(), number)
    settle(self)

  with monkeypatch.context() as patch, signals.raised():
    patch.setattr(checkpoint.Checkpoints, '_settle', interrupted)
    assert train.train_and_evaluate(ann, tmp_path)[0] is False
  assert inference.restore(ann, tmp_path, 'best').step == 6


def test_the_last_checkpoint_is_validated_though_a_signal_has_come(ann, tmp_path, monkeypatch):
  ann.data.validation = 10
  ann.train.update(test_every=0, checkpoint_every=0)
  monkeypatch.setattr(train.sharding, 'any_process', lambda *_: np.bool_(True))
  ann.train.steps = 1
  train.train_and_evaluate(ann, tmp_path)
  assert inference.restore(ann, tmp_path, 'best').step == 1


def test_a_finished_run_started_again_compiles_no_step(ann, finished, monkeypatch):
  monkeypatch.setattr(train, 'compile_step', lambda *args: pytest.fail('compiled'))
  assert train.train_and_evaluate(ann, finished) == (True, {})


def test_a_checkpoint_of_another_state_is_refused_and_stays(ann, finished):
  ann.train.ema_decay = 0.0
  (finished / 'config.json').unlink()  # which would have refused it
  with pytest.raises(ValueError, match='(?s)checkpoint 6 .*another state.*ema/'):
    train.train_and_evaluate(ann, finished)
  assert (finished / 'checkpoints' / '6').is_dir()
  assert not (finished / 'config.json').exists()  # it would refuse the right one


def test_a_run_of_another_version_is_told_of_its_field(ann, finished):
  ann.model.unlock()
  ann.model.newfield = 3
  with pytest.raises(ValueError, match='config.json is of another version: .*newfield'):
    inference.restore(ann, finished)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(ann, finished, caplog):
  want = restored(ann, finished)
  for path in (finished / 'checkpoints' / '6' / 'state').rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with caplog.at_level('WARNING'):
    train.train_and_evaluate(ann, finished)
  assert '6 cannot be read' in caplog.text
  assert (finished / 'checkpoints' / '6.unreadable').is_dir()
  assert_equal(restored(ann, finished), want)


def test_a_loss_that_is_not_finite_stops_and_the_last_good_checkpoint_stays(ann, finished):
  ann.train.update(steps=10, checkpoint_every=1, learning_rate=1e38)
  with pytest.raises(FloatingPointError, match='update_norm is (inf|nan) at step 7'):
    train.train_and_evaluate(ann, finished)
  assert sorted(p.name for p in (finished / 'checkpoints').glob('[0-9]*')) == ['2', '4', '6']


def test_another_models_workdir_is_refused_and_untouched(ann, finished):
  files = {p: p.stat().st_mtime_ns for p in finished.rglob('*')}
  ann.model.update(latent_dim=7, kl_weight=0.5)
  with pytest.raises(
    ValueError, match=r'(?s)model.kl_weight: 0.1 there, 0.5 now.*model.latent_dim: 6 there'
  ):
    train.train_and_evaluate(ann, finished)
  assert files == {p: p.stat().st_mtime_ns for p in finished.rglob('*')}


def test_other_images_are_not_gone_on_with(ann, finished, tmp_path):
  """Neither trained on nor evaluated; the same ones at another place are."""
  train_images, test_images = (data.load(ann.data, 8, 1, split)[:] for split in ('train', 'test'))
  np.savez(tmp_path / 'same.npz', train=train_images, test=test_images)
  np.savez(tmp_path / 'others.npz', train=train_images[::-1], test=test_images)
  files = {p: p.stat().st_mtime_ns for p in finished.rglob('*')}
  ann.data.path = str(tmp_path / 'others.npz')
  with pytest.raises(ValueError, match=r'(?s)train images are not those .*data.path: .*others.npz'):
    train.train_and_evaluate(ann, finished)
  with pytest.raises(ValueError, match='train images are not those'):
    inference.restore(ann, finished).images('train')
  assert files == {p: p.stat().st_mtime_ns for p in finished.rglob('*')}
  ann.data.path = str(tmp_path / 'same.npz')
  assert train.train_and_evaluate(ann, finished) == (True, {})


@pytest.mark.slow
def test_a_batch_that_not_all_devices_share_is_trained_on_those_that_do(ann, tmp_path, capsys):
  ann.train.update(batch_size=6, steps=2)
  assert train.train_and_evaluate(ann, tmp_path)[0]
  assert '3 of 4 devices share the batch of 6' in capsys.readouterr().out


def test_a_thread_trains_without_handlers(ann, tmp_path):
  done = []
  work = lambda: done.append(train.train_and_evaluate(ann, tmp_path)[0])
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert done == [True]


def test_a_workdir_in_use_is_refused_until_it_is_free(ann, tmp_path):
  with workdir.claim(tmp_path):
    with pytest.raises(ValueError, match=f'in use by process {os.getpid()} of .*: wait for it'):
      train.train_and_evaluate(ann, tmp_path)
    assert not (tmp_path / 'metrics.jsonl').exists()
  with workdir.claim(tmp_path):
    pass


@pytest.mark.parametrize(
  'section, field, value, message',
  [
    ('model', 'name', 'vqvae', 'unknown model .*known: fsvae'),
    ('model', 'surrogate', 'step', 'unknown model.surrogate .*known: reference_rectangle'),
    ('model', 'latent', 'gauss', 'unknown model.latent .*known: bernoulli'),
    ('model', 'readout', 'last', 'unknown model.readout .*known: leaky'),
    ('model', 'distance', 'wasserstein', 'unknown model.distance .*known: mmd, kld'),
    ('model', 'variance', 'batch', 'unknown model.variance .*known: fixed, error'),
    ('model', 'variance', 'error', "model.variance is 'error', .*set model.distance_weight"),
    ('model', 'pick_gradient', 'all', 'unknown model.pick_gradient .*known: picked, mean'),
    ('model', 'timesteps', 0, 'model.timesteps is 0'),
    ('model', 'draws', 0, 'model.draws is 0'),
    ('model', 'channels', 2, 'model.channels is 2; it must be 1 .grey. or 3'),
    ('model', 'scheduled_sampling', (0.1, 1.3), 'scheduled_sampling is .*two rates'),
    ('model', 'image_size', 9, 'model.image_size 9 is not a multiple of 2'),
    ('data', 'name', 'minst', 'unknown data.name .*known: digits'),
    ('train', 'optimizer', 'sgd', 'unknown train.optimizer .*known: adamw, muon'),
    ('train', 'schedule', 'step', 'unknown train.schedule .*known: constant'),
    ('train', 'batch_size', 4000, 'train.batch_size is 4000, but there are only 1618'),
    ('train', 'micro_batches', 3, 'train.batch_size is 8, which 3 parts cannot .* choose 6 or 9'),
    ('data', 'validation', 1, 'data.validation is 1; it must be 0, or 2 to 1618'),
  ],
)
def test_a_wrong_configuration_fails_before_anything_is_written(
  config, tmp_path, section, field, value, message
):
  config[section][field] = value
  with pytest.raises(ValueError, match=message):
    train.train_and_evaluate(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_name_that_is_not_known_is_told_before_images_are_read(ann, tmp_path, monkeypatch):
  monkeypatch.setattr(train.data, 'load', None)
  ann.train.schedule = 'step'
  with pytest.raises(ValueError, match='unknown train.schedule'):
    train.prepare(ann, tmp_path)


def test_more_steps_than_can_be_counted_are_refused(ann, tmp_path):
  ann.train.update(steps=0, epochs=10**8)
  with pytest.raises(ValueError, match='train.epochs is 100000000, which are 20200000000 steps'):
    train.prepare(ann, tmp_path)


def test_a_field_of_another_model_is_named_before_anything_is_written(ann, tmp_path):
  with ann.unlocked():
    ann.model.classes = 3
  with pytest.raises(ValueError, match="config.model, of model.name ann_vae: .*'classes'"):
    train.train_and_evaluate(ann, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_warm_up_that_does_not_end_is_told(ann, tmp_path, caplog):
  ann.train.update(steps=6, warmup_steps=6)
  train.prepare(ann, tmp_path)
  assert 'warmup_steps is 6, and there are 6 steps: the learning rate never' in caplog.text


def test_an_unknown_field_is_an_error(config):
  with pytest.raises((AttributeError, KeyError), match='timestep'):
    config.model.timestep = 3


def steps_on(config, devices, steps=20):
  """Losses of steps on so many devices, variables after them, and samples of those before them."""
  model = models.make(config.model)
  optimizer = states.make_optimizer(config.train, steps)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  images = data.load(config.data, 8, 1, 'train')
  with jax.set_mesh(mesh):
    create = lambda key: states.create(model.init(key), optimizer, 0.0)
    state = jax.jit(create, out_shardings=sharding.replicated(mesh))(jax.random.key(0))
    samples = jax.jit(lambda v, key: model.generate(v, key, 8))(state.variables, jax.random.key(2))
    step_fn = functools.partial(training_step.train_step, model, optimizer, config, steps)
    step_fn = jax.jit(step_fn)
    losses = []
    for batch in data.batches(images, 8, 0, 0, steps):
      batch = jax.tree.map(functools.partial(sharding.global_batch, mesh), batch)
      state, metrics = step_fn(state, batch, jax.random.key(1))
      losses.append(float(metrics['loss']))
  return losses, jax.device_get(state.variables), samples


@pytest.mark.slow
def test_four_devices_train_as_one(config, monkeypatch):
  monkeypatch.setattr(chunks, 'CACHE_BYTES', 1)  # loops over single images
  for network in (networks.Encoder, networks.Decoder):
    monkeypatch.setattr(network, 'at_a_time', 1)
  one, four = steps_on(config, 1), steps_on(config, 4)
  np.testing.assert_allclose(four[0], one[0], rtol=2e-6)
  np.testing.assert_allclose(four[2], one[2], atol=1e-6)
  assert len(four[2].addressable_shards) == 4 and four[2].addressable_shards[0].data.shape[0] == 2
  for path, want in traverse_util.flatten_dict(one[1]).items():
    got = traverse_util.flatten_dict(four[1])[path]
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4, err_msg=str(path))


def gradients(config, parts=1, devices=1, training=True):
  """`training_step.gradients` of an untrained model on 16 images, and their program."""
  model = models.make(config.model)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  images = data.normalize(data.load(config.data, 8, 1, 'train')[:16])

  def loss_fn(params, batch_stats, batch, draws):
    variables = {'params': params, 'batch_stats': batch_stats}
    return model.loss(variables, batch, draws, 0.5, train=training)

  with jax.set_mesh(mesh):
    variables = jax.jit(model.init, out_shardings=sharding.replicated(mesh))(KEY)
    batch = {'image': sharding.global_batch(mesh, np.asarray(images))}
    inputs = variables, batch, model.draw(KEY, 16)
    program = jax.jit(lambda *args: training_step.gradients(loss_fn, *args, parts)).trace(*inputs)
    results = program.lower().compile()(*inputs)
  return jax.device_get(results), str(program.jaxpr)


@pytest.mark.parametrize('name', [pytest.param('fsvae', marks=pytest.mark.slow), 'ann_vae'])
def test_micro_batches_give_the_gradient_of_the_whole_but_for_statistics(config, ann, name):
  """On running statistics, not the batch's, images are independent: nothing may differ."""
  config = {'fsvae': config, 'ann_vae': ann}[name]
  (one, _, one_metrics), _ = gradients(config, devices=2, training=False)
  (four, _, four_metrics), _ = gradients(config, parts=4, devices=2, training=False)
  assert optax.tree.norm(one) > 1e-2
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  jax.tree.map(close, (four, four_metrics), (one, one_metrics))


def test_the_energy_is_pressed_down_to_its_target_and_no_further(config):
  spiking = {'accumulates': jnp.float32(4e6), 'multiply_accumulates': jnp.float32(1e6)}
  config.train.energy_weight, config.train.energy_target = 0.5, 8.0
  energy = 4e6 * 0.9e-6 + 1e6 * 4.6e-6  # 8.2 uJ
  total, metrics = training_step.with_energy(config, jnp.float32(1.0), spiking)
  np.testing.assert_allclose([total, metrics['energy_uj']], [1 + 0.5 * 0.2, energy], rtol=1e-5)
  config.train.energy_target = 9.0
  with_spikes = lambda x: {**spiking, 'accumulates': x}
  slope = jax.grad(lambda x: training_step.with_energy(config, 1.0, with_spikes(x))[0])
  assert slope(jnp.float32(4e6)) == 0


def test_the_price_on_energy_is_a_part_of_what_a_test_says(config, trained):
  run = inference.restore(config, trained[1])
  images = run.images('test')[:8]
  free = assessment.test_scalars(run, images, KEY)
  run.config.train.update(energy_weight=2.0, energy_target=0.001)
  priced = assessment.test_scalars(run, images, KEY)
  assert priced['energy_uj'] > 0.001 and 'energy_uj' not in free
  dearer = free['loss'] + 2 * (priced['energy_uj'] - 0.001)
  assert priced['loss'] == pytest.approx(dearer, rel=1e-5)
  del priced['accumulates'], priced['multiply_accumulates'], priced['energy_uj'], priced['loss']
  assert priced == pytest.approx({name: x for name, x in free.items() if name != 'loss'}, rel=1e-5)


@pytest.mark.slow
def test_training_with_a_price_on_energy_takes_less_of_it(config, tmp_path):
  config.train.update(steps=40, log_every=1, test_every=0, checkpoint_every=0, energy_weight=1e3)
  train.train_and_evaluate(config, tmp_path / 'run')
  energy = [row['train/energy_uj'] for row in writer.read_metrics(tmp_path / 'run')]
  assert np.mean(energy[-5:]) < 0.9 * np.mean(energy[:5])


def test_a_price_on_energy_is_refused_where_nothing_spikes(ann, tmp_path):
  ann.train.energy_weight = 1.0
  with pytest.raises(ValueError, match='train.energy_weight is 1.0, but ann_vae has no spikes'):
    train.train_and_evaluate(ann, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_rematerialisation_changes_no_gradient(config):
  kept, program = gradients(config)
  config.model.remat = True
  recomputed, remat_program = gradients(config)
  assert 'remat' in remat_program and 'remat' not in program
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
  jax.tree.map(close, recomputed, kept)


def test_micro_batches_move_the_statistics_part_by_part():
  def loss(params, batch_stats, batch, draws):
    moved = 0.9 * batch_stats + 0.1 * jax.numpy.mean(batch['image'])
    drawn = jax.numpy.mean(draws)
    return params * drawn, (moved, {'loss': drawn})

  images, draws = (jax.numpy.repeat(jax.numpy.arange(3.0) + least, 2) for least in (1, 0))
  variables = {'params': jax.numpy.float32(1), 'batch_stats': jax.numpy.float32(0)}
  batch = {'image': images.reshape(6, 1, 1, 1)}
  grads, batch_stats, metrics = training_step.gradients(loss, variables, batch, draws, 3)
  assert grads == metrics['loss'] == 1  # the mean of 0, 1, 2
  np.testing.assert_allclose(batch_stats, 0.81 * 0.1 + 0.9 * 0.2 + 0.3, rtol=1e-6)


def test_a_step_is_taken_in_the_parts_that_were_asked_for(ann, monkeypatch):
  model = models.make(ann.model)
  optimizer = states.make_optimizer(ann.train, 2)
  state = states.create(model.init(KEY), optimizer, 0)
  batch = {'image': np.zeros((8, 8, 8, 1), np.uint8)}
  counts, gradients = [], training_step.gradients
  monkeypatch.setattr(
    training_step, 'gradients', lambda *a: counts.append(a[-1]) or gradients(*a[:-1], 1)
  )
  for ann.train.micro_batches in (1, 2):
    step = functools.partial(training_step.train_step, model, optimizer, ann, 2)
    jax.eval_shape(step, state, batch, KEY)
  assert counts == [1, 2]


def test_the_checkpoint_of_the_smallest_validation_loss_stays(ann, tmp_path, monkeypatch):
  ann.data.validation = 10
  ann.train.update(keep=1, test_every=0)
  losses = iter([0.2, 0.1, 0.3, 0.4])  # after steps 2, 4, 6, and of the test
  judged = []
  monkeypatch.setattr(
    assessment,
    'test_scalars',
    lambda _, images, __: judged.append(images) or {'loss': next(losses)},
  )
  train.train_and_evaluate(ann, tmp_path)
  held_out = train.prepare(ann, tmp_path).held_out
  *validated, tested = (np.asarray(images) for images in judged)
  for images in validated:
    np.testing.assert_array_equal(images, held_out)
  assert len(tested) == ann.test.images and (tested != validated[0]).any()
  assert sorted(p.name for p in (tmp_path / 'checkpoints').glob('[0-9]*')) == ['4', '6']
  assert [row.get('validation/loss') for row in writer.read_metrics(tmp_path)] == [0.2, 0.1, 0.3]
  assert inference.restore(ann, tmp_path, 'best').step == 4
  assert inference.restore(ann, tmp_path).step == 6


def test_the_line_of_a_run_that_was_killed_after_its_last_save_is_written(ann, finished):
  path = finished / 'metrics.jsonl'
  *before, last = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(before))
  assert train.train_and_evaluate(ann, finished)[0]
  *kept, anew = path.read_text().splitlines(keepends=True)
  assert kept == before
  tested = {n: x for n, x in json.loads(last).items() if n.startswith(('step', 'test/'))}
  assert json.loads(anew) == tested and 'test/reconstruction' in tested
  assert train.train_and_evaluate(ann, finished) == (True, {})


def test_what_a_model_does_not_fit_is_left_as_it_is(ann, finished, monkeypatch):
  """Running statistics of a network without parameters, in a model of one's own."""
  monkeypatch.setattr(train, 'unfitted', lambda state: pytest.fail('statistics are lost'))
  ann.train.steps += 1
  assert train.train_and_evaluate(ann, finished)[0]


def test_held_out_images_are_not_trained_on(ann, tmp_path):
  whole = len(train.prepare(ann, tmp_path).train_images)
  ann.data.validation = 10
  run = train.prepare(ann, tmp_path)
  pixels = lambda images: {image.tobytes() for image in np.asarray(images)}
  assert len(run.held_out) == ann.test.images
  assert len(run.train_images) == whole - whole // 10
  assert not pixels(run.train_images) & pixels(run.held_out)


def test_a_test_is_of_the_averaged_parameters_and_running_statistics_on_the_test_images(
  config, trained
):
  (_, last), workdir = trained
  run = inference.restore(config, workdir)
  images, key = run.images('test')[:18], jax.random.split(jax.random.key(config.seed), 3)[2]
  total, start = 0.0, 0
  for number, size in enumerate((8, 8, 2)):
    images_B = data.normalize(images[start : start + size])
    repeated = jnp.tile(images_B, (2, 1, 1, 1)) if size == 2 else images_B  # for four devices
    draws = run.model.draw(jax.random.fold_in(key, number), len(repeated))
    batch = {'image': repeated, 'label': None}
    _, (_, metrics) = run.model.loss(run.variables, batch, draws, train=False)
    total, start = total + size / 18 * float(metrics['reconstruction']), start + size
  assert total == pytest.approx(last['test/reconstruction'], rel=1e-5)


def test_without_validation_there_is_no_best(ann, finished):
  with pytest.raises(ValueError, match='no checkpoint .* has a validation loss: train with data.v'):
    inference.restore(ann, finished, 'best')


@pytest.mark.parametrize('decay, step, old', [(0.9, 0, 0.1), (0.9, 8, 0.5), (0.9, 10_000, 0.9)])
def test_the_moving_average_is_short_at_first_and_then_as_its_decay_says(decay, step, old):
  at = lambda value: {'params': {'kernel': jnp.full(3, value)}}
  state = states.TrainState(jnp.int32(step), at(0.0), (), ema=at(1.0))
  moved = training_step.moving_average(state, at(0.0), decay)
  chex.assert_trees_all_close(moved, at(old), rtol=1e-6)
  assert moved['params']['kernel'].dtype == jnp.float32


def test_every_number_of_a_run_follows_from_its_seed(ann, trained_ann, tmp_path, monkeypatch):
  """That the same seed gives the same is what an interrupted run shows."""
  orders, batches, keys, loop = [], data.batches, [], train.loop
  monkeypatch.setattr(data, 'batches', lambda *a: orders.append(a[2]) or batches(*a))
  monkeypatch.setattr(train, 'loop', lambda *a: keys.append(a[4]) or loop(*a))
  ann.seed = 1
  train.train_and_evaluate(ann, tmp_path)
  of_seed_0 = jax.random.split(jax.random.key(0), 3)[1:]
  for key, other in zip(keys[0], of_seed_0, strict=True):
    assert (jax.random.key_data(key) != jax.random.key_data(other)).any()
  first, other = (
    writer.read_metrics(folder)[0]['train/loss'] for folder in (trained_ann, tmp_path)
  )
  assert orders == [1] and first != other


def test_a_step_draws_anew_flips_half_of_the_images_and_moves_the_moving_average(config):
  config.data.flip = True
  seen, shares, keys = [], [], []

  def draw(key, count):
    keys.append(jax.random.key_data(key).tolist())
    return ()

  def loss(variables, batch, draws, schedule, train):
    seen.append(batch['image'])
    shares.append(float(schedule))
    weight = variables['params']['network']
    return batch['image'].sum() * weight, (variables['batch_stats'], {'loss': 0.0})

  model = models.Model(None, draw, loss, None, None, None, None)
  optimizer = states.make_optimizer(config.train, 1)
  variables = {'params': {'network': jax.numpy.ones(())}, 'batch_stats': {}}
  state = states.create(variables, optimizer, 0.9)
  ramp = np.broadcast_to(np.arange(8, dtype=np.uint8).reshape(1, 1, 8, 1), (64, 8, 8, 1))
  with jax.disable_jit():
    for step in (0, 3, 3):
      at = state.replace(step=jnp.int32(step))
      after, _ = training_step.train_step(model, optimizer, config, 6, at, {'image': ramp}, KEY)
      moved = training_step.moving_average(at, after.variables, config.train.ema_decay)
      chex.assert_trees_all_equal(after.ema, moved)
      assert after.ema['params']['network'] != after.variables['params']['network'] != 1
  assert shares == [0, 0.5, 0.5]  # of the training that is over, for scheduled sampling
  assert keys[0] != keys[1] == keys[2]
  rising_SB = np.asarray(seen)[:, :, 0, 0, 0] == -1
  assert (rising_SB[0] != rising_SB[1]).any() and (rising_SB[1] == rising_SB[2]).all()
  assert 16 < rising_SB[0].sum() < 48


def test_a_start_says_which_class_is_which_and_which_has_no_image(capsys):
  train.say_classes(('cats', 'dogs'), np.array([0, 0, 1]), 2)
  assert capsys.readouterr().out == 'labels: 0 cats, 1 dogs\n'
  train.say_classes((), np.array([0, 4, 4]), 6)
  assert capsys.readouterr().out == 'no training image is of class 1, 2, 3, 5\n'


def test_a_start_has_a_line_a_network_and_all_its_layers_if_asked(capsys):
  params = {'encoder': {'dense': {'kernel': np.zeros((20, 60)), 'bias': np.zeros(60)}}}
  model = types.SimpleNamespace(classes=0)
  changed = {'train.steps': (6, 9)}
  own = {'start': {}, 'train_images': 'abc', 'test_images': 'd', 'total': 9, 'changed': changed}
  run = types.SimpleNamespace(model=model, **own)
  state = types.SimpleNamespace(variables={'params': params}, step=4)
  train.say_start(run, state)
  brief = 'encoder          1,260 parameters\n3 training and 1 test images; step 4 of 9\n'
  brief += 'from here on with train.steps 9; it was 6\n'
  assert capsys.readouterr().out == brief
  before = logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  train.say_start(run, state)
  logging.set_verbosity(before)
  assert 'encoder/dense/kernel' in capsys.readouterr().out

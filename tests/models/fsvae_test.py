"""The whole model against the arrays recorded from the reference, and its properties."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from fsvae_jax.compute import chunks, platform
from fsvae_jax.exchange import reference_arrays
from fsvae_jax.models import fsvae, layers, networks, passes
from tests import golden

pytestmark = pytest.mark.usefixtures('quick_compilation')

GOLDEN = golden.load('fsvae_small')
CONFIG = fsvae.FSVAEConfig(timesteps=6, latent_dim=8, draws=4)
NETS = fsvae.build(CONFIG)
IMAGE = jnp.asarray(golden.image(GOLDEN['img']))


def picks(group):
  return jnp.asarray(golden.time_first(GOLDEN[f'{group}/picks']), jnp.int32)


@pytest.fixture(scope='module')
def variables():
  like = jax.eval_shape(functools.partial(fsvae.init, NETS), jax.random.key(0))
  return reference_arrays.convert(golden.group(GOLDEN, 'state'), CONFIG.features, like)


@pytest.fixture(scope='module')
def evaluated(variables):
  return jax.jit(lambda v: fsvae.forward(NETS, v, IMAGE, {'picks': picks('eval')}))(variables)


def train_pass(variables, dtype=jnp.float32, nets=NETS, rows=slice(None)):
  """(loss, (pass, metrics)) and gradients in training mode, on the recorded history."""
  variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables)
  image = IMAGE[rows].astype(dtype)
  history = jnp.asarray(golden.time_first(GOLDEN['train/z_prev']), dtype)[rows]

  def loss(params):
    draws = {'picks': picks('train')[rows], 'history': history}
    out = fsvae.forward(nets, {**variables, 'params': params}, image, draws, train=True)
    total, (_, metrics) = fsvae.objective(nets, out, image)
    return total, (out, metrics)

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])


@pytest.fixture(scope='module')
def trained(variables):
  return train_pass(variables)


def test_evaluation_gives_the_recorded_spikes_images_and_losses(variables, evaluated):
  for name, ours in {**evaluated.terms, 'z': evaluated.z_BTD}.items():
    np.testing.assert_array_equal(ours, golden.time_first(GOLDEN[f'eval/{name}']), name)
  recorded = golden.image(GOLDEN['eval/recon'])
  np.testing.assert_allclose(evaluated.reconstruction_BHWC, recorded, atol=1e-5)
  for distance, loss in (('mmd', 'loss_mmd'), ('kld', 'loss_kld')):
    nets = fsvae.build(dataclasses.replace(CONFIG, distance=distance))
    total, (_, metrics) = fsvae.objective(nets, evaluated, IMAGE)
    np.testing.assert_allclose(metrics['reconstruction'], GOLDEN['eval/recon_loss'], rtol=1e-5)
    np.testing.assert_allclose(metrics['distance'], GOLDEN[f'eval/{distance}'], rtol=1e-5)
    np.testing.assert_allclose(total, GOLDEN[f'eval/{loss}'], rtol=1e-5)


def test_with_the_errors_own_variance_the_distance_weighs_as_much_less_as_the_error_is(evaluated):
  def gradients(**fields):
    nets = fsvae.build(dataclasses.replace(CONFIG, distance='kld', **fields))
    with_arrays = lambda image, q: evaluated._replace(
      reconstruction_BHWC=image, terms={**evaluated.terms, 'q': q}
    )
    loss = lambda *arrays: fsvae.objective(nets, with_arrays(*arrays), IMAGE)[0]
    return jax.grad(loss, (0, 1))(evaluated.reconstruction_BHWC, evaluated.terms['q'])

  error = jnp.mean(jnp.square(evaluated.reconstruction_BHWC - IMAGE))
  of_error, of_distance = gradients(variance='fixed', distance_weight=2 * error.item() / 32**2)
  pairs = zip(
    gradients(variance='error', distance_weight=1.0), (of_error, of_distance), strict=True
  )
  for ours, fixed in pairs:
    assert jnp.any(fixed != 0)
    np.testing.assert_allclose(ours * 2 * error / 32**2, fixed, rtol=1e-4, atol=1e-9)


def test_networks_that_are_to_train_are_named_as_they_are():
  run = functools.partial(passes.Pass, NETS.modules, {})
  assert run(train='prior').train == {'prior'} == run(train=('prior',)).train
  assert run(train=True).train == set(NETS.modules) and not run(train=False).train
  with pytest.raises(ValueError, match="unknown train 'priors'; known: encoder, posterior, prior"):
    run(train=('priors',))


def test_encoder_gives_the_recorded_spikes(variables):
  def run(variables):
    x_BTD, recorded = NETS.modules['encoder'].apply(
      {part: tree['encoder'] for part, tree in variables.items()},
      IMAGE,
      capture_intermediates=lambda module, _: module.name == 'conv_3',
      mutable=['intermediates'],
    )
    drive = recorded['intermediates']['conv_3']['__call__'][0]
    return x_BTD, layers.fire(NETS.modules['encoder'].neuron, drive)[0]

  x_BTD, spikes = jax.jit(run)(variables)
  np.testing.assert_array_equal(x_BTD, golden.time_first(GOLDEN['eval/latent_spikes']))
  np.testing.assert_array_equal(spikes, golden.video(GOLDEN['eval/encoder_spikes']))


def test_generation_from_recorded_picks(variables):
  run = passes.Pass(NETS.modules, variables)
  z_BTD = NETS.latent.sample(run, {'picks': picks('sample')})
  np.testing.assert_array_equal(z_BTD, golden.time_first(GOLDEN['sample/z']))
  image_BHWC = fsvae.decode(NETS, variables, z_BTD)
  np.testing.assert_allclose(image_BHWC, golden.image(GOLDEN['sample/x']), atol=1e-5)


def test_training_pass_gives_the_recorded_loss_and_statistics(trained):
  (loss, (out, metrics)), _ = trained
  np.testing.assert_allclose(loss, GOLDEN['train/loss'], rtol=1e-5)
  np.testing.assert_allclose(metrics['distance'], GOLDEN['train/mmd'], rtol=1e-5)
  np.testing.assert_array_equal(out.terms['q'], golden.time_first(GOLDEN['train/q']))
  recorded = golden.group(GOLDEN, 'train_stats')
  moved = traverse_util.flatten_dict({'batch_stats': out.batch_stats})
  assert len(recorded) == 2 * 13  # of every layer with tdBN but the posterior's three
  for path, (name, change) in reference_arrays.leaves(CONFIG.features).items():
    if name in recorded:
      np.testing.assert_allclose(
        moved[path], change.ours(recorded[name]), rtol=1e-4, atol=1e-6, err_msg=name
      )


def gradient_errors(grads):
  """{name: relative L2 error against the recorded gradient} of every parameter that has one."""
  grads = traverse_util.flatten_dict({'params': grads})
  recorded = golden.group(GOLDEN, 'train_grad')
  errors = {}
  for path, (name, change) in reference_arrays.leaves(CONFIG.features).items():
    if path not in grads or (name not in recorded and f'{name}/every16' not in recorded):
      continue
    ours = change.theirs(np.asarray(grads[path])).ravel()
    if name in recorded:
      want = recorded[name].ravel()
    else:
      np.testing.assert_allclose(
        np.linalg.norm(ours), recorded[f'{name}/norm'], rtol=1e-4, err_msg=name
      )
      ours, want = ours[::16], recorded[f'{name}/every16']
    errors[name] = np.linalg.norm(ours - want) / np.linalg.norm(want)
  return errors


def test_training_pass_gives_the_recorded_gradient_of_every_parameter(trained):
  errors = gradient_errors(trained[1])
  assert (
    len(errors) == 16 * 3 + 2
  )  # kernel, scale and bias of the layers with tdBN, and the last layer
  # Here the recording's own rounding is larger than the bound; the next test bounds ours by
  # float64.
  assert errors.pop('decoder_input.bn.bias') < 1.4e-4
  assert max(errors.values()) < 1e-4, errors


def test_gradients_are_within_float32_rounding_of_those_in_float64(variables):
  """Of two images, on which no spike differs: rounding may decide one of a million spikes."""
  for rows in (slice(1, 3), slice(2, 4)):
    (_, (out, _)), gradients = train_pass(variables, rows=rows)
    with jax.enable_x64(True):
      (_, (exact_out, _)), exact = train_pass(variables, jnp.float64, rows=rows)
    differing = np.abs(out.reconstruction_BHWC - np.asarray(exact_out.reconstruction_BHWC)).max()
    if differing < 1e-5 and (out.terms['q'] == np.asarray(exact_out.terms['q'])).all():
      break
  else:
    pytest.fail('a spike differs in every batch')
  for path, want in traverse_util.flatten_dict(exact).items():
    if path[-2:] == ('synapses', 'bias'):
      continue  # zero but for rounding: tdBN takes the mean away
    want, ours = (np.asarray(x) for x in (want, traverse_util.flatten_dict(gradients)[path]))
    assert np.linalg.norm(ours - want) < 5e-6 * np.linalg.norm(want), path


def one_image_at_a_time(patch):
  patch.setattr(chunks, 'CACHE_BYTES', 1)
  for network in (networks.Encoder, networks.Decoder):
    patch.setattr(network, 'at_a_time', 1)


def as_accelerators_do(patch):
  patch.setattr(platform, 'choose', lambda *args, cpu, default: default(*args))


@pytest.mark.parametrize('way', [one_image_at_a_time, as_accelerators_do])
def test_another_way_of_computing_gives_the_same(way, variables, trained, evaluated, monkeypatch):
  way(monkeypatch)
  (loss, (out, _)), grads = train_pass(variables)
  np.testing.assert_allclose(loss, trained[0][0], rtol=1e-6)
  np.testing.assert_array_equal(out.terms['q'], trained[0][1][0].terms['q'])
  assert max(gradient_errors(grads).values()) < 1.4e-4
  again = jax.jit(lambda v: fsvae.forward(NETS, v, IMAGE, {'picks': picks('eval')}))(variables)
  chex.assert_trees_all_close(again, evaluated, rtol=0, atol=1e-5)  # no spike differs


def test_bfloat16_is_close_and_leaves_float32_parameters(variables, trained):
  nets = fsvae.build(dataclasses.replace(CONFIG, dtype='bfloat16'))
  (loss, (out, metrics)), grads = train_pass(variables, nets=nets)
  (want, (exact, _)), _ = trained
  np.testing.assert_allclose(loss, want, rtol=0.02)  # single spikes near the threshold do differ
  np.testing.assert_allclose(metrics['rate/q'], jnp.mean(exact.terms['q']), rtol=0.05)
  assert out.terms['q'].dtype == jnp.bfloat16 and metrics['distance'].dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves((grads, out.batch_stats))} == {jnp.dtype('float32')}


def test_records_are_the_recorded_spikes(variables, evaluated):
  record = lambda what: jax.jit(lambda v: fsvae.record(NETS, what, v, evaluated.z_BTD, IMAGE))
  spikes, rates = record('spikes')(variables), record('rates')(variables)
  d, k = CONFIG.latent_dim, CONFIG.draws
  q = golden.time_first(GOLDEN['eval/q']).reshape(len(IMAGE), CONFIG.timesteps, d * k)
  wanted = {
    'encoder/conv_3': golden.video(GOLDEN['eval/encoder_spikes']),
    'encoder/dense': golden.time_first(GOLDEN['eval/latent_spikes']),
    'posterior/dense_2': q,
  }
  for layer, want in wanted.items():
    np.testing.assert_array_equal(spikes[layer], want, layer)
  for layer, of in spikes.items():
    np.testing.assert_allclose(rates[layer], np.mean(of, (0, 1)), atol=1e-6, err_msg=layer)
  assert spikes['decoder/conv_3'].shape[2:] == (32, 32, 32)


def test_biases_before_tdbn_have_no_gradient(trained):
  for path, grad in traverse_util.flatten_dict(trained[1]).items():
    if path[-2:] == ('synapses', 'bias'):
      assert not np.any(grad), path


def test_generation_is_the_same_for_the_same_key_and_another_for_another(variables):
  draw = lambda key: fsvae.sample(NETS, variables, key, 4)
  generate = jax.jit(lambda key: fsvae.decode(NETS, variables, draw(key)))
  first, again, other = (generate(jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1

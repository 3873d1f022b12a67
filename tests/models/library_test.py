"""The models as a library: in every type, on a caller's own mesh, and with wrong arguments."""

import functools
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from fsvae_jax import inference, models
from fsvae_jax.compute import checks
from fsvae_jax.models import ann, fsvae, losses, passes
from fsvae_jax.models.latents import LATENTS
from fsvae_jax.models.latents.bernoulli import PICK_GRADIENTS
from fsvae_jax.models.readouts import READOUTS, SO_FAR
from fsvae_jax.spiking.surrogate import SURROGATES

pytestmark = pytest.mark.usefixtures('quick_compilation')

SIZES = {'image_size': 4, 'features': (4,), 'latent_dim': 5}
MODELS = {
  'fsvae': fsvae.make(**SIZES, timesteps=6, draws=3),
  'ann_vae': ann.make_vae(**SIZES),
  'autoencoder': ann.make_autoencoder(**SIZES),
}
KEY = jax.random.key(2)
IMAGE = np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1)).astype(np.float32)
Z = np.random.default_rng(1).integers(0, 2, (8, 6, 5)).astype(np.float32)
every_model = pytest.mark.parametrize('name', MODELS)
BATCH = lambda name: ({'image': IMAGE}, MODELS[name].draw(KEY, 8))


def init(model, key):
  """Variables of a model, with statistics so small that neurons fire outside of training too."""
  variables = model.init(key)
  return {**variables, 'batch_stats': jax.tree.map(lambda x: 0.1 * x, variables['batch_stats'])}


@functools.cache
def initial(name):
  return init(MODELS[name], jax.random.key(0))


@every_model
def test_a_model_begins_alike_alone_and_inside_a_program(name):
  init = MODELS[name].init
  jax.tree.map(np.testing.assert_array_equal, jax.jit(lambda key: init(key))(KEY), init(KEY))


def test_the_spikes_that_are_compared_here_are_not_all_alike(wanted):
  made = wanted['fsvae']
  for spikes in (made['encode'], made['sample'], made['spikes']['decoder/dense']):
    assert 0.05 < spikes.mean() < 0.95


def everything(name, records=True):
  """All that a model does, as one jitted function of variables, images and a key."""
  model = MODELS[name]

  def run(variables, image, key):
    batch, draws = {'image': image}, model.draw(key, len(image))
    loss = lambda params: model.loss({**variables, 'params': params}, batch, draws, 0.5)
    value, grads = jax.value_and_grad(loss, has_aux=True)(variables['params'])
    done = {'loss': value, 'grads': grads, 'encode': model.encode(variables, image, key)}
    done['decode'] = model.decode(variables, done['encode'])
    if model.sample:
      done['sample'] = model.sample(variables, key, 8)
    if model.record and records:
      done['spikes'] = model.record('spikes', variables, done['encode'], image)
      done['rates'] = model.record('rates', variables, done['encode'], image)
    if records:
      reach = model.operations(variables, done['encode'], image).items()
      done['reach'] = {layer: counted.reach for layer, counted in reach}
    return done

  return jax.jit(run)


@pytest.fixture(scope='module')
def wanted():
  return {name: jax.device_get(everything(name)(initial(name), IMAGE, KEY)) for name in MODELS}


def types(tree):
  return {x.dtype for x in jax.tree.leaves(tree)}


@pytest.mark.slow
@every_model
def test_float32_gives_the_same_float32_under_x64(name, wanted):
  with jax.enable_x64(True):
    made = init(MODELS[name], jax.random.key(0))
    got = jax.device_get(everything(name)(initial(name), IMAGE, KEY))
  chex.assert_trees_all_equal_dtypes(made, initial(name))
  chex.assert_trees_all_close(made, initial(name), atol=1e-6)
  chex.assert_trees_all_equal_dtypes(got, wanted[name])
  chex.assert_trees_all_close(got, wanted[name], rtol=1e-6, atol=1e-6)
  for what in ('encode', 'sample', 'spikes') if name == 'fsvae' else ():
    chex.assert_trees_all_equal(got[what], wanted[name][what])


@every_model
def test_float64_is_computed_in_float64(name, wanted):
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), initial(name))
    got = jax.device_get(everything(name)(wide, IMAGE, KEY))
  assert types(got) == {np.dtype('float64')}
  chex.assert_trees_all_close(jax.tree.map(np.float32, got), wanted[name], rtol=1e-3, atol=1e-4)


@every_model
def test_images_and_variables_of_numpy_of_another_type_and_as_lists_are_right(name):
  model, variables = MODELS[name], jax.device_get(initial(name))
  encode = lambda image: np.asarray(jax.jit(lambda: model.encode(variables, image, KEY))())
  want = encode(IMAGE)
  np.testing.assert_array_equal(encode(IMAGE.tolist()), want)
  np.testing.assert_array_equal(encode(IMAGE.astype(np.float64)), want)
  with jax.enable_x64(True):
    again = encode(IMAGE.astype(np.float64))
  assert again.dtype == np.float32
  np.testing.assert_allclose(again, want, atol=1e-6)


@every_model
def test_keys_of_the_old_kind_are_as_typed_ones(name):
  model, old = MODELS[name], jax.random.PRNGKey
  made = init(model, old(0))
  chex.assert_trees_all_close(made, initial(name), atol=1e-6)
  again = jax.jit(lambda key: model.encode(made, IMAGE, key))
  np.testing.assert_array_equal(again(old(2)), again(KEY))
  if model.sample:
    np.testing.assert_array_equal(model.sample(made, old(2), 3), model.sample(made, KEY, 3))


def slow(*case):
  return pytest.param(*case, marks=pytest.mark.slow)


def mesh(shape, names, kind):
  devices = jax.devices()[: np.prod(shape)]
  return jax.make_mesh(shape, names, axis_types=(kind,) * len(names), devices=devices)


@pytest.mark.parametrize(
  'name, shape, names, kind, axes',
  [
    ('fsvae', (2, 2), ('data', 'model'), AxisType.Auto, 'data'),
    ('fsvae', (2, 2), ('model', 'rows'), AxisType.Explicit, 'rows'),
    slow('fsvae', (2, 2), ('a', 'b'), AxisType.Explicit, ('a', 'b')),
    ('ann_vae', (4,), ('data',), AxisType.Explicit, None),
    ('autoencoder', (4,), ('b',), AxisType.Explicit, 'b'),
  ],
)
def test_a_callers_own_mesh_gives_what_one_device_gives(name, shape, names, kind, axes, wanted):
  own = mesh(shape, names, kind)
  image = jax.device_put(IMAGE, NamedSharding(own, P(axes)))
  with jax.set_mesh(own):
    got = everything(name, records=False)(initial(name), image, KEY)
    if axes and kind == AxisType.Explicit:
      assert got['decode'].sharding.spec[0] == axes
    got = jax.device_get(got)
  want = {what: wanted[name][what] for what in got}
  chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


def test_images_that_are_on_no_mesh_go_to_the_one_in_use():
  encode = lambda: jax.jit(MODELS['fsvae'].encode)(initial('fsvae'), IMAGE[:7], KEY)
  want = encode()
  with jax.set_mesh(mesh((4,), ('b',), AxisType.Explicit)):
    got = encode()
  np.testing.assert_array_equal(got, want)


def test_images_split_over_auto_axes_need_no_mesh_in_use(wanted):
  image = jax.device_put(IMAGE, NamedSharding(mesh((4,), ('b',), AxisType.Auto), P('b')))
  got = jax.jit(MODELS['fsvae'].encode)(initial('fsvae'), image, KEY)
  np.testing.assert_array_equal(got, wanted['fsvae']['encode'])


def test_images_on_an_explicit_mesh_that_is_not_in_use_or_split_otherwise_are_refused():
  own = mesh((4,), ('b',), AxisType.Explicit)
  encode = jax.jit(lambda image: MODELS['fsvae'].encode(initial('fsvae'), image, KEY))
  with pytest.raises(ValueError, match=r"axes \('b',\), which is not in use.*jax.set_mesh"):
    encode(jax.device_put(IMAGE, NamedSharding(own, P('b'))))
  with jax.set_mesh(own), pytest.raises(ValueError, match='only its batch can be'):
    encode(jax.device_put(IMAGE, NamedSharding(own, P(None, 'b'))))


@pytest.mark.parametrize('checked', [True, False])
def test_a_model_runs_inside_a_callers_shard_map(checked):
  own, model = mesh((4,), ('b',), AxisType.Explicit), MODELS['fsvae']

  def local(variables, image):
    return model.reconstruct(variables, image, KEY)

  split = jax.shard_map(
    local, mesh=own, in_specs=(P(), P('b')), out_specs=P('b'), check_vma=checked
  )
  one = jax.jit(local)
  want = np.concatenate([one(initial('fsvae'), IMAGE[i : i + 2]) for i in range(0, 8, 2)])
  image = jax.device_put(IMAGE, NamedSharding(own, P('b')))
  np.testing.assert_allclose(jax.jit(split)(initial('fsvae'), image), want, atol=1e-6)


def test_gradients_inside_a_callers_checked_shard_map_are_those_of_a_loop_over_the_parts():
  own, model, variables = mesh((4,), ('b',), AxisType.Explicit), MODELS['fsvae'], initial('fsvae')

  def loss(params, image):
    return model.loss({**variables, 'params': params}, {'image': image}, model.draw(KEY, 2))[0]

  def local(params, image):  # the parameters are the same on all devices: theirs are summed
    return jax.grad(lambda params: jax.lax.pmean(loss(params, image), 'b'))(params)

  def loop(params):
    return sum(loss(params, IMAGE[i : i + 2]) for i in range(0, 8, 2)) / 4

  split = jax.shard_map(local, mesh=own, in_specs=(P(), P('b')), out_specs=P())
  image = jax.device_put(IMAGE, NamedSharding(own, P('b')))
  want = jax.device_get(jax.jit(jax.grad(loop))(variables['params']))
  for network in ('encoder', 'posterior', 'prior', 'decoder'):
    assert any(np.any(leaf) for leaf in jax.tree.leaves(want[network])), network
  got = jax.device_get(jax.jit(split)(variables['params'], image))
  chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-6)


@every_model
def test_vmap_over_models_is_a_loop_over_them(name):
  model = MODELS[name]
  both = jax.tree.map(lambda x: np.stack([x, 0.9 * x]), jax.device_get(initial(name)))
  loss = lambda variables: model.loss(variables, *BATCH(name))[0]
  one_by_one = [jax.jit(loss)(jax.tree.map(lambda x, i=i: x[i], both)) for i in (0, 1)]
  np.testing.assert_allclose(jax.jit(jax.vmap(loss))(both), one_by_one, rtol=1e-5)


@every_model
def test_nothing_asked_for_is_an_empty_result(name):
  model, variables = MODELS[name], initial(name)
  z = model.encode(variables, IMAGE[:0], KEY)
  assert z.shape == ((0, 6, 5) if name == 'fsvae' else (0, 5))
  assert model.decode(variables, z).shape == (0, 4, 4, 1)
  assert model.reconstruct(variables, IMAGE[:0], KEY).shape == (0, 4, 4, 1)
  if model.sample:
    assert model.sample(variables, KEY, 0).shape == z.shape
    assert model.generate(variables, KEY, np.int64(0)).shape == (0, 4, 4, 1)


def test_t_frames_that_are_all_one_image_are_that_image():
  model, variables = MODELS['fsvae'], initial('fsvae')
  frames = np.repeat(IMAGE[:, None], 6, axis=1)
  record = jax.jit(lambda image: model.record('spikes', variables, Z, image))
  want, got = (record(image)['encoder/conv_0'] for image in (IMAGE, frames))
  np.testing.assert_array_equal(got, want)
  frames[:, 3:] *= -1  # from then on, and not before
  changed = record(frames)['encoder/conv_0']
  np.testing.assert_array_equal(changed[:, :3], want[:, :3])
  assert np.any(changed[:, 3:] != want[:, 3:])
  with pytest.raises(ValueError, match=r'image has the shape \(8, 5, 4, 4, 1\)'):
    model.encode(variables, frames[:, :5], KEY)


WRONG_IMAGES = {
  r'image is uint8\[8, 4, 4, 1\].*of bytes are x / 127.5 - 1': IMAGE.astype(np.uint8),
  'image is int64|image is int32': IMAGE.astype(int).tolist(),
  'image is bool': IMAGE > 0,
  'image is complex': IMAGE.astype(complex),
  r'shape \(4, 4, 1\); it must be \(B, 4, 4, 1\)': IMAGE[0],
  r'shape \(8, 2, 4, 1\)': IMAGE[:, :2],
  r'shape \(8, 4, 4, 3\)': np.repeat(IMAGE, 3, -1),
  'image is a str': 'images',
  'image is a NoneType': None,
  'image is a list': [IMAGE, IMAGE[0]],
}


@every_model
@pytest.mark.parametrize('function', ['loss', 'encode', 'reconstruct'])
@pytest.mark.parametrize('message', WRONG_IMAGES)
def test_wrong_images_are_refused_by_name(name, function, message):
  image, draws = WRONG_IMAGES[message], MODELS[name].draw(KEY, 8)
  with pytest.raises(ValueError, match=message):
    if function == 'loss':
      MODELS[name].loss(initial(name), {'image': image}, draws)
    else:
      getattr(MODELS[name], function)(initial(name), image, KEY)


spiking, conventional, blind = MODELS.values()
zeros = lambda x: np.zeros(x.shape, x.dtype)
blank = lambda model: jax.tree.map(zeros, jax.eval_shape(model.init, KEY))  # collected in no time
v, w, u = map(blank, MODELS.values())
other = blank(fsvae.make(**{**SIZES, 'latent_dim': 3}, timesteps=6))
rest_of = lambda part: {**v, part: {k: x for k, x in v[part].items() if k != 'encoder'}}
DRAWS = spiking.draw(KEY, 8)
NONE, SOME = {'image': IMAGE[:0]}, {'image': IMAGE}
RUN = passes.Pass({}, v)
NETS = fsvae.build(fsvae.FSVAEConfig(**SIZES, timesteps=6, draws=3))
PICKS = np.zeros((8, 6, 5), np.int32)
RATE, MIXTURE = (fsvae.make(**SIZES, timesteps=6, latent=name) for name in ('rate', 'mixture'))
R, M = blank(RATE), blank(MIXTURE)
FEW = lambda model: {**model.draw(KEY, 8), 'uniform': model.draw(KEY, 1)['uniform']}
TOLD = fsvae.make(**SIZES, timesteps=6, draws=3, classes=3)
TWO = {'image': IMAGE[:2], 'label': np.array([0, 2])}
# what the message must say: the call
WRONG = [
  ('count is -1', lambda: spiking.generate(v, KEY, -1)),
  ('count is 2.5; it must be a whole number', lambda: spiking.sample(v, KEY, 2.5)),
  ("count is '3'", lambda: spiking.sample(v, KEY, '3')),
  ('count is None', lambda: conventional.sample(w, KEY, None)),
  ('count is -3', lambda: conventional.generate(w, KEY, -3)),
  ('count .* under jit it must be static', lambda: jax.jit(spiking.generate)(v, KEY, 3)),
  ('no prior', lambda: blind.generate(u, KEY, 3)),
  ('no prior', lambda: inference.sample(blind, u, KEY, IMAGE)),
  ('uniform has the shape', lambda: RATE.posterior(R, IMAGE, RATE.draw(KEY, 1, train=False))),
  ('uniform has the shape', lambda: RATE.prior(R, FEW(RATE))),
  ('uniform has the shape', lambda: MIXTURE.prior(M, FEW(MIXTURE))),
  ('has no classes', lambda: conventional.generate(w, KEY, 3, 1)),
  ('has no classes', lambda: conventional.reconstruct(w, IMAGE, KEY, 1)),
  ('image has no images', lambda: spiking.loss(v, NONE, DRAWS)),
  ('image has no images', lambda: conventional.loss(w, NONE, None)),
  ('image has no images', lambda: blind.loss(u, NONE)),
  ('batch is a ndarray; it must be a dict', lambda: spiking.loss(v, IMAGE, DRAWS)),
  ('batch is a keys label; it must be a dict', lambda: blind.loss(u, {'label': KEY})),
  ('z_BTD is uint8', lambda: spiking.decode(v, Z.astype(np.uint8))),
  (r'z_BTD has the shape \(6, 5\); it must be \(B, T, 5\)', lambda: spiking.decode(v, Z[0])),
  (r'z_BTD has the shape \(8, 6, 3\)', lambda: spiking.decode(v, Z[..., :3])),
  ('needs one timestep', lambda: spiking.decode(v, Z[:, :0])),
  (r'\(8, 3\); it must be \(B, 5\)', lambda: conventional.decode(w, Z[:, 0, :3])),
  ('z_BD is int', lambda: blind.decode(u, PICKS[:, 0])),
  ("record 'spike'; known: rates, spikes", lambda: spiking.record('spike', v, Z)),
  (r'\(2, 6, 5\); it must be \(8', lambda: spiking.record('rates', v, Z[:2], IMAGE)),
  ('image is uint8', lambda: spiking.record('rates', v, Z, IMAGE.astype(np.uint8))),
  ('rate has the shape', lambda: spiking.loss(v, *BATCH('fsvae'), np.ones(2))),
  ('count is -2', lambda: spiking.draw(KEY, -2)),
  ('draws are {}; they must be those of draw', lambda: spiking.prior(v, {})),
  (r"draws have no 'picks' \(ndarray\)", lambda: spiking.posterior(v, IMAGE, PICKS)),
  (r"draws have no 'picks' \(\[\]\)", lambda: spiking.loss(v, SOME, {})),
  ("draws have no 'uniform'", lambda: MIXTURE.prior(M, spiking.draw(KEY, 8, False))),
  ("draws have no 'normal'", lambda: RATE.prior(R, {'uniform': PICKS})),
  ('told has the shape', lambda: TOLD.loss(v, TWO, {**TOLD.draw(KEY, 2), 'told': np.ones(1)})),
  ("draws have no 'told'", lambda: TOLD.loss(v, TWO, TOLD.draw(KEY, 2, train=False))),
  ('z_BTD has no images', lambda: spiking.record('rates', v, Z[:0])),
  (r'draws has the shape .*be \(8, 5\)', lambda: conventional.loss(w, SOME, Z[:, 0, :3])),
  ("no 'params'.*what the init of this very model", lambda: spiking.encode({}, IMAGE, KEY)),
  ("no 'params'", lambda: spiking.encode(v['params'], IMAGE, KEY)),
  ("no 'params'", lambda: spiking.encode(None, IMAGE, KEY)),
  ("no 'encoder'", lambda: spiking.encode({**v, 'params': {}}, IMAGE, KEY)),
  ("no 'encoder'", lambda: spiking.encode(rest_of('params'), IMAGE, KEY)),
  ("no 'encoder'", lambda: spiking.loss(rest_of('batch_stats'), *BATCH('fsvae'))),
  (r'shape \(16, 5\).*init of this very model', lambda: spiking.encode(other, IMAGE, KEY)),
  (r'init of this very model', lambda: spiking.loss(other, *BATCH('fsvae'))),
  (r'init of this very model', lambda: spiking.encode(w, IMAGE, KEY)),
  (r'init of this very model', lambda: conventional.encode(v, IMAGE, KEY)),
  ('single key', lambda: spiking.encode(v, IMAGE, jax.random.split(KEY))),
  (r'picks is float32', lambda: fsvae.forward(NETS, v, IMAGE, {'picks': Z})),
  (r'picks has the shape', lambda: fsvae.forward(NETS, v, IMAGE, {'picks': PICKS[:, :3]})),
  (r'history is int', lambda: fsvae.forward(NETS, v, IMAGE, {'picks': PICKS, 'history': PICKS})),
  (r'picks has the shape', lambda: NETS.latent.encode(RUN, Z, {'picks': PICKS[..., :2]})),
  (r'moments_B2D has the shape \(8, 5\)', lambda: ann.kl(Z[:, 0])),
  ('moments_B2D is int', lambda: ann.reparameterize(PICKS[:, 0], Z[:, 0])),
  (r'p_BTDK has the shape', lambda: losses.mmd(Z[..., None], Z[:2, ..., None])),
  (r'q_BTDK is int', lambda: losses.kld(PICKS[..., None], PICKS[..., None])),
  (r'reconstruction_BHWC has', lambda: losses.mean_squared_error(IMAGE, IMAGE[:2])),
  (r"model 'gan'; known: fsvae", lambda: models.make({'name': 'gan'})),
  (r'model None; known', lambda: models.make({})),
  ('tau is nan', lambda: fsvae.make(tau=np.nan)),
  ('v_th is 0.0; it must be a finite number other', lambda: fsvae.make(v_th=0.0)),
  ("pick_gradient 'all'; known", lambda: fsvae.make(latent='rate', pick_gradient='all')),
]  # fmt: skip


def test_draws_of_a_training_serve_without_one_too():
  variables = init(TOLD, KEY)
  draws = TOLD.draw(KEY, 8)
  np.testing.assert_array_equal(
    TOLD.posterior(variables, IMAGE, draws), TOLD.posterior(variables, IMAGE, draws['latent'])
  )
  np.testing.assert_array_equal(
    TOLD.prior(variables, draws), TOLD.prior(variables, draws['latent'])
  )


def test_another_function_of_the_same_name_makes_another_model(monkeypatch):
  make = lambda: models.make({'name': 'fsvae', 'latent': 'mine', **SIZES})
  monkeypatch.setitem(LATENTS, 'mine', LATENTS['bernoulli'])
  first = make()
  assert make() is first
  monkeypatch.setitem(LATENTS, 'mine', LATENTS['rate'])
  assert make() is not first
  tables = READOUTS, SO_FAR, SURROGATES, PICK_GRADIENTS
  tables += losses.DISTANCES, losses.RATE_DISTANCES, losses.RECONSTRUCTIONS
  for table in tables:
    before = make()
    monkeypatch.setitem(table, 'another', next(iter(table.values())))
    assert make() is not before
  with pytest.raises(ValueError, match='model.tau is'):
    models.make({'name': 'fsvae', 'tau': jax.numpy.float32(0.3)})  # without a hash


def test_a_latent_of_ones_own_may_have_a_network_with_a_list(monkeypatch):
  class Widths(nn.Module):
    widths: list

    @nn.compact
    def __call__(self, x, train=False):
      return nn.Dense(self.widths[0])(x)

  mine = lambda c, neuron: LATENTS['rate'](c, neuron)._replace(networks={'prior': Widths([5])})
  monkeypatch.setitem(LATENTS, 'mine', mine)
  variables = fsvae.make(**SIZES, timesteps=6, latent='mine').init(KEY)
  assert set(variables['params']) == {'encoder', 'prior', 'decoder'}


@pytest.mark.slow
def test_no_tracer_outlives_its_trace():
  image = np.zeros((2, 4, 4, 1), np.float32)
  with jax.checking_leaks():
    jax.jit(lambda: spiking.reconstruct(v, image, KEY))()


@pytest.mark.parametrize('message, call', WRONG)
def test_a_wrong_argument_is_refused_by_name(message, call):
  with pytest.raises(ValueError, match=f'(?s){message}'):
    call()


@pytest.mark.parametrize('key', [0, None, 'key'])
def test_what_is_no_key_is_a_type_error(key):
  with pytest.raises(TypeError, match='PRNG key'):
    spiking.encode(v, IMAGE, key)


@pytest.mark.parametrize('make', [fsvae.make, ann.make_vae, ann.make_autoencoder])
@pytest.mark.parametrize(
  'fields, message',
  [
    ({'features': ()}, r'model.features is \(\); it must be one width'),
    ({'features': (4, 0)}, r'model.features is \(4, 0\)'),
    ({'image_size': 10, 'features': (4, 8)}, 'image_size 10 is not a multiple of 4'),
    ({'image_size': 0}, 'model.image_size is 0'),
    ({'channels': 2}, 'model.channels is 2; it must be 1'),
    ({'latent_dim': 0}, 'model.latent_dim is 0'),
  ],
)
def test_every_model_refuses_the_same_sizes(make, fields, message):
  with pytest.raises(ValueError, match=message):
    make(**fields)


def test_a_refusal_is_what_chex_would_raise_too():
  assert issubclass(checks.ArgumentError, ValueError)
  with pytest.raises(AssertionError):
    spiking.encode(v, IMAGE[0], KEY)


IMPORTS = """
import logging, pkgutil, warnings
import flax.linen, jax

def state():
  loggers = [logging.root, *logging.root.manager.loggerDict.values()]
  kept = ('name', 'level', 'handlers', 'filters', 'disabled', 'propagate')
  kept = [[str(getattr(log, name, '')) for name in kept] for log in loggers]
  return kept, dict(jax.config.values), list(warnings.filters)

before = state()
import fsvae_jax.models, fsvae_jax.spiking
for package in (fsvae_jax.models, fsvae_jax.spiking):
  for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):
    __import__(module.name)
assert state() == before
"""


def test_importing_models_and_layers_changes_nobodys_logging_and_no_global_configuration():
  subprocess.run([sys.executable, '-c', IMPORTS], check=True)


def test_a_value_of_the_wrong_type_is_refused_whatever_was_made_before():
  models.make({'name': 'fsvae', 'timesteps': 3})
  with pytest.raises(ValueError, match='timesteps is 3.0; it must be an integer'):
    models.make({'name': 'fsvae', 'timesteps': 3.0})

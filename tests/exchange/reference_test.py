"""Checkpoints of the reference: both sizes, both file types, and files that do not fit."""

import collections
import functools
import re
import subprocess
import sys
import traceback

import jax
import numpy as np
import pytest

from fsvae_jax import inference, models, train
from fsvae_jax.configs import celeba, mnist
from fsvae_jax.exchange import reference, reference_arrays, state_dicts
from fsvae_jax.models import fsvae
from fsvae_jax.run import checkpoint, sharding, states
from tests import golden

pytestmark = pytest.mark.usefixtures('quick_compilation')

STATE = golden.group(golden.load('fsvae_small'), 'state')


def small(config):
  config.model.update(timesteps=6, latent_dim=8, draws=4)
  return config


def shapes(config):
  nets = fsvae.networks_of(config.model)
  return jax.eval_shape(functools.partial(fsvae.init, nets), jax.random.key(0))


def large_state(latent_dim=8, draws=4, channels=3, widths=(32, 64, 128, 256, 512)):
  """A state dict of the 64x64 model in the reference's own shapes, filled with random numbers."""
  d, flat = latent_dim, widths[-1] * 4
  kernels = {f'encoder.{i}': (w, i and widths[i - 1] or channels) for i, w in enumerate(widths)}
  kernels['before_latent_layer'] = (d, flat)
  for net, inputs in (('posterior', 2 * d), ('prior', d)):
    sizes = (inputs, 2 * d, 4 * d, draws * d)
    kernels |= {f'{net}.layers.{i}': (sizes[i + 1], sizes[i]) for i in range(3)}
  kernels['decoder_input'] = (flat, d)
  down = widths[::-1]
  kernels |= {f'decoder.{i}': (down[i], down[i + 1]) for i in range(len(down) - 1)}
  kernels |= {'final_layer.0': (down[-1], down[-1]), 'final_layer.1': (down[-1], channels)}
  state = {}
  for name, (first, second) in kernels.items():
    convolution = name.startswith(('encoder', 'decoder.', 'final'))
    state[f'{name}.weight'] = np.zeros((first, second, *((3, 3, 1) if convolution else ())), 'f')
    outputs = second if name.startswith(('decoder.', 'final')) else first
    vectors = ['bias', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var']
    for vector in vectors if name != 'final_layer.1' else vectors[:1]:
      state[f'{name}.{vector}'] = np.zeros(outputs, 'f')
  return {
    name: np.random.default_rng(i).normal(size=x.shape).astype('f')
    for i, (name, x) in enumerate(state.items())
  }


def test_the_large_model_converts_with_its_flattening_reordered():
  config = small(celeba.get_config())
  state = large_state()
  variables = reference_arrays.convert(state, config.model.features, shapes(config))
  kernel = variables['params']['encoder']['dense']['synapses']['kernel'].reshape(2, 2, 512, 8)
  np.testing.assert_array_equal(
    kernel[1, 0, 7], state['before_latent_layer.weight'].reshape(8, 512, 2, 2)[:, 7, 1, 0]
  )
  bias = variables['params']['decoder']['dense']['synapses']['bias'].reshape(2, 2, 512)
  np.testing.assert_array_equal(bias[0, 1], state['decoder_input.bias'].reshape(512, 2, 2)[:, 0, 1])
  pixels = variables['params']['decoder']['pixels']['kernel']
  np.testing.assert_array_equal(pixels[2, 0], state['final_layer.1.weight'][:, :, 2, 0, 0])


@pytest.mark.parametrize('suffix', ['npz', 'pth'])
def test_a_file_becomes_step_0_of_a_run(tmp_path, suffix):
  file = tmp_path / f'reference.{suffix}'
  if suffix == 'npz':
    np.savez(file, **STATE)
  else:
    torch = pytest.importorskip('torch')
    tensors = {name: torch.from_numpy(x) for name, x in STATE.items()}
    torch.save(tensors | {'encoder.0.bn.num_batches_tracked': torch.tensor(3)}, file)
  config = small(mnist.get_config())
  reference.import_checkpoint(file, config, tmp_path / 'run')

  want = reference_arrays.convert(STATE, config.model.features, shapes(config))
  optimizer = states.make_optimizer(config.train, 1)
  whole = sharding.replicated(sharding.make_mesh())
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
    jax.eval_shape(lambda v: states.create(v, optimizer, 0.0), want),
  )
  state = checkpoint.Checkpoints(tmp_path / 'run', keep=1).restore(like)
  assert int(state.step) == 0
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.variables), want)


def test_a_run_of_an_imported_file_learns_with_the_networks_that_it_names(tmp_path):
  np.savez(tmp_path / 'reference.npz', **STATE)
  config = small(mnist.get_config())
  config.train.only = ('prior',)
  reference.import_checkpoint(tmp_path / 'reference.npz', config, tmp_path / 'run')
  model, optimizer = models.make(config.model), states.make_optimizer(config.train, 1)
  begin = functools.partial(train.first_state, config, model, optimizer, start={})
  like = checkpoint.abstract(jax.jit(begin)(jax.random.key(0)))
  state = checkpoint.Checkpoints(tmp_path / 'run', keep=1).restore(like)
  assert int(state.step) == 0


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('train.start', 'runs/other', 'train.start is given, but this run begins as the checkpoint'),
    ('model.learned', ('tau',), r"model.learned is \('tau',\); there it is \(\)"),
    ('model.tau', 0.5, 'model.tau is 0.5; there it is 0.25'),
  ],
)
def test_what_a_file_cannot_begin_is_refused(tmp_path, field, value, message):
  np.savez(tmp_path / 'reference.npz', **STATE)
  config = small(mnist.get_config())
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    reference.import_checkpoint(tmp_path / 'reference.npz', config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_an_import_that_was_killed_may_be_given_again(tmp_path):
  np.savez(tmp_path / 'reference.npz', **STATE)
  (tmp_path / 'run/checkpoints/0.orbax-checkpoint-tmp').mkdir(parents=True)
  config = small(mnist.get_config())
  reference.import_checkpoint(tmp_path / 'reference.npz', config, tmp_path / 'run')
  assert (tmp_path / 'run/checkpoints/0').is_dir()


def test_checkpoints_of_a_run_are_not_written_over_and_an_ann_cannot_begin_so(tmp_path):
  np.savez(tmp_path / 'reference.npz', **STATE)
  (tmp_path / 'run/checkpoints/4').mkdir(parents=True)
  with pytest.raises(ValueError, match='run already holds checkpoints; take another --workdir'):
    reference.import_checkpoint(
      tmp_path / 'reference.npz', small(mnist.get_config()), tmp_path / 'run'
    )
  assert [path.name for path in (tmp_path / 'run').rglob('*')] == ['checkpoints', '4']
  with pytest.raises(ValueError, match="model.name is 'ann_vae'; checkpoints of the reference are"):
    reference.import_checkpoint(tmp_path / 'reference.npz', mnist.get_config('ann'), tmp_path / 'x')
  assert not (tmp_path / 'x').exists()


def test_an_esvae_checkpoint_leaves_out_the_networks_that_its_authors_never_run(tmp_path):
  config, state = small(mnist.get_config()), dict(STATE)
  config.model.latent = 'rate'
  d = config.model.latent_dim
  state['sample_layer.0.weight'] = np.arange(d * d, dtype=np.float32).reshape(d, d)
  state['sample_layer.0.bias'] = np.arange(d, dtype=np.float32)
  np.savez(tmp_path / 'esvae.npz', **state)
  reference.import_checkpoint(tmp_path / 'esvae.npz', config, tmp_path / 'run')
  variables = inference.restore(config, tmp_path / 'run').variables
  prior = variables['params']['prior']['dense']
  np.testing.assert_array_equal(prior['kernel'], state['sample_layer.0.weight'].T)
  assert 'posterior' not in variables['params']
  del state['sample_layer.0.bias']
  with pytest.raises(ValueError, match='missing: sample_layer.0.bias'):
    reference_arrays.convert(state, config.model.features, shapes(config))


def test_a_file_that_does_not_fit_says_what_is_wrong(tmp_path):
  state = dict(STATE)
  del state['prior.layers.1.bias']
  state['prior.layers.3.weight'] = np.zeros((3, 3), np.float32)
  state['encoder.1.weight'] = state['encoder.1.weight'][:5]
  state['encoder.0.bias'] = state['encoder.0.bias'].astype(np.int64)
  state['prior.layers.0.bias'] = state['prior.layers.0.bias'].copy()
  state['prior.layers.0.bias'][3] = np.nan
  state['posterior.layers.1.weight'] = state['posterior.layers.1.weight'].T
  state['prior.layers.2.bias'] = np.full_like(state['prior.layers.2.bias'], 1e300, np.float64)
  np.savez(tmp_path / 'odd.npz', **state)
  with pytest.raises(ValueError) as error:
    reference.import_checkpoint(tmp_path / 'odd.npz', small(mnist.get_config()), tmp_path / 'run')
  for fault in (
    'missing: prior.layers.1.bias',
    'surplus: prior.layers.3.weight (3, 3)',
    'encoder.1.weight is float32(5, 32, 3, 3, 1); of this model it is float32(64, 32, 3, 3, 1)',
    'posterior.layers.1.weight is float32(16, 32); of this model it is float32(32, 16)',
    'encoder.0.bias is int64(32,)',
    'prior.layers.0.bias holds numbers that are not finite',
    'prior.layers.2.bias holds numbers that are not finite',
  ):
    assert fault in str(error.value)
  assert not (tmp_path / 'run').exists()


def assert_is_the_model(state, atol=0.0):
  assert state.keys() == STATE.keys()
  for name, array in state.items():
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, STATE[name], rtol=atol, atol=atol, err_msg=name)


WRAPPED = [
  'module.',
  '_orig_mod.',
  'module._orig_mod.',
  '_orig_mod.module.',
  'model.',
  'net.module.',
]


@pytest.mark.parametrize('prefix', WRAPPED)
def test_prefixes_of_wrappers_go(tmp_path, prefix):
  np.savez(tmp_path / 'x.npz', **{prefix + name: array for name, array in STATE.items()})
  assert_is_the_model(state_dicts.load(tmp_path / 'x.npz'))


def test_a_wrapper_of_a_part_goes(tmp_path):
  names = {name: name.replace('encoder.', 'encoder._orig_mod.') for name in STATE}
  np.savez(tmp_path / 'x.npz', **{names[name]: array for name, array in STATE.items()})
  assert_is_the_model(state_dicts.load(tmp_path / 'x.npz'))


@pytest.mark.parametrize('dtype', [np.float64, np.float16])
def test_other_widths_become_float32(tmp_path, dtype):
  np.savez(tmp_path / 'x.npz', **{name: array.astype(dtype) for name, array in STATE.items()})
  assert_is_the_model(state_dicts.load(tmp_path / 'x.npz'), 1e-3)


def test_one_model_twice_is_refused(tmp_path):
  np.savez(tmp_path / 'x.npz', **STATE, **{f'module.{name}': x for name, x in STATE.items()})
  with pytest.raises(ValueError, match='x.npz holds .* twice.*: save one model alone'):
    state_dicts.load(tmp_path / 'x.npz')


@pytest.fixture
def torch():
  return pytest.importorskip('torch')


@pytest.fixture
def tensors(torch):
  return {name: torch.from_numpy(array) for name, array in STATE.items()}


PLACES = [
  'state_dict',
  'model',
  'model_state_dict',
  'net',
  'generator',
  'checkpoint/state_dict',
  '',
]


@pytest.mark.parametrize('place', PLACES)
def test_a_state_dict_is_found_beside_other_entries(tmp_path, torch, tensors, place):
  saved = {f'module.{name}': tensor for name, tensor in tensors.items()}
  weight = torch.nn.Parameter(torch.ones(3))
  optimizer = torch.optim.Adam([weight])
  weight.sum().backward()
  optimizer.step()
  for name in reversed(place.split('/') if place else []):
    others = {'epoch': 3, 'loss': 0.1, 'rng': torch.ones(3), 'metrics': {'fid': torch.ones(())}}
    saved = {name: saved, 'optimizer': optimizer.state_dict(), 'scheduler': None, **others}
  torch.save(saved, tmp_path / 'x.pth')
  assert_is_the_model(state_dicts.load(tmp_path / 'x.pth'))


def test_several_state_dicts_are_refused(tmp_path, torch, tensors):
  torch.save({'model': tensors, 'ema': dict(tensors)}, tmp_path / 'x.pth')
  with pytest.raises(ValueError, match='several state dicts .model, ema.: save the state_dict'):
    state_dicts.load(tmp_path / 'x.pth')


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_tensors_of_other_widths_become_float32(tmp_path, torch, tensors, dtype):
  torch.save({n: x.to(getattr(torch, dtype)) for n, x in tensors.items()}, tmp_path / 'x.pth')
  atol = {'float16': 1e-3, 'bfloat16': 1e-2, 'float64': 0}[dtype]
  assert_is_the_model(state_dicts.load(tmp_path / 'x.pth'), atol)


@pytest.mark.parametrize('zipped', [True, False])
def test_parameters_of_an_ordered_dict_are_read(tmp_path, torch, tensors, zipped):
  parameters = collections.OrderedDict((n, torch.nn.Parameter(x)) for n, x in tensors.items())
  torch.save(parameters, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
  assert_is_the_model(state_dicts.load(tmp_path / 'x.pth'))


def refused(path, match):
  """The error of a file, which does not advise to run what it says."""
  with pytest.raises(ValueError, match=match) as error:
    state_dicts.load(path)
  shown = ''.join(traceback.format_exception(error.value))
  assert str(path) in str(error.value)
  assert not re.search('weights_only=False|allow_pickle|safe_globals|arbitrary code', shown)


PAGES = {
  'page': b'<!DOCTYPE html><html>',
  'pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
  'empty': b'',
  'zeros': bytes(1000),
}


@pytest.mark.parametrize('content', PAGES)
@pytest.mark.parametrize('suffix', ['pth', 'pt', 'npz'])
def test_what_is_no_checkpoint_is_refused(tmp_path, content, suffix):
  path = tmp_path / f'x.{suffix}'
  path.write_bytes(PAGES[content])
  refused(path, 'save (its|the arrays of its) state_dict')


@pytest.mark.parametrize('kept', [4, 100, 0.5, 0.99])
@pytest.mark.parametrize('kind', ['npz', 'pth', 'old.pth'])
def test_a_file_that_is_cut_short_is_refused(tmp_path, request, kept, kind):
  path = tmp_path / f'x.{kind}'
  if kind == 'npz':
    np.savez(path, **STATE)
  else:
    request.getfixturevalue('torch').save(
      request.getfixturevalue('tensors'), path, _use_new_zipfile_serialization=kind == 'pth'
    )
  content = path.read_bytes()
  path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
  refused(path, 'cannot be read as .*state_dict')


def test_a_whole_module_is_refused(tmp_path, torch):
  for i, whole in enumerate([torch.nn.Linear(2, 2), {'model': torch.nn.Linear(2, 2), 'epoch': 3}]):
    torch.save(whole, tmp_path / f'{i}.pth')
    refused(tmp_path / f'{i}.pth', r'Python objects.*save its state_dict\(\)')


def test_what_holds_no_state_dict_is_refused(tmp_path, torch):
  for i, other in enumerate([{}, [], 3, torch.ones(3), {'epoch': 3}, {'a': {'b': torch.ones(3)}}]):
    torch.save(other, tmp_path / f'{i}.pth')
    refused(tmp_path / f'{i}.pth', 'holds no state dict of tensors: save the state_dict')


def test_a_tensor_without_an_array_is_named(tmp_path, torch, tensors):
  tensors['encoder.0.bias'] = tensors['encoder.0.bias'].to_sparse()
  torch.save(tensors, tmp_path / 'x.pth')
  refused(tmp_path / 'x.pth', 'encoder.0.bias cannot be read as an array')


def test_arrays_of_objects_are_refused(tmp_path):
  np.savez(tmp_path / 'x.npz', **STATE, state=np.array({'a': 1}, object))
  refused(tmp_path / 'x.npz', r'Python objects; save the arrays of its state_dict\(\)')


@pytest.mark.parametrize('suffix', ['pth', 'npz'])
def test_a_folder_is_refused(tmp_path, suffix):
  (tmp_path / f'x.{suffix}').mkdir()
  refused(tmp_path / f'x.{suffix}', 'is a folder; a checkpoint is a file')


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no checkpoint at .*nowhere.pth'):
    state_dicts.load(tmp_path / 'nowhere.pth')


def test_files_are_found_in_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  np.savez(tmp_path / 'x.npz', **STATE)
  assert_is_the_model(state_dicts.load('~/x.npz'))


def test_addresses_are_refused(tmp_path):
  np.savez(tmp_path / 'x.npz', **STATE)
  with pytest.raises(ValueError, match='--checkpoint is gs://b/x.pth.*mount the storage'):
    state_dicts.load('gs://b/x.pth')
  with pytest.raises(ValueError, match='--workdir is gs://b/run.*mount the storage'):
    reference.import_checkpoint(tmp_path / 'x.npz', small(mnist.get_config()), 'gs://b/run')


def test_the_command_tells_its_errors_in_a_line(tmp_path):
  command = [sys.executable, '-m', 'fsvae_jax.exchange.reference', '--config=configs/mnist.py']
  command += [f'--checkpoint={tmp_path}/x.pth', f'--workdir={tmp_path}/run']
  for more, said in (
    ([], 'no checkpoint at'),
    (['extra', 'words'], 'not understood: extra words'),
  ):
    done = subprocess.run([*command, *more], capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and 'Traceback' not in done.stderr
  assert not list(tmp_path.iterdir())

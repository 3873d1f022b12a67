"""--mode=export: a folder that is whole or not there, and errors that say what is missing."""

import sys

import numpy as np
import pytest

from fsvae_jax.configs import mnist
from fsvae_jax.exchange import export, reference, reference_arrays, state_dicts
from tests import golden
from tests.exchange import trained as make_trained

STATE = golden.group(golden.load('fsvae_small'), 'state')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """(config, workdir) of a run that has the recorded weights."""
  workdir, file = tmp_path_factory.mktemp('runs') / 'run', tmp_path_factory.mktemp('x') / 'x.npz'
  np.savez(file, **STATE)
  config = mnist.get_config()
  config.model.update(timesteps=6, latent_dim=8, draws=4)
  reference.import_checkpoint(file, config, workdir)
  return config, workdir


def test_the_authors_state_dict_comes_back_whole_with_their_buffers(run):
  config, workdir = run
  pytest.importorskip('torch')
  export.write(config, workdir, 'pytorch')
  state = state_dicts.load(workdir / 'export' / 'pytorch' / 'model.pth')
  for name, array in STATE.items():
    np.testing.assert_array_equal(state.pop(name), array, err_msg=name)
  assert state.pop('membrane_output_layer.coef').shape == (1, 1, 1, 1, 6)
  assert all(name.endswith(('num_batches_tracked', 'initial_input')) for name in state)
  assert len(state) == 16 + 2


@pytest.mark.parametrize('latent', ['bernoulli', 'rate'])
def test_to_the_authors_names_and_back_is_the_same_model(tmp_path, latent):
  trained = make_trained.make(tmp_path, latent=latent, features=(4, 6))
  model = trained.config.model
  state = reference_arrays.state_dict(trained.variables, model)
  back = reference_arrays.convert(state, model.features, trained.variables)
  make_trained.assert_same(back, trained.variables)


def test_a_mixture_goes_without_its_patterns_and_comes_back_unfitted(tmp_path):
  trained = make_trained.make(tmp_path, latent='mixture', features=(4, 6))
  state = reference_arrays.state_dict(trained.variables, trained.config.model)
  back = reference_arrays.convert(state, trained.config.model.features, trained.variables)
  for part in ('params', 'batch_stats'):
    patterns = back[part].pop('patterns')
    assert not any(x.any() for x in patterns.values())
    make_trained.assert_same(
      back[part], {n: x for n, x in trained.variables[part].items() if n != 'patterns'}
    )


def test_what_the_authors_code_cannot_be_is_refused_by_name(tmp_path):
  trained = make_trained.make(tmp_path, readout='attention', learned=('tau',), v_th=0.3)
  with pytest.raises(ValueError) as error:
    reference.export(trained, tmp_path)
  for fault in ("model.readout is 'attention'", "model.learned is ('tau',)", 'model.v_th is 0.3'):
    assert fault in str(error.value)
  assert not list(tmp_path.iterdir())


def test_a_model_without_spikes_is_no_checkpoint_of_the_authors_fsvae():
  model = mnist.get_config('ann').model
  with pytest.raises(ValueError, match="model.name is 'ann_vae'; there it is 'fsvae'"):
    reference_arrays.check_model(model)


def test_an_unknown_format_and_a_run_without_checkpoints_are_refused(run, tmp_path):
  config, workdir = run
  with pytest.raises(ValueError, match="unknown --format 'onx'; known: nir, stablehlo"):
    export.write(config, workdir, 'onx')
  with pytest.raises(FileNotFoundError, match='has no checkpoints'):
    export.write(config, tmp_path, 'safetensors')
  assert not list(tmp_path.iterdir())


def test_a_missing_library_is_said_with_the_extra_that_has_it(run, monkeypatch):
  config, workdir = run
  before = sorted(workdir.iterdir())
  monkeypatch.setitem(sys.modules, 'flatbuffers', None)
  monkeypatch.delitem(sys.modules, 'fsvae_jax.exchange.stablehlo', raising=False)
  with pytest.raises(ImportError, match=r"flatbuffers: pip install 'fsvae_jax\[stablehlo\]'"):
    export.write(config, workdir, 'stablehlo')
  assert sorted(workdir.iterdir()) == before


def test_an_export_that_fails_leaves_the_one_before_and_nothing_half(run, monkeypatch):
  config, workdir = run
  export.write(config, workdir, 'safetensors')
  kept = {file.name: file.read_bytes() for file in (workdir / 'export/safetensors').iterdir()}
  before = sorted(workdir.rglob('*'))

  def fails(trained, folder):
    (folder / 'model.safetensors').write_bytes(b'half')
    raise ValueError('no room')

  monkeypatch.setattr('fsvae_jax.exchange.weights.export', fails)
  with pytest.raises(ValueError, match='no room'):
    export.write(config, workdir, 'safetensors')
  assert sorted(workdir.rglob('*')) == before
  assert kept == {
    file.name: file.read_bytes() for file in (workdir / 'export/safetensors').iterdir()
  }


def test_options_of_nir_files_reach_them_and_no_other_format(run, monkeypatch):
  config, workdir = run
  asked = {}
  monkeypatch.setattr(
    'fsvae_jax.exchange.nir.export', lambda trained, folder, **options: asked.update(options)
  )
  export.write(config, workdir, 'nir', upsampling='dilated')
  assert asked == {'upsampling': 'dilated'}
  with pytest.raises(ValueError, match='--readout=li is of --format=nir, not of --format=pytorch'):
    export.write(config, workdir, 'pytorch', readout='li')

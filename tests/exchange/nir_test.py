"""NIR files do what the model does, spike by spike; what cannot be written is refused by name."""

import dataclasses
import json
import types

import h5py
import jax
import nir
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsvae_jax import data, models
from fsvae_jax.exchange import nir as exchange
from fsvae_jax.exchange import nir_nodes, nir_record, nir_simulator
from fsvae_jax.models import readouts
from fsvae_jax.models.latents import LATENTS, bernoulli
from tests import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')

Options = exchange.Options


def config(**fields):
  made = smoke.config('').model
  made.update(features=(4, 6), timesteps=4, latent_dim=6, draws=3, **fields)
  return made


@dataclasses.dataclass
class Case:
  config: object
  variables: dict
  images: np.ndarray
  recorded: nir_record.Record


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  """Four digits, and a model all of whose neurons differ from layer to layer, and fire."""
  own = config(learned=('tau', 'v_th'))
  shapes = jax.eval_shape(models.make(own).init, jax.random.key(0))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
  ranges = {'v_th': lambda x: 0.05 + 0.1 * np.abs(x), 'var': lambda x: 0.1 + np.abs(x)}
  variables = jax.tree.map_with_path(
    lambda path, x: ranges.get(path[-1].key, lambda x: x)(x), variables
  )
  sources = smoke.config(tmp_path_factory.mktemp('cache')).data
  images = np.asarray(data.normalize(data.load(sources, own.image_size, own.channels, 'test')[:4]))
  return Case(own, variables, images, nir_record.record(own, variables, images))


def written(case, folder, options=nir_nodes.DEFAULT):
  """{network: graph}, written and read."""
  graphs = exchange.graphs(case.config, case.variables, options)
  for network, graph in graphs.items():
    nir.write(folder / network, graph)
  return {network: exchange.read(folder / network) for network in graphs}


@pytest.mark.parametrize(
  'options',
  [nir_nodes.DEFAULT, Options(upsampling='dilated'), Options('exponential', 'li', 'dilated')],
  ids=str,
)
def test_graphs_give_the_spikes_of_the_model_and_its_images(case, tmp_path, options):
  for graph in written(case, tmp_path, options).values():
    nodes = nir_record.data(graph, case.recorded).nodes
    outputs, _ = nir_simulator.run(graph, nodes['input'].observables['input'].data)
    fired = [name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)]
    assert len(fired) == 3
    for name in fired:
      spikes = nodes[name].observables['spikes'].data
      np.testing.assert_array_equal(outputs[name].reshape(spikes.shape), spikes, err_msg=name)
      assert 0.01 < spikes.mean() < 0.9
  y_BTF = outputs['output'].reshape(*outputs['output'].shape[:2], -1)
  weights_T = graph.metadata.get('readout_weights', [0, 0, 0, 1])
  image = np.tanh(np.einsum('t,btf->bf', weights_T, y_BTF))
  wanted = nodes['output'].observables['image'].data[:, 0]
  np.testing.assert_allclose(image, wanted, atol=1e-5)


def test_a_host_that_picks_draws_the_latent_of_the_model(case, tmp_path):
  graph, z_BTD = written(case, tmp_path)['posterior'], case.recorded.inputs['decoder']
  latent = case.config.latent_dim, case.config.draws
  picks_BTD = bernoulli.draw_picks(jax.random.key(0), *z_BTD.shape, case.config.draws)
  z_BD, state = np.zeros_like(z_BTD[:, 0]), None
  for t, x_BD in enumerate(np.moveaxis(case.recorded.spikes['encoder/dense'], 1, 0)):
    given_B1I = np.concatenate((x_BD, z_BD), axis=-1)[:, None]
    outputs, state = nir_simulator.run(graph, given_B1I, state)
    spikes_BDK = outputs['output'].reshape(-1, *latent)
    z_BD = np.take_along_axis(spikes_BDK, np.asarray(picks_BTD[:, t, :, None]), -1)[..., 0]
    np.testing.assert_array_equal(z_BD, z_BTD[:, t])


def test_the_patterns_of_a_mixture_go_with_the_priors_graph(tmp_path):
  own = config(latent='mixture', components=3)
  made = jax.eval_shape(models.make(own).init, jax.random.key(0))
  variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), made)
  rates = np.linspace(0, 1, 36).reshape(3, 12)
  patterns = {'share': np.array([0.5, 0.3, 0.2]), 'rate': rates, 'mixing': np.eye(6)}
  variables['batch_stats']['patterns'] = patterns
  graphs = exchange.graphs(own, variables)
  assert set(graphs) == {'encoder', 'posterior', 'prior', 'decoder'}
  nir.write(tmp_path / 'prior.nir', graphs['prior'])
  about = exchange.read(tmp_path / 'prior.nir').metadata
  for name, value in patterns.items():
    np.testing.assert_array_equal(about[name], value)
  assert 'share[c]' in about['begin']


def test_an_export_has_graphs_spikes_and_the_size_of_every_layer(case, tmp_path):
  run = types.SimpleNamespace(
    config=types.SimpleNamespace(model=case.config),
    variables=case.variables,
    generate=lambda count: case.images[:count],
    _replace=lambda **others: used.append(others['mesh']) or run,
  )
  used = []
  exchange.export(run, tmp_path)
  assert set(used[0].devices.flat) == set(jax.local_devices())  # other processes are not waited for
  networks = ('encoder', 'posterior', 'prior', 'decoder')
  files = {f'{network}{kind}.nir' for network in networks for kind in ('', '_spikes')}
  assert {path.name for path in tmp_path.iterdir()} == files | {'layers.json'}
  recorded = nir.read_data(tmp_path / 'decoder_spikes.nir').nodes
  spikes = case.recorded.spikes['decoder/conv_0'].reshape(4, 4, -1)
  np.testing.assert_array_equal(recorded['conv_0_lif'].observables['spikes'].data, spikes)
  rows = {row.pop('layer'): row for row in json.loads((tmp_path / 'layers.json').read_text())}
  assert len(rows) == 3 * 4 + 1
  decoder = exchange.read(tmp_path / 'decoder.nir')
  for name in ('dense', 'conv_0', 'conv_1', 'pixels'):  # as matrices: what is not zero is there
    weight, row = decoder.nodes[name].weight, rows[f'decoder/{name}']
    assert row['synapses'] == np.count_nonzero(weight)
    assert row['fan_in'] == np.count_nonzero(weight, 1).mean()
    assert row['fan_out'] == np.count_nonzero(weight, 0).max()
    assert row['node_weights'] == weight.size and row['neurons'] in (len(weight), 0)


@pytest.mark.parametrize(
  'fields, options, said',
  [
    ({'latent': 'rate'}, {}, 'prior/dense has no node in NIR'),
    ({'readout': 'attention'}, {}, 'decoder/attention has no node in NIR.*stablehlo'),
    ({'readout': 'learned'}, {'readout': 'li'}, 'decoder/readout is learned.*--readout=host'),
    ({'tau': 1.5}, {}, 'the neurons of .* decay by 1.5'),
    ({'classes': 3}, {}, 'model.classes is 3.*stablehlo'),
    ({}, {'upsampling': 'bilinear'}, 'bilinear'),
    ({}, {}, '--upsampling=dilated'),
  ],
)
def test_what_cannot_be_written_is_refused_by_name(monkeypatch, fields, options, said):
  monkeypatch.setattr(nir_nodes, 'LARGEST', 100)
  own = config(**fields)
  shapes = jax.eval_shape(models.make(own).init, jax.random.key(0))
  variables = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
  with pytest.raises(ValueError, match=said):
    exchange.graphs(own, variables, Options(**options))


def test_a_latent_and_a_readout_of_ones_own_are_refused_until_it_is_known_what_they_do(
  case, monkeypatch
):
  monkeypatch.setitem(LATENTS, 'mine', LATENTS['bernoulli'])
  with pytest.raises(ValueError, match="model.latent is 'mine'; NIR files say how a host draws"):
    exchange.graphs(ConfigDict({**case.config, 'latent': 'mine'}), case.variables)
  monkeypatch.setitem(readouts.READOUTS, 'mean', readouts.READOUTS['leaky'])
  with pytest.raises(ValueError, match='decoder/readout is mean, of which it is not known'):
    exchange.graphs(ConfigDict({**case.config, 'readout': 'mean'}), case.variables)
  upto = lambda timesteps, _: np.tril(np.full((timesteps, timesteps), 1 / timesteps))
  monkeypatch.setitem(readouts.SO_FAR, 'mean', upto)
  graphs = exchange.graphs(ConfigDict({**case.config, 'readout': 'mean'}), case.variables)
  np.testing.assert_allclose(graphs['decoder'].metadata['readout_weights'], 1 / 4)


def test_inputs_of_another_layout_are_refused(case):
  graph = exchange.graphs(case.config, case.variables)['decoder']
  x_BTF = np.ones((2, 4, 6))
  spikes = nir_simulator.run(graph, x_BTF)[0]['dense_lif']
  np.testing.assert_array_equal(nir_simulator.run(graph, x_BTF.tolist())[0]['dense_lif'], spikes)
  with pytest.raises(ValueError, match=r'x_BTF has the shape \(2, 4, 2, 3\); after batch and time'):
    nir_simulator.run(graph, x_BTF.reshape(2, 4, 2, 3))


def test_a_dilated_decoder_whose_idle_neurons_would_fire_is_refused(case):
  variables = jax.tree.map_with_path(
    lambda path, x: -x if path[-1].key == 'v_th' else x, case.variables
  )
  with pytest.raises(ValueError, match='threshold of decoder/dense is -.*--upsampling=affine'):
    exchange.graphs(case.config, variables, Options(upsampling='dilated'))


def test_a_model_without_spikes_is_refused():
  with pytest.raises(ValueError, match='ann_vae, a model without spikes'):
    exchange.graphs(types.SimpleNamespace(name='ann_vae'), {})


def a_file(path, **metadata):
  nodes = nir.Input(np.array([2])), nir.Affine(np.ones((3, 2), np.float32), np.zeros(3, np.float32))
  graph = nir.NIRGraph.from_list(*nodes)
  graph.metadata = metadata
  nir.write(path, graph)
  return path


def test_files_that_are_not_ours_are_refused_by_name(tmp_path):
  path = tmp_path / 'decoder.nir'
  with pytest.raises(FileNotFoundError, match='no file at .*decoder.nir'):
    exchange.read(path)
  whole = a_file(path).read_bytes()
  with pytest.raises(ValueError, match='decoder.nir is a NIR file of another program'):
    exchange.read(path)
  for content in (b'', b'no HDF5', whole[: len(whole) // 2], whole.replace(b'Affine', b'Refine')):
    path.write_bytes(content)
    with pytest.raises(ValueError, match='decoder.nir is damaged, or no NIR file'):
      exchange.read(path)
  with h5py.File(path, 'w') as other:
    other['x'] = 1
  with pytest.raises(ValueError, match='decoder.nir is damaged, or no NIR file'):
    exchange.read(path)
  a_file(path, format=99, network='decoder', written_by='fsvae_jax 9.9')
  with pytest.raises(ValueError, match='written by fsvae_jax 9.9, in format 99.*upgrade'):
    exchange.read(path)

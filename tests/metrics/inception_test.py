"""The Inception metrics: their libraries end to end on stand-in weights, and what is missing."""

import sys
import types

import numpy as np
import pytest

from fsvae_jax import data
from fsvae_jax.configs import mnist
from fsvae_jax.metrics import inception

# clean-fid's weights are of that format, whatever PyTorch says of it.
pytestmark = pytest.mark.filterwarnings('ignore:.torch.jit:DeprecationWarning')

RNG = np.random.default_rng(0)
TEST = RNG.integers(0, 256, (24, 32, 32, 1), dtype=np.uint8)

IMAGES = {'test': data.Images('test', TEST.shape, lambda rows: TEST[rows], streamed=False)}


@pytest.fixture
def trained(tmp_path):
  """As `Trained` looks from here."""
  config = mnist.get_config()
  config.data.cache_dir = str(tmp_path / 'cache')
  config.eval.update(images=24, seeds=2)
  return types.SimpleNamespace(
    config=config,
    model=types.SimpleNamespace(sample=True),
  )


def result_of(metric, trained):
  made = [
    types.SimpleNamespace(generated=(TEST / 127.5 - 1).astype(np.float32) * (1 - 0.2 * seed))
    for seed in range(trained.config.eval.seeds)
  ]
  return metric.result([metric.measure(of_seed) for of_seed in made])


def test_weights_that_cannot_be_had_say_what_to_fetch_and_where_to_put_it(tmp_path):
  with pytest.raises(FileNotFoundError, match='(?s)fetch file:.*x.pt and put it into .*new'):
    inception.find_weights(tmp_path / 'new', 'x.pt', f'file://{tmp_path}/nowhere/')
  assert not list((tmp_path / 'new').iterdir())


def test_weights_are_downloaded_once(tmp_path):
  (tmp_path / 'x.pt').write_bytes(b'weights')
  for _ in range(2):
    path = inception.find_weights(tmp_path / 'new', 'x.pt', f'file://{tmp_path}/')
    assert path.read_bytes() == b'weights'
    (tmp_path / 'x.pt').unlink(missing_ok=True)


def test_without_the_libraries_it_says_what_to_install(trained, monkeypatch):
  monkeypatch.setitem(sys.modules, 'cleanfid', None)
  result = result_of(inception.evaluate(trained, IMAGES.__getitem__), trained)
  assert not result.figures and 'fsvae_jax[inception]' in result.missing


def test_libraries_that_do_not_fit_each_other_are_said(trained, monkeypatch):
  class Broken:
    def find_spec(self, name, *_):
      if name == 'cleanfid':
        raise RuntimeError('operator torchvision::nms does not exist')

  monkeypatch.delitem(sys.modules, 'cleanfid', raising=False)
  monkeypatch.setattr(sys, 'meta_path', [Broken(), *sys.meta_path])
  result = result_of(inception.evaluate(trained, IMAGES.__getitem__), trained)
  assert not result.figures and 'torchvision::nms does not exist' in result.missing


def test_a_web_page_in_place_of_weights_is_not_kept(tmp_path):
  (tmp_path / 'x.pt').write_text('\n<html>Log in</html>')
  with pytest.raises(FileNotFoundError, match='a web page came in its place.*fetch file:'):
    inception.find_weights(tmp_path / 'new', 'x.pt', f'file://{tmp_path}/')
  assert not list((tmp_path / 'new').iterdir())


def test_weights_that_cannot_be_read_leave_the_other_scores_alone(trained, tmp_path):
  stand_in_weights(tmp_path / 'weights')
  trained.config.eval.inception = str(tmp_path / 'weights')
  for (name, _), others in (
    (inception.CLEAN_FID, {'kid', 'inception_score'}),
    (inception.TORCH_FIDELITY, {'fid'}),
  ):
    path = tmp_path / 'weights' / name
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    result = result_of(inception.evaluate(trained, IMAGES.__getitem__), trained)
    assert (
      set(result.figures) == others
      and f'{path} holds no weights that can be read' in result.missing
    )
    path.write_bytes(whole)


def stand_in_weights(folder):
  """Small networks, and random full-size ones, in the two libraries' own formats."""
  torch = pytest.importorskip('torch')
  pytest.importorskip('cleanfid.inception_torchscript')
  extractor = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')

  class Layers(torch.nn.Module):
    def forward(self, x):
      return torch.nn.functional.adaptive_avg_pool2d(x, (16, 128)).mean(1).flatten(1)

  class Network(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.layers = Layers()

    def forward(self, x):
      return self.layers(x)

  folder.mkdir(parents=True)
  torch.jit.script(Network()).save(str(folder / inception.CLEAN_FID[0]))
  whole = extractor.FeatureExtractorInceptionV3

  class Untrained(whole):
    def load_state_dict(self, *_):
      pass

  weights = folder / inception.TORCH_FIDELITY[0]
  torch.save({}, weights)
  torch.manual_seed(0)
  network = Untrained('any', ['2048'], feature_extractor_weights_path=str(weights))
  for parameter in network.parameters():
    if parameter.ndim == 4:  # PyTorch's own draw fades from layer to layer
      torch.nn.init.kaiming_normal_(parameter)
  torch.save(network.state_dict(), weights)


def test_all_three_scores_come_out_of_the_libraries(trained, tmp_path):
  stand_in_weights(tmp_path / 'weights')
  trained.config.eval.inception = str(tmp_path / 'weights')
  result = result_of(inception.evaluate(trained, IMAGES.__getitem__), trained)
  assert not result.missing and set(result.figures) == {'fid', 'kid', 'inception_score'}
  fid = result.figures['fid']
  assert fid.values[0] == pytest.approx(0, abs=1e-2) and fid.values[1] > 1
  assert 'clean-fid' in fid.protocol and 'torch-fidelity' in result.figures['kid'].protocol
  kid = result.figures['kid']
  assert kid.values[0] < 1e-3 < abs(kid.values[1] - kid.values[0])
  assert all(1 <= value for value in result.figures['inception_score'].values)

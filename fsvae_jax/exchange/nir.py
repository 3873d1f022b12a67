"""NIR files of a trained FSVAE: a graph of each network, and its spikes to check a simulator with.

    python -m fsvae_jax.main --mode=export --workdir=DIR --format=nir

The loop z[t-1] -> network -> K spikes -> pick -> z[t] is the host's, as is the image of the
decoder's output: the metadata of each graph say what goes in and what to do with what comes out
(docs/how-to/nir.md).
"""

import json
import pathlib
from typing import Any

import jax
import nir
import numpy as np
from ml_collections import ConfigDict

from fsvae_jax import __version__, inference
from fsvae_jax.exchange import nir_layers, nir_nodes, nir_record
from fsvae_jax.exchange.nir_nodes import DEFAULT, Options
from fsvae_jax.models import fsvae
from fsvae_jax.run import files, sharding

FORMAT = 1  # of the metadata; raised when what they mean changes
IMAGES = 4  # whose spikes are written

PICKED = (
  'D * K spikes, of which the host picks one of each K: z[t, d] = output[d * K + pick[t, d]], '
  'pick uniform in 0 ... K - 1'
)
SAYS = {
  'encoder': {'input': 'an image in [-1, 1], the same at every step', 'output': 'x[t]'},
  'posterior': {'input': 'x[t], then z[t-1]; z[-1] = 0', 'output': PICKED},
  'prior': {'input': 'z[t-1]; z[-1] = 0', 'output': PICKED},
  'decoder': {
    'input': 'z[t], and of a dilated one then a 1',
    'output': 'y[t]; the host makes the image tanh(sum_t readout_weights[t] * y[t])',
  },
}
BEGIN = (
  'the first z are those of a pattern c, drawn by share[c]: z[t, d] = 1 if Phi(noise[d]) < '
  'rate[c, t * D + d], as far as rate goes; noise = mixing @ n, n of D independent normal numbers, '
  'the same at all of these t, and Phi their distribution; the prior is given these z and gives '
  'the others'
)
INTEGRATED = 'v[t]; the host makes the image tanh(v[T-1])'


def graphs(
  config: ConfigDict, variables: Any, options: Options = DEFAULT
) -> dict[str, nir.NIRGraph]:
  """{network: graph} of a model.

  Args:
    config: `config.model`.
    variables: of `Model.init`.
    options: how it is written.

  Raises:
    ValueError: for a model that cannot be written; names the layer.
  """
  if config.name != 'fsvae':
    raise ValueError(f'model.name is {config.name}, a model without spikes; NIR is of spikes')
  if config.get('classes'):
    raise ValueError(
      f'model.classes is {config.classes}: labels have no place in NIR files; export a model '
      'without classes, or this one with --format=stablehlo'
    )
  nets = fsvae.networks_of(config)
  layers = nir_layers.layers_of(nets, variables)
  if config.latent not in ('bernoulli', 'mixture'):
    raise ValueError(
      f'model.latent is {config.latent!r}; NIR files say how a host draws z of bernoulli and '
      'mixture alone: export --format=stablehlo'
    )
  about = {
    'format': FORMAT,
    'written_by': f'fsvae_jax {__version__}',
    'discretisation': options.discretisation,
    'dt': nir_nodes.DT,
    'timesteps': config.timesteps,
    'draws': config.draws,
  }
  made = {}
  for network, says_of in SAYS.items():
    own = layers[network]
    says: dict[str, Any] = {'network': network, **says_of}
    if network == 'decoder' and options.readout == 'li':
      says['output'] = INTEGRATED
    elif network == 'decoder':
      says['readout_weights'] = nir_layers.readout_weights(nets, variables)
    elif network == 'prior' and config.latent == 'mixture' and inference.is_fitted(variables):
      says |= {'begin': BEGIN, **variables['batch_stats']['patterns']}
    made[network] = nir_nodes.NETWORKS[network](config, options, own).graph(about | says)
  return made


def write(
  folder: pathlib.Path,
  config: ConfigDict,
  variables: Any,
  image_BHWC: np.ndarray,
  options: Options = DEFAULT,
) -> None:
  """Writes `<network>.nir`, `<network>_spikes.nir` and `layers.json` into a folder.

  Args:
    folder: which is there.
    config, variables, options: as of `graphs`.
    image_BHWC: images in [-1, 1] whose spikes are written.

  Raises:
    ValueError: as `graphs` does.
  """
  made = graphs(config, variables, options)
  recorded = nir_record.record(config, variables, image_BHWC)
  for network, graph in made.items():
    nir.write(folder / f'{network}.nir', graph)
    nir.write_data(folder / f'{network}_spikes.nir', nir_record.data(graph, recorded))
  rows = nir_record.table(made, variables, recorded)
  files.write_text(folder / 'layers.json', json.dumps(rows, indent=2))


def export(trained: inference.Trained, folder: pathlib.Path, **options: str) -> None:
  """`write` of a run, with images that it has drawn, so that no data set is needed.

  Args:
    options: fields of `Options`.

  Raises:
    ValueError: for an unknown value of an option, and as `graphs` does.
  """
  chosen = Options(**options)
  variables = jax.device_get(trained.variables)
  # On this process's devices: the others have nothing to write, and are not here.
  alone = trained._replace(replicated=variables, mesh=sharding.make_mesh(jax.local_devices()))
  write(folder, trained.config.model, variables, alone.generate(IMAGES), chosen)


def read(path: str | pathlib.Path) -> nir.NIRGraph:
  """A graph that `export` wrote.

  Raises:
    ValueError: for a file that is damaged, of another program, or of a later version of this one.
    FileNotFoundError: if it is not there.
  """
  path = files.expand(path, 'path')
  if not path.is_file():
    raise FileNotFoundError(f'no file at {path}')
  try:
    graph = nir.read(path)
  except Exception as error:  # h5py's and nir's are of many kinds
    raise ValueError(f'{path} is damaged, or no NIR file ({error}): export it again') from error
  about = graph.metadata
  if 'format' not in about or about.get('network') not in SAYS:
    raise ValueError(f'{path} is a NIR file of another program: read it with nir.read')
  if about['format'] > FORMAT:
    raise ValueError(
      f'{path} was written by {about["written_by"]}, in format {about["format"]}; this version '
      f'knows up to {FORMAT}: upgrade fsvae_jax'
    )
  return graph

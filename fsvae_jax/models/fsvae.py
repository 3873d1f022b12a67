"""The Fully Spiking Variational Autoencoder (arXiv 2110.00375): the algorithm, as pure functions.

encoder    x[t]    = E(image)                                    spikes [B, T, D]
latent     z, and the distance of its posterior given x from its prior: latents/
decoder    image^  = tanh(readout D(z)),    the published one: sum_t 0.8^(T-1-t) D(z)[t]
loss       = error + weight * distance,    error = mean (image^ - image)^2
           or pixels / 2 * log(error) + weight * distance

A model with classes tells the image's, or none, to all networks but the encoder (passes.Pass).
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fsvae_jax import fields
from fsvae_jax.compute import checks, layout
from fsvae_jax.models import inputs, layers, losses, networks, passes, readouts, records
from fsvae_jax.models.inputs import Variables
from fsvae_jax.models.interface import Latent, Model
from fsvae_jax.models.latents import LATENTS, bernoulli
from fsvae_jax.models.passes import Pass
from fsvae_jax.spiking import neurons, surrogate

# How often training keeps a label to itself, so that the model does without one as well.
LABEL_DROPOUT = 0.1


@dataclasses.dataclass(frozen=True)
class FSVAEConfig:
  """Sizes and constants: the fields of `config.model`, explained in configs/default.py."""

  image_size: int = 32
  channels: int = 1
  features: tuple[int, ...] = (32, 64, 128, 256)
  timesteps: int = 16
  latent_dim: int = 128
  draws: int = 20
  tau: float = 0.25
  v_th: float = 0.2
  surrogate: str = 'reference_rectangle'
  surrogate_width: float = 1.0
  learned: tuple[str, ...] = ()
  latent: str = 'bernoulli'
  components: int = 200
  pick_gradient: str = 'picked'
  scheduled_sampling: tuple[float, float] = (0.1, 0.3)
  distance: str = 'mmd'
  distance_weight: float = -1.0
  variance: str = 'fixed'
  readout: str = 'leaky'
  classes: int = 0
  dtype: str = 'float32'
  remat: bool = False

  def __post_init__(self):
    fields.check('model', vars(self))
    object.__setattr__(self, 'features', tuple(self.features))
    object.__setattr__(self, 'learned', tuple(self.learned))
    inputs.check_sizes(self)
    tables = {
      'surrogate': surrogate.SURROGATES,
      'latent': LATENTS,
      'pick_gradient': bernoulli.PICK_GRADIENTS,
      'readout': readouts.READOUTS,
      'variance': losses.RECONSTRUCTIONS,
      'dtype': ('float32', 'bfloat16'),
    }
    for field, table in tables.items():
      checks.one_of(f'model.{field}', getattr(self, field), table)
    if self.variance != 'fixed' and self.distance_weight < 0:
      raise ValueError(
        f'model.variance is {self.variance!r}, for which no distance_weight was published; set '
        'model.distance_weight (1 for kld)'
      )


class Networks(NamedTuple):
  """The networks, {name: Linen module}, the latent, and the configuration they were made of."""

  config: FSVAEConfig
  modules: passes.Modules
  latent: Latent


class Forward(NamedTuple):
  """What one pass over a batch gives: z and the latent's `terms`, `batch_stats` as they moved."""

  reconstruction_BHWC: jax.Array | None  # None where the prior alone learns
  z_BTD: jax.Array
  terms: dict[str, jax.Array]
  batch_stats: dict
  operations: Mapping[str, records.Operations]  # of every layer, if they were to be counted


def build(config: FSVAEConfig) -> Networks:
  """The networks of a configuration."""
  c = config
  neuron = neurons.LIF(c.tau, c.v_th, c.surrogate, c.learned, c.surrogate_width)
  latent = LATENTS[c.latent](c, neuron)
  readout = readouts.READOUTS[c.readout]
  encoder = networks.Encoder(c.features, c.latent_dim, c.timesteps, neuron, c.dtype)
  decoder = networks.Decoder(c.features, c.image_size, c.channels, neuron, readout, c.dtype)
  return Networks(c, {'encoder': encoder, **latent.networks, 'decoder': decoder}, latent)


def networks_of(model: Mapping[str, Any]) -> Networks:
  """The networks of `config.model`, whose name they do without."""
  return build(FSVAEConfig(**{name: x for name, x in model.items() if name != 'name'}))


def init(nets: Networks, key: jax.Array) -> Variables:
  """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
  return passes.init(nets.modules, shapes(nets), key)


def shapes(nets: Networks) -> dict[str, tuple[int, ...]]:
  """{network: shape [1, ...] of an input}."""
  c = nets.config
  told = {**nets.latent.shapes, 'decoder': (1, c.timesteps, c.latent_dim)}
  return {
    'encoder': (1, c.image_size, c.image_size, c.channels),
    **{name: (*shape[:-1], shape[-1] + c.classes) for name, shape in told.items()},
  }


def draw(nets: Networks, key: jax.Array, count: int, train: bool = True) -> Any:
  """The latent's draws; for training a model with classes {'latent': these, 'told': [count] truth
  values}: whether an image's label is given."""
  if not (train and nets.config.classes):
    return nets.latent.draw(key, count, train=train)
  latent_key, told_key = jax.random.split(key)
  latent, split = nets.latent.draw(latent_key, count, train=True), layout.batch_split(count)
  uniform_B = jax.random.uniform(told_key, (count,), jnp.float32, out_sharding=split)
  return {'latent': latent, 'told': uniform_B >= LABEL_DROPOUT}


def forward(
  nets: Networks,
  variables: Variables,
  image: jax.Array,
  draws: Any,
  schedule: float | jax.Array = 0.0,
  label: Any = None,
  *,
  train: bool | Collection[str] = False,
  count: bool = False,
) -> Forward:
  """One pass over a batch.

  Args:
    nets: networks of `build`.
    variables: of `init`.
    image: [B, H, W, C] in [-1, 1], held for all T, or [B, T, H, W, C].
    draws: of the latent's `draw`: of the Bernoulli one, {'picks': [B, T, D] integers in [0, K)}.
    schedule: in [0, 1], the share of the training that is over.
    label: as `inputs.labels` takes it.
    train: normalise by batch statistics, and move the running ones; of all networks or of those
      that are named.
    count: whether layers are to record their operations.

  Raises:
    ValueError: if an array's shape or type is not the configuration's; names the array.
  """
  image = inputs.images(nets.config, variables, image)
  draws = jax.tree.map(lambda draw_B: layout.lay_like(jnp.asarray(draw_B), image), draws)
  label_BN = inputs.labels(nets.config.classes, label, len(image))
  remat, record = nets.config.remat, 'operations' if count else ''
  run = Pass(nets.modules, variables, label_BN, train=train, remat=remat, record=record)
  z_BTD, terms = nets.latent.infer(run, run('encoder', image), draws, schedule)
  again_BHWC = None if run.train == {'prior'} else run('decoder', z_BTD)
  batch_stats = {**variables['batch_stats'], **run.batch_stats}
  return Forward(again_BHWC, z_BTD, terms, batch_stats, run.records)


def loss(
  nets: Networks,
  variables: Variables,
  batch: Mapping[str, jax.Array],
  draws: Any,
  schedule: float | jax.Array = 0.0,
  train: bool | Collection[str] = True,
  count: bool = False,
) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
  """Loss of a batch, as `interface.Model.loss` states it."""
  image_BHWC = inputs.some_images(nets.config, variables, batch)
  label_B, draws = _told(nets, batch, draws)
  out = forward(nets, variables, image_BHWC, draws, schedule, label_B, train=train, count=count)
  return objective(nets, out, image_BHWC)


def _told(nets, batch, draws):
  """The labels that the model is told, None if it has no classes, and the latent's draws."""
  if not nets.config.classes:
    return None, draws
  label_B = checks.integers('label', batch.get('label'), len(batch['image']))
  if not _of_training(draws):
    raise checks.ArgumentError(
      "draws have no 'told'; the loss of a model with classes takes those of draw(key, B)"
    )
  told_B = jnp.asarray(draws['told'])
  if told_B.shape != label_B.shape:
    raise checks.ArgumentError(f'told has the shape {told_B.shape}; it must be {label_B.shape}')
  return jnp.where(layout.lay_like(told_B, label_B), label_B, -1), draws['latent']


def _of_training(draws):
  """Whether draws are those with which a model with classes is trained."""
  return isinstance(draws, Mapping) and draws.keys() == {'latent', 'told'}


def objective(
  nets: Networks, out: Forward, image_BHWC: jax.Array
) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
  """Loss, and (batch_stats, metrics), of a pass."""
  distance = nets.latent.distance(out.terms)
  total, metrics = nets.latent.weight * distance, {'distance': distance}
  if out.reconstruction_BHWC is not None:
    error = losses.mean_squared_error(out.reconstruction_BHWC, image_BHWC)
    pixels = math.prod(image_BHWC.shape[1:])
    term = losses.RECONSTRUCTIONS[nets.config.variance](error, pixels)
    total, metrics = term + total, metrics | {'reconstruction': error}
  metrics['loss'] = total
  rates = {
    f'rate/{name}': jnp.mean(layout.wide(x)) for name, x in {**out.terms, 'z': out.z_BTD}.items()
  }
  return total, (out.batch_stats, metrics | rates | _counts(out.operations))


def _counts(counted):
  """What a reconstruction takes; the prior runs for the distance alone."""
  spent = {'accumulates': 0.0, 'multiply_accumulates': 0.0} if counted else {}
  for name, layer in counted.items():
    if not name.startswith('prior/'):
      spent['multiply_accumulates' if layer.rates is None else 'accumulates'] += layer.spent()
  return spent


def encode(
  nets: Networks, variables: Variables, image: jax.Array, key: jax.Array, label: Any = None
) -> jax.Array:
  """One posterior sample z [B, T, D] for each image [B, H, W, C] in [-1, 1]; B may be 0.

  Raises:
    ValueError: for images that are not of floats, or of another size, or labels that do not fit.
  """
  image = inputs.images(nets.config, variables, image)
  return posterior(nets, variables, image, nets.latent.draw(key, len(image)), label)


def posterior(
  nets: Networks, variables: Variables, image: jax.Array, draws: Any, label: Any = None
) -> jax.Array:
  """`encode` with draws of the latent's `draw`."""
  run = _evaluating(nets, variables, len(image), label)
  x_BTD = run('encoder', inputs.images(nets.config, variables, image))
  return nets.latent.encode(run, x_BTD, draws['latent'] if _of_training(draws) else draws)


def sample(
  nets: Networks, variables: Variables, key: jax.Array, count: int, label: Any = None
) -> jax.Array:
  """`count` samples z [count, T, D] of the prior.

  Raises:
    ValueError: for a count that is none, or labels that do not fit.
  """
  return prior(nets, variables, nets.latent.draw(key, checks.count('count', count)), label)


def prior(nets: Networks, variables: Variables, draws: Any, label: Any = None) -> jax.Array:
  """`sample` with draws of the latent's `draw`."""
  draws = draws['latent'] if _of_training(draws) else draws
  if not (arrays := jax.tree.leaves(draws)):
    raise checks.ArgumentError(f'draws are {draws!r}; they must be those of draw(key, B)')
  count = len(arrays[0])
  return nets.latent.sample(_evaluating(nets, variables, count, label), draws)


def decode(nets: Networks, variables: Variables, z_BTD: jax.Array, label: Any = None) -> jax.Array:
  """Images [B, H, W, C] of latent spikes [B, T, D]; of any number of images, and of timesteps (a
  read-out with parameters has them for T at most).

  Raises:
    ValueError: for spikes that are not of floats, or of another shape, or labels that do not fit.
  """
  z_BTD = _spikes(nets, variables, z_BTD)
  return _evaluating(nets, variables, len(z_BTD), label)('decoder', z_BTD)


def _evaluating(nets, variables, count, label=None, record=''):
  label_BN = inputs.labels(nets.config.classes, label, count)
  return Pass(nets.modules, variables, label_BN, record=record)


def unfold(nets: Networks, variables: Variables, z_BTD: jax.Array) -> jax.Array:
  """Images [B, T, H, W, C] as the read-out's membrane holds them after each step of z [B, T, D].

  No step depends on a later one, so that the decoder runs once. Raises as `decode` does.
  """
  z_BTD = _spikes(nets, variables, z_BTD)
  run = _evaluating(nets, variables, len(z_BTD), record='responses')
  run('decoder', z_BTD)
  y_BTHWC, parameters = run.records['decoder/pixels'], variables['params']['decoder']
  return jnp.tanh(readouts.membrane(nets.config.readout, parameters, y_BTHWC))


def _spikes(nets, variables, z_BTD):
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', nets.config.latent_dim)
  return inputs.ready('z_BTD', variables, z_BTD)


def record(
  nets: Networks,
  what: str,
  variables: Variables,
  z_BTD: jax.Array,
  image: jax.Array | None = None,
) -> dict[str, Any]:
  """What happened while z came about and was decoded: `Model.record`, or 'operations'.

  Beside the layers, 'latent/z'. No labels are told.

  Raises:
    ValueError: for another `what` than 'rates', 'spikes' and 'operations', or arrays that do not
      fit.
  """
  checks.one_of('record', what, (*layers.RECORDS, 'operations'))
  z_BTD = _spikes(nets, variables, z_BTD)
  if not len(z_BTD):
    raise checks.ArgumentError('z_BTD has no images; what happened is a mean over them')
  run = _evaluating(nets, variables, len(z_BTD), record=what)
  x_BTD = None
  if image is not None:
    x_BTD = run('encoder', inputs.images(nets.config, variables, image))
    checks.floats('z_BTD', z_BTD, *x_BTD.shape)
  nets.latent.replay(run, z_BTD, x_BTD)
  if what != 'operations':
    run.records['latent/z'] = jnp.mean(z_BTD, (0, 1)) if what == 'rates' else z_BTD
  run('decoder', z_BTD)
  return run.records


def make(**fields) -> Model:
  """The model of FSVAEConfig(**fields); ValueError or TypeError names a field that is wrong.

  Examples:
    >>> model = make(image_size=8, features=(4,), timesteps=2, latent_dim=4, draws=3)
    >>> model.draw(jax.random.key(0), 5)['picks'].shape
    (5, 2, 4)
  """
  nets = build(FSVAEConfig(**fields))
  of = lambda function, *args: functools.partial(function, nets, *args)
  return Model(
    init=of(init),
    draw=of(draw),
    loss=of(loss),
    encode=of(encode),
    decode=of(decode),
    operations=of(record, 'operations'),
    posterior=of(posterior),
    sample=of(sample),
    prior=of(prior),
    record=of(record),
    unfold=of(unfold) if nets.config.readout in readouts.SO_FAR else None,
    classes=nets.config.classes,
    fit=nets.latent.fit,
  )

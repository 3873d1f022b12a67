"""The Fully Spiking Variational Autoencoder (arXiv 2110.00375): the algorithm, as pure functions.

encoder    x[t]    = E(image)                                    spikes [B, T, D]
posterior  q[t]    = Q(x[<=t], z[<t]),   z[t] picked of K spikes  [B, T, D, K]
prior      p[t]    = P(z[<t])                                     [B, T, D, K]
decoder    image^  = tanh(sum_t 0.8^(T-1-t) D(z)[t])
loss       = mean (image^ - image)^2 + weight * distance(q, p)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fsvae_jax import fields
from fsvae_jax.compute import checks, chunks, layout
from fsvae_jax.models import inputs, losses, networks
from fsvae_jax.models.inputs import Variables
from fsvae_jax.models.interface import Model
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.spiking import neurons, surrogate

IMAGES_AT_A_TIME = 10  # in evaluation, through encoder and decoder: their arrays stay in cache


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
  sampler: str = 'bernoulli'
  scheduled_sampling: tuple[float, float] = (0.1, 0.3)
  distance: str = 'mmd'
  distance_weight: float = -1.0
  dtype: str = 'float32'
  remat: bool = False

  def __post_init__(self):
    fields.check('model', vars(self))
    object.__setattr__(self, 'features', tuple(self.features))
    inputs.check_sizes(self)
    tables = {
      'surrogate': surrogate.SURROGATES,
      'sampler': bernoulli.SAMPLERS,
      'distance': losses.DISTANCES,
      'dtype': ('float32', 'bfloat16'),
    }
    for field, table in tables.items():
      checks.one_of(f'model.{field}', getattr(self, field), table)


class Networks(NamedTuple):
  """The four networks and the configuration that they were made of."""

  config: FSVAEConfig
  encoder: networks.Encoder
  posterior: networks.SpikingMLP
  prior: networks.SpikingMLP
  decoder: networks.Decoder


class Pass(NamedTuple):
  """What one pass over a batch gives; `batch_stats` are moved in training."""

  reconstruction_BHWC: jax.Array
  q_BTDK: jax.Array
  p_BTDK: jax.Array
  z_BTD: jax.Array
  batch_stats: dict


def build(config: FSVAEConfig) -> Networks:
  """The networks of a configuration."""
  neuron = neurons.LIF(config.tau, config.v_th, config.surrogate)
  return Networks(
    config,
    networks.Encoder(config.features, config.latent_dim, config.timesteps, neuron, config.dtype),
    networks.SpikingMLP(config.latent_dim, config.draws, neuron, config.dtype),
    networks.SpikingMLP(config.latent_dim, config.draws, neuron, config.dtype),
    networks.Decoder(config.features, config.image_size, config.channels, neuron, config.dtype),
  )


def init(nets: Networks, key: jax.Array) -> Variables:
  """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
  c = nets.config
  shapes = {
    'encoder': (1, c.image_size, c.image_size, c.channels),
    'posterior': (1, c.timesteps, 2 * c.latent_dim),
    'prior': (1, c.timesteps, c.latent_dim),
    'decoder': (1, c.timesteps, c.latent_dim),
  }
  made = {
    name: getattr(nets, name).init(jax.random.fold_in(key, i), jnp.zeros(shape, jnp.float32))
    for i, (name, shape) in enumerate(shapes.items())
  }
  return {part: {name: made[name][part] for name in made} for part in ('params', 'batch_stats')}


def apply(nets: Networks, name: str, variables: Variables, *args, train: bool = False, **kwargs):
  """Runs one network; returns its output and its running statistics, moved if `train`."""
  own = inputs.own(variables, name)
  network = getattr(nets, name)
  if train:
    once = functools.partial(network.apply, train=True, mutable=['batch_stats'], **kwargs)
    run = jax.checkpoint(once) if nets.config.remat else once
    with inputs.others_refused():
      output, moved = run(own, *args)
    return output, moved['batch_stats']
  with inputs.others_refused():
    if name in ('encoder', 'decoder'):  # on running statistics, every image is by itself
      (x_B,) = args
      return chunks.in_chunks(network.apply, own, x_B, IMAGES_AT_A_TIME), own['batch_stats']
    return network.apply(own, *args, **kwargs), own['batch_stats']


def one_step(nets: Networks, name: str, variables: Variables):
  """Posterior or prior as a step of bernoulli.py: on running statistics, without gradient."""
  variables = jax.lax.stop_gradient(variables)

  def step(input_BI, residues):
    given = {'x_BTI': input_BI[:, None], 'residues': residues}
    (spikes_BTDK, residues), _ = apply(nets, name, variables, **given)
    return spikes_BTDK[:, 0], residues

  return step


def sample_posterior(
  nets: Networks, variables: Variables, x_BTD: jax.Array, picks_BTD: jax.Array
) -> jax.Array:
  """z [B, T, D] of the posterior given encoder spikes x [B, T, D], without gradient.

  Raises:
    ValueError: for arrays of another type or shape, naming them.
  """
  x_BTD = checks.floats('x_BTD', x_BTD, 'B', 'T', nets.config.latent_dim)
  picks_BTD = checks.integers('picks_BTD', picks_BTD, *x_BTD.shape)
  x_BTD = inputs.ready('x_BTD', variables, x_BTD)
  step = one_step(nets, 'posterior', variables)
  return bernoulli.SAMPLERS[nets.config.sampler](step, picks_BTD, jax.lax.stop_gradient(x_BTD))


def forward(
  nets: Networks,
  variables: Variables,
  image_BHWC: jax.Array,
  picks_BTD: jax.Array,
  *,
  train: bool = False,
  history_BTD: jax.Array | None = None,
  replace: Callable | None = None,
) -> Pass:
  """One pass over a batch.

  The posterior's history z[t-1] comes from a first pass without gradient, in evaluation mode; then
  q is computed for all steps at once, and the same picks give the latent that goes to the decoder.

  Args:
    nets: networks of `build`.
    variables: of `init`.
    image_BHWC: [B, H, W, C] in [-1, 1].
    picks_BTD: [B, T, D] integers in [0, K).
    train: normalise by batch statistics, and move the running ones.
    history_BTD: z[t-1] to use instead of the first pass's.
    replace: function of z [B, T, D] that gives the sequence from which the prior's history is made.

  Raises:
    ValueError: if an array's shape or type is not the configuration's; names the array.
  """
  c = nets.config
  image_BHWC = inputs.images(c, variables, image_BHWC)
  shape = len(image_BHWC), c.timesteps, c.latent_dim
  picks_BTD = layout.lay_like(checks.integers('picks_BTD', picks_BTD, *shape), image_BHWC)

  def run(name, *args):
    return apply(nets, name, variables, *args, train=train)

  stats = {}
  x_BTD, stats['encoder'] = run('encoder', image_BHWC)
  if history_BTD is None:
    history_BTD = bernoulli.shift(sample_posterior(nets, variables, x_BTD, picks_BTD))
  else:
    history_BTD = layout.lay_like(checks.floats('history_BTD', history_BTD, *shape), image_BHWC)
  given_BTI = jnp.concatenate((x_BTD, history_BTD), axis=-1)
  (q_BTDK, _), stats['posterior'] = run('posterior', given_BTI)
  z_BTD = bernoulli.take(q_BTDK, picks_BTD)
  told_BTD = jax.lax.stop_gradient(z_BTD)
  told_BTD = bernoulli.shift(replace(told_BTD) if replace else told_BTD)
  (p_BTDK, _), stats['prior'] = run('prior', told_BTD)
  reconstruction_BHWC, stats['decoder'] = run('decoder', z_BTD)
  return Pass(reconstruction_BHWC, q_BTDK, p_BTDK, z_BTD, stats)


def _picks(nets, key, batch):
  c = nets.config
  return bernoulli.draw_picks(key, batch, c.timesteps, c.latent_dim, c.draws)


def loss(
  nets: Networks,
  variables: Variables,
  image_BHWC: jax.Array,
  key: jax.Array,
  schedule: float | jax.Array = 0.0,
  train: bool = True,
  part: tuple = (0, 1),
) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
  """Loss of a batch, as `interface.Model.loss` states it."""
  image_BHWC = inputs.some_images(nets.config, variables, image_BHWC)
  picks_key, prior_key = jax.random.split(key)
  first, last = nets.config.scheduled_sampling
  rate = first + (last - first) * schedule
  step = one_step(nets, 'prior', variables)
  replace = lambda z_BTD: bernoulli.scheduled(step, z_BTD, prior_key, rate, part=part)
  picks_BTD = layout.draw_part(functools.partial(_picks, nets), picks_key, image_BHWC, part)
  out = forward(
    nets, variables, image_BHWC, picks_BTD, train=train, replace=replace if train else None
  )
  return objective(nets.config, out, image_BHWC)


def objective(
  config: FSVAEConfig, out: Pass, image_BHWC: jax.Array
) -> tuple[jax.Array, tuple[Variables, dict[str, jax.Array]]]:
  """Loss, and (batch_stats, metrics), of a pass."""
  distance_fn, weight = losses.DISTANCES[config.distance]
  weight = weight if config.distance_weight < 0 else config.distance_weight
  reconstruction = losses.mean_squared_error(out.reconstruction_BHWC, image_BHWC)
  distance = distance_fn(out.q_BTDK, out.p_BTDK)
  total = reconstruction + weight * distance
  metrics = {
    'loss': total,
    'reconstruction': reconstruction,
    'distance': distance,
    'rate/q': jnp.mean(layout.wide(out.q_BTDK)),
    'rate/p': jnp.mean(layout.wide(out.p_BTDK)),
    'rate/z': jnp.mean(layout.wide(out.z_BTD)),
  }
  return total, (out.batch_stats, metrics)


def encode(
  nets: Networks, variables: Variables, image_BHWC: jax.Array, key: jax.Array
) -> jax.Array:
  """One posterior sample z [B, T, D] for each image [B, H, W, C] in [-1, 1]; B may be 0.

  Raises:
    ValueError: for images that are not of floats, or of another size.
  """
  image_BHWC = inputs.images(nets.config, variables, image_BHWC)
  x_BTD, _ = apply(nets, 'encoder', variables, image_BHWC)
  return sample_posterior(nets, variables, x_BTD, _picks(nets, key, len(image_BHWC)))


def sample(nets: Networks, variables: Variables, key: jax.Array, count: int) -> jax.Array:
  """`count` samples z [count, T, D] of the prior; ValueError for a count that is none."""
  return sample_prior(nets, variables, _picks(nets, key, checks.count('count', count)))


def sample_prior(nets: Networks, variables: Variables, picks_BTD: jax.Array) -> jax.Array:
  """z [B, T, D] of the prior; ValueError for picks [B, T, D] of another type or shape."""
  picks_BTD = checks.integers('picks_BTD', picks_BTD, 'B', 'T', nets.config.latent_dim)
  return bernoulli.SAMPLERS[nets.config.sampler](one_step(nets, 'prior', variables), picks_BTD)


def decode(nets: Networks, variables: Variables, z_BTD: jax.Array) -> jax.Array:
  """Images [B, H, W, C] of latent spikes [B, T, D]; of any number of timesteps, and of images.

  Raises:
    ValueError: for spikes that are not of floats, or of another shape.
  """
  return apply(nets, 'decoder', variables, _latent(nets, variables, z_BTD))[0]


def _latent(nets, variables, z_BTD):
  z_BTD = checks.floats('z_BTD', z_BTD, 'B', 'T', nets.config.latent_dim)
  return inputs.ready('z_BTD', variables, z_BTD)


def record(
  nets: Networks,
  what: str,
  variables: Variables,
  z_BTD: jax.Array,
  image_BHWC: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """What neurons did while z came about and was decoded, as `interface.Model.record` states it.

  Beside the layers, 'latent/z' and 'latent/history' (z[t-1], what posterior and prior are given).

  Raises:
    ValueError: for another `what` than 'rates' and 'spikes', or arrays that do not fit.
  """
  checks.one_of('record', what, networks.RECORDS)
  z_BTD = _latent(nets, variables, z_BTD)
  history_BTD = bernoulli.shift(z_BTD)
  of = {'rates': lambda spikes: jnp.mean(spikes, (0, 1)), 'spikes': lambda spikes: spikes}[what]
  records = {'latent/z': of(z_BTD), 'latent/history': of(history_BTD)}

  def run(name, *args):
    own = inputs.own(variables, name)
    with inputs.others_refused():
      output, recorded = getattr(nets, name).apply(own, *args, mutable=[what])
    records.update({f'{name}/{layer}': kept['of'] for layer, kept in recorded[what].items()})
    return output

  if image_BHWC is not None:
    image_BHWC = inputs.images(nets.config, variables, image_BHWC)
    x_BTD = run('encoder', image_BHWC)
    checks.floats('z_BTD', z_BTD, *x_BTD.shape)
    run('posterior', jnp.concatenate((x_BTD, history_BTD), axis=-1))
  run('prior', history_BTD)
  run('decoder', z_BTD)
  return records


def make(**fields) -> Model:
  """The model of FSVAEConfig(**fields); ValueError or TypeError names a field that is wrong."""
  nets = build(FSVAEConfig(**fields))
  functions = init, loss, encode, decode, sample, record
  return Model(*(functools.partial(function, nets) for function in functions))

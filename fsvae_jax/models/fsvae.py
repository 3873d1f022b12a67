"""The Fully Spiking Variational Autoencoder (arXiv 2110.00375): the algorithm, as pure functions.

encoder    x[t]    = E(image)                                    spikes [B, T, D]
posterior  q[t]    = Q(x[<=t], z[<t]),   z[t] picked of K spikes  [B, T, D, K]
prior      p[t]    = P(z[<t])                                     [B, T, D, K]
decoder    image^  = tanh(sum_t 0.8^(T-1-t) D(z)[t])
loss       = mean (image^ - image)^2 + weight * distance(q, p)
"""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from fsvae_jax import fields
from fsvae_jax.models import latents, losses, networks
from fsvae_jax.models.interface import Model
from fsvae_jax.spiking import chunks, layout, neurons, surrogate

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
    stride = 2 ** len(self.features)
    if self.image_size % stride:
      raise ValueError(
        f'model.image_size {self.image_size} is not a multiple of {stride}, the total stride of '
        f'{len(self.features)} convolutions: change the size or the number of features'
      )
    tables = {
      'surrogate': surrogate.SURROGATES,
      'sampler': latents.SAMPLERS,
      'distance': losses.DISTANCES,
      'dtype': ('float32', 'bfloat16'),
    }
    for field, table in tables.items():
      if getattr(self, field) not in table:
        raise ValueError(
          f'unknown model.{field} {getattr(self, field)!r}; known: {", ".join(table)}'
        )


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


def init(nets, key):
  """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
  c = nets.config
  inputs = {
    'encoder': (1, c.image_size, c.image_size, c.channels),
    'posterior': (1, c.timesteps, 2 * c.latent_dim),
    'prior': (1, c.timesteps, c.latent_dim),
    'decoder': (1, c.timesteps, c.latent_dim),
  }
  made = {
    name: getattr(nets, name).init(jax.random.fold_in(key, i), jnp.zeros(shape))
    for i, (name, shape) in enumerate(inputs.items())
  }
  return {part: {name: made[name][part] for name in made} for part in ('params', 'batch_stats')}


def apply(nets, name, variables, *args, train=False, **kwargs):
  """Runs one network; returns its output and its running statistics, moved if `train`."""
  own = {part: tree[name] for part, tree in variables.items()}
  network = getattr(nets, name)
  if train:
    run = functools.partial(network.apply, train=True, mutable=['batch_stats'], **kwargs)
    run = jax.checkpoint(run) if nets.config.remat else run
    output, moved = run(own, *args)
    return output, moved['batch_stats']
  if name in ('encoder', 'decoder'):  # on running statistics, every image is by itself
    (x_B,) = args
    return chunks.in_chunks(network.apply, own, x_B, IMAGES_AT_A_TIME), own['batch_stats']
  return network.apply(own, *args, **kwargs), own['batch_stats']


def one_step(nets, name, variables):
  """Posterior or prior as a step of latents.py: on running statistics, without gradient."""
  variables = jax.lax.stop_gradient(variables)

  def step(input_BI, residues):
    given = {'x_BTI': input_BI[:, None], 'residues': residues}
    (spikes_BTDK, residues), _ = apply(nets, name, variables, **given)
    return spikes_BTDK[:, 0], residues

  return step


def sample_posterior(nets, variables, x_BTD, picks_BTD):
  """z [B, T, D] of the posterior given encoder spikes x, without gradient."""
  step = one_step(nets, 'posterior', variables)
  return latents.SAMPLERS[nets.config.sampler](step, picks_BTD, jax.lax.stop_gradient(x_BTD))


def forward(
  nets, variables, image_BHWC, picks_BTD, *, train=False, history_BTD=None, replace=None
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
    AssertionError: if an array's shape or type is not the configuration's.
  """
  c = nets.config
  chex.assert_shape(image_BHWC, (None, c.image_size, c.image_size, c.channels))
  chex.assert_shape(picks_BTD, (len(image_BHWC), c.timesteps, c.latent_dim))
  chex.assert_type([image_BHWC, picks_BTD], [float, int])

  def run(name, *args):
    return apply(nets, name, variables, *args, train=train)

  stats = {}
  x_BTD, stats['encoder'] = run('encoder', image_BHWC)
  if history_BTD is None:
    history_BTD = latents.shift(sample_posterior(nets, variables, x_BTD, picks_BTD))
  given_BTI = jnp.concatenate((x_BTD, history_BTD), axis=-1)
  (q_BTDK, _), stats['posterior'] = run('posterior', given_BTI)
  z_BTD = latents.take(q_BTDK, picks_BTD)
  told_BTD = jax.lax.stop_gradient(z_BTD)
  told_BTD = latents.shift(replace(told_BTD) if replace else told_BTD)
  (p_BTDK, _), stats['prior'] = run('prior', told_BTD)
  reconstruction_BHWC, stats['decoder'] = run('decoder', z_BTD)
  return Pass(reconstruction_BHWC, q_BTDK, p_BTDK, z_BTD, stats)


def _picks(nets, key, batch, part=(0, 1)):
  c = nets.config
  draw = lambda key, batch: latents.draw_picks(key, batch, c.timesteps, c.latent_dim, c.draws)
  return layout.draw_part(draw, key, batch, part)


def loss(nets, variables, image_BHWC, key, schedule=0.0, train=True, part=(0, 1)):
  """Loss of a batch, as `interface.Model.loss` states it."""
  picks_key, prior_key = jax.random.split(key)
  first, last = nets.config.scheduled_sampling
  rate = first + (last - first) * schedule
  step = one_step(nets, 'prior', variables)
  replace = lambda z_BTD: latents.scheduled(step, z_BTD, prior_key, rate, part=part)
  picks_BTD = _picks(nets, picks_key, len(image_BHWC), part)
  out = forward(
    nets, variables, image_BHWC, picks_BTD, train=train, replace=replace if train else None
  )
  return objective(nets.config, out, image_BHWC)


def objective(config, out: Pass, image_BHWC):
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


def encode(nets, variables, image_BHWC, key):
  """One posterior sample z [B, T, D] for each image."""
  x_BTD, _ = apply(nets, 'encoder', variables, image_BHWC)
  return sample_posterior(nets, variables, x_BTD, _picks(nets, key, len(image_BHWC)))


def sample(nets, variables, key, count):
  """`count` samples z [count, T, D] of the prior."""
  return sample_prior(nets, variables, _picks(nets, key, count))


def sample_prior(nets, variables, picks_BTD):
  """z [B, T, D] of the prior."""
  return latents.SAMPLERS[nets.config.sampler](one_step(nets, 'prior', variables), picks_BTD)


def decode(nets, variables, z_BTD):
  """Images [B, H, W, C] of latent spikes; of any number of timesteps."""
  return apply(nets, 'decoder', variables, z_BTD)[0]


def record(nets, what, variables, z_BTD, image_BHWC=None):
  """What neurons did while z came about and was decoded, as `interface.Model.record` states it.

  Beside the layers, 'latent/z' and 'latent/history' (z[t-1], what posterior and prior are given).
  """
  history_BTD = latents.shift(z_BTD)
  of = {'rates': lambda spikes: jnp.mean(spikes, (0, 1)), 'spikes': lambda spikes: spikes}[what]
  records = {'latent/z': of(z_BTD), 'latent/history': of(history_BTD)}

  def run(name, *args):
    own = {part: tree[name] for part, tree in variables.items()}
    output, recorded = getattr(nets, name).apply(own, *args, mutable=[what])
    records.update({f'{name}/{layer}': kept['of'] for layer, kept in recorded[what].items()})
    return output

  if image_BHWC is not None:
    x_BTD = run('encoder', image_BHWC)
    run('posterior', jnp.concatenate((x_BTD, history_BTD), axis=-1))
  run('prior', history_BTD)
  run('decoder', z_BTD)
  return records


def make(**fields) -> Model:
  """The model of FSVAEConfig(**fields); ValueError or TypeError names a field that is wrong."""
  nets = build(FSVAEConfig(**fields))
  functions = init, loss, encode, decode, sample, record
  return Model(*(functools.partial(function, nets) for function in functions))

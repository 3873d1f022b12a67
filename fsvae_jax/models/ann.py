"""Conventional networks of the FSVAE's shape: the VAE to compare with, and an autoencoder.

The VAE is the baseline of arXiv 2110.00375 (its authors' `VanillaVAE`): the same convolutions with
batch normalisation and leaky ReLU in place of tdBN and LIF, a Gaussian latent of D numbers. The
autoencoder's code is the feature space of the Frechet distance "FAD" (metrics/fad.py).

    loss = mean (image^ - image)^2 + kl_weight * mean_B sum_D KL(N(mu, sigma^2) || N(0, 1))
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax import fields
from fsvae_jax.compute import checks, conv, layout, linear
from fsvae_jax.models import inputs, layers, losses, passes, records
from fsvae_jax.models.inputs import Variables
from fsvae_jax.models.interface import Model
from fsvae_jax.models.passes import Pass


@dataclasses.dataclass(frozen=True)
class ANNConfig:
  """Sizes, as in FSVAEConfig; `kl_weight` is the VAE's."""

  image_size: int = 32
  channels: int = 1
  features: tuple[int, ...] = (32, 64, 128, 256)
  latent_dim: int = 128
  kl_weight: float = 1 / 240  # the published runs': one over the number of batches of an epoch

  def __post_init__(self):
    fields.check('model', vars(self))
    object.__setattr__(self, 'features', tuple(self.features))
    inputs.check_sizes(self)


class Layer(nn.Module):
  """Synapses, as layers.py has them, batch normalisation, leaky ReLU."""

  features: int
  operation: Callable = linear.matmul
  window: tuple[int, ...] = ()
  transposed: bool = False
  activation: bool = True

  @nn.compact
  def __call__(self, x, train):
    synapses = layers.Synapses(self.features, self.window, self.transposed, name='synapses')
    weights = synapses(x.shape[-1])
    records.operations(self, layers.over_time(self.operation), weights[0], x.shape[1:], steps=1)
    x = layers.respond(self.operation, weights, x)
    if not self.activation:
      return x
    x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, name='norm')(x)
    return nn.leaky_relu(x, 0.01)


class Encoder(nn.Module):
  """Images [B, H, W, C] in [-1, 1] to [B, outputs]."""

  features: Sequence[int]
  outputs: int

  @nn.compact
  def __call__(self, x, train=False):
    for i, features in enumerate(self.features):
      x = Layer(features, conv.conv, (3, 3), name=f'conv_{i}')(x, train)
    x = layout.reshape(x, len(x), math.prod(x.shape[1:]))
    return Layer(self.outputs, activation=False, name='dense')(x, train)


class Decoder(nn.Module):
  """Codes [B, D] to images [B, H, W, C] in [-1, 1]."""

  features: Sequence[int]  # the encoder's
  image_size: int
  channels: int

  @nn.compact
  def __call__(self, z_BD, train=False):
    *narrower, widest = self.features
    side = self.image_size // 2 ** len(self.features)
    x = Layer(widest * side * side, activation=False, name='dense')(z_BD, train)
    x = layout.reshape(x, len(x), side, side, widest)
    upsample = lambda x, kernel: layout.interleave(conv.conv_transpose_phases(x, kernel))
    for i, features in enumerate((*narrower[::-1], self.features[0])):
      x = Layer(features, upsample, (3, 3), transposed=True, name=f'conv_{i}')(x, train)
    last = conv.conv_transpose_stride1
    pixels = Layer(self.channels, last, (3, 3), transposed=True, activation=False, name='pixels')
    return jnp.tanh(pixels(x, train))


def normal(key: jax.Array, batch: int, latent_dim: int) -> jax.Array:
  """Standard normal float32 [B, D], split over the mesh, if any; ValueError for a batch below 0."""
  shape = checks.count('count', batch), checks.count('latent_dim', latent_dim, 1)
  return jax.random.normal(key, shape, jnp.float32, out_sharding=layout.batch_split(shape[0]))


def reparameterize(moments_B2D: jax.Array, normal_BD: jax.Array) -> jax.Array:
  """mu + sigma * normal [B, D] of concatenated mu and log sigma^2."""
  mu_BD, log_var_BD = _moments(moments_B2D)
  normal_BD = checks.floats('draws', normal_BD, *mu_BD.shape)
  return mu_BD + jnp.exp(log_var_BD / 2) * layout.lay_like(normal_BD, mu_BD)


def _moments(moments_B2D):
  moments_B2D = checks.floats('moments_B2D', moments_B2D, 'B', '2D')
  if moments_B2D.shape[1] % 2:
    raise checks.ArgumentError(f'moments_B2D has the shape {moments_B2D.shape}; halves are needed')
  return jnp.split(moments_B2D, 2, axis=-1)


def kl(moments_B2D: jax.Array) -> jax.Array:
  """KL(N(mu, sigma^2) || N(0, 1)), a sum over D, a mean over B."""
  mu_BD, log_var_BD = _moments(moments_B2D)
  return -0.5 * jnp.mean(jnp.sum(1 + log_var_BD - mu_BD**2 - jnp.exp(log_var_BD), axis=-1))


class ANN(NamedTuple):
  """The networks, {'encoder' | 'decoder': Linen module}, of a configuration."""

  config: ANNConfig
  modules: passes.Modules

  def init(self, key: jax.Array) -> Variables:
    """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
    c = self.config
    image = 1, c.image_size, c.image_size, c.channels
    return passes.init(self.modules, {'encoder': image, 'decoder': (1, c.latent_dim)}, key)

  def decode(self, variables: Variables, z_BD: jax.Array) -> jax.Array:
    """Images [B, H, W, C] of codes [B, D]."""
    return Pass(self.modules, variables)('decoder', self.ready(variables, z_BD))

  def operations(
    self, variables: Variables, z_BD: jax.Array, image_BHWC: jax.Array | None = None
  ) -> dict[str, records.Operations]:
    """Of the decoder, and, given images, of the encoder."""
    run = Pass(self.modules, variables, record='operations')
    if image_BHWC is not None:
      run('encoder', inputs.images(self.config, variables, image_BHWC))
    run('decoder', self.ready(variables, z_BD))
    return run.records

  def ready(self, variables: Variables, z_BD: jax.Array) -> jax.Array:
    """Codes [B, D] in the parameters' type; ValueError for others."""
    z_BD = checks.floats('z_BD', z_BD, 'B', self.config.latent_dim)
    return inputs.ready('z_BD', variables, z_BD)


def build(config: ANNConfig, outputs: int) -> ANN:
  """Networks whose encoder has so many outputs."""
  decoder = Decoder(config.features, config.image_size, config.channels)
  return ANN(config, {'encoder': Encoder(config.features, outputs), 'decoder': decoder})


def make_vae(**fields) -> Model:
  """The variational autoencoder of ANNConfig(**fields)."""
  config = ANNConfig(**fields)
  nets = build(config, 2 * config.latent_dim)

  draw = lambda key, count, train=True: normal(key, count, config.latent_dim)
  sample = lambda variables, key, count: nets.ready(variables, draw(key, count))
  return _model(nets, draw, reparameterize, kl)._replace(sample=sample, prior=nets.ready)


def make_autoencoder(**fields) -> Model:
  """The autoencoder of ANNConfig(**fields): without draws, keys, prior and `kl_weight`."""
  config = ANNConfig(**fields)
  nets = build(config, config.latent_dim)
  return _model(nets, lambda key, count, train=True: (), lambda code_BD, draws: code_BD)


def _model(nets, draw, latent_of, distance_of=None):
  """The model whose latent is `latent_of` what the encoder gives, and the draws."""

  def posterior(variables, image_BHWC, draws):
    image_BHWC = inputs.images(nets.config, variables, image_BHWC)
    return latent_of(Pass(nets.modules, variables)('encoder', image_BHWC), draws)

  def encode(variables, image_BHWC, key=None):
    image_BHWC = inputs.images(nets.config, variables, image_BHWC)
    return posterior(variables, image_BHWC, draw(key, len(image_BHWC)))

  def loss(variables, batch, draws=(), schedule=0.0, train=True):
    del schedule
    image_BHWC = inputs.some_images(nets.config, variables, batch)
    run = Pass(nets.modules, variables, train=train)
    found_B = run('encoder', image_BHWC)
    again_BHWC = run('decoder', latent_of(found_B, draws))
    total = losses.mean_squared_error(again_BHWC, image_BHWC)
    metrics = {'reconstruction': total}
    if distance_of:
      metrics['distance'] = distance_of(found_B)
      total = total + nets.config.kl_weight * metrics['distance']
    return total, (run.batch_stats, metrics | {'loss': total})

  return Model(nets.init, draw, loss, encode, nets.decode, nets.operations, posterior)

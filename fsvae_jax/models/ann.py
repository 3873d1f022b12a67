"""Conventional networks of the FSVAE's shape: the VAE to compare with, and an autoencoder.

The VAE is the baseline of arXiv 2110.00375 (its authors' `VanillaVAE`): the same convolutions with
batch normalisation and leaky ReLU in place of tdBN and LIF, a Gaussian latent of D numbers. The
autoencoder's code is the feature space of the Frechet distance "FAD" (metrics/fad.py).

    loss = mean (image^ - image)^2 + kl_weight * mean_B sum_D KL(N(mu, sigma^2) || N(0, 1))
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax import fields
from fsvae_jax.compute import checks, conv, layout, linear
from fsvae_jax.models import inputs, losses, networks
from fsvae_jax.models.inputs import Variables
from fsvae_jax.models.interface import Model


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
  """Synapses, as networks.py has them, batch normalisation, leaky ReLU."""

  features: int
  operation: Callable = linear.matmul
  window: tuple[int, ...] = ()
  transposed: bool = False
  activation: bool = True

  @nn.compact
  def __call__(self, x, train):
    synapses = networks.Synapses(self.features, self.window, self.transposed, name='synapses')
    x = networks.respond(self.operation, synapses(x.shape[-1]), x)
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
    for i, features in enumerate((*narrower[::-1], self.features[0])):
      upsample = lambda x, kernel: layout.interleave(conv.conv_transpose_phases(x, kernel))
      x = Layer(features, upsample, (3, 3), transposed=True, name=f'conv_{i}')(x, train)
    last = conv.conv_transpose_stride1
    pixels = Layer(self.channels, last, (3, 3), transposed=True, activation=False, name='pixels')
    return jnp.tanh(pixels(x, train))


def build(config: ANNConfig, outputs: int) -> dict[str, nn.Module]:
  """{'encoder' | 'decoder': network}."""
  return {
    'encoder': Encoder(config.features, outputs),
    'decoder': Decoder(config.features, config.image_size, config.channels),
  }


def init(nets: dict[str, nn.Module], config: ANNConfig, key: jax.Array) -> Variables:
  """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
  image = 1, config.image_size, config.image_size, config.channels
  shapes = {'encoder': image, 'decoder': (1, config.latent_dim)}
  made = {
    name: nets[name].init(jax.random.fold_in(key, i), jnp.zeros(shape, jnp.float32))
    for i, (name, shape) in enumerate(shapes.items())
  }
  return {part: {name: made[name][part] for name in made} for part in ('params', 'batch_stats')}


def run(
  nets: dict[str, nn.Module], name: str, variables: Variables, x: jax.Array, train: bool = False
) -> tuple[Any, Variables]:
  """Output of one network and its running statistics, moved if `train`."""
  own = inputs.own(variables, name)
  with inputs.others_refused():
    if not train:
      return nets[name].apply(own, x), own['batch_stats']
    output, moved = nets[name].apply(own, x, train=True, mutable=['batch_stats'])
    return output, moved['batch_stats']


def normal(key: jax.Array, batch: int, latent_dim: int) -> jax.Array:
  """Standard normal float32 [B, D], split over the mesh, if any; ValueError for a batch below 0."""
  shape = checks.count('count', batch), checks.count('latent_dim', latent_dim, 1)
  return jax.random.normal(key, shape, jnp.float32, out_sharding=layout.batch_split(shape[0]))


def reparameterize(moments_B2D: jax.Array, key: jax.Array, part: tuple = (0, 1)) -> jax.Array:
  """mu + sigma * normal [B, D] of concatenated mu and log sigma^2."""
  mu_BD, log_var_BD = _moments(moments_B2D)
  draw = functools.partial(normal, latent_dim=mu_BD.shape[1])
  return mu_BD + jnp.exp(log_var_BD / 2) * layout.draw_part(draw, key, mu_BD, part)


def _moments(moments_B2D):
  moments_B2D = checks.floats('moments_B2D', moments_B2D, 'B', '2D')
  if moments_B2D.shape[1] % 2:
    raise checks.ArgumentError(f'moments_B2D has the shape {moments_B2D.shape}; halves are needed')
  return jnp.split(moments_B2D, 2, axis=-1)


def kl(moments_B2D: jax.Array) -> jax.Array:
  """KL(N(mu, sigma^2) || N(0, 1)), a sum over D, a mean over B."""
  mu_BD, log_var_BD = _moments(moments_B2D)
  return -0.5 * jnp.mean(jnp.sum(1 + log_var_BD - mu_BD**2 - jnp.exp(log_var_BD), axis=-1))


def make_vae(**fields) -> Model:
  """The variational autoencoder of ANNConfig(**fields)."""
  config = ANNConfig(**fields)
  nets = build(config, 2 * config.latent_dim)

  def encode(variables, image_BHWC, key):
    image_BHWC = inputs.images(config, variables, image_BHWC)
    return reparameterize(run(nets, 'encoder', variables, image_BHWC)[0], key)

  def loss(variables, image_BHWC, key, schedule=0.0, train=True, part=(0, 1)):
    del schedule
    image_BHWC = inputs.some_images(config, variables, image_BHWC)
    moments_B2D, encoder_stats = run(nets, 'encoder', variables, image_BHWC, train)
    z_BD = reparameterize(moments_B2D, key, part)
    again_BHWC, decoder_stats = run(nets, 'decoder', variables, z_BD, train)
    error = losses.mean_squared_error(again_BHWC, image_BHWC)
    distance = kl(moments_B2D)
    total = error + config.kl_weight * distance
    stats = {'encoder': encoder_stats, 'decoder': decoder_stats}
    return total, (stats, {'loss': total, 'reconstruction': error, 'distance': distance})

  def sample(variables, key, count):
    z_BD = normal(key, count, config.latent_dim)
    return inputs.ready('z_BD', variables, z_BD)

  return Model(functools.partial(init, nets, config), loss, encode, decode(nets, config), sample)


def make_autoencoder(**fields) -> Model:
  """The autoencoder of ANNConfig(**fields): without draws, keys, prior and `kl_weight`."""
  config = ANNConfig(**fields)
  nets = build(config, config.latent_dim)

  def encode(variables, image_BHWC, key=None):
    del key
    image_BHWC = inputs.images(config, variables, image_BHWC)
    return run(nets, 'encoder', variables, image_BHWC)[0]

  def loss(variables, image_BHWC, key=None, schedule=0.0, train=True, part=(0, 1)):
    del key, schedule, part
    image_BHWC = inputs.some_images(config, variables, image_BHWC)
    code_BD, encoder_stats = run(nets, 'encoder', variables, image_BHWC, train)
    again_BHWC, decoder_stats = run(nets, 'decoder', variables, code_BD, train)
    error = losses.mean_squared_error(again_BHWC, image_BHWC)
    stats = {'encoder': encoder_stats, 'decoder': decoder_stats}
    return error, (stats, {'loss': error, 'reconstruction': error})

  return Model(functools.partial(init, nets, config), loss, encode, decode(nets, config))


def decode(nets: dict[str, nn.Module], config: ANNConfig) -> Callable:
  """`Model.decode` of these networks."""

  def decode(variables, z_BD):
    z_BD = checks.floats('z_BD', z_BD, 'B', config.latent_dim)
    return run(nets, 'decoder', variables, inputs.ready('z_BD', variables, z_BD))[0]

  return decode

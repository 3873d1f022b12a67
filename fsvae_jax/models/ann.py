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

import jax
import jax.numpy as jnp
from flax import linen as nn

from fsvae_jax import fields
from fsvae_jax.models import losses, networks
from fsvae_jax.models.interface import Model
from fsvae_jax.spiking import conv, layout, linear


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
    if self.image_size % 2 ** len(self.features):
      raise ValueError(
        f'model.image_size {self.image_size} is not a multiple of {2 ** len(self.features)}, the '
        f'total stride of {len(self.features)} convolutions'
      )


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


def build(config: ANNConfig, outputs):
  """{'encoder' | 'decoder': network}."""
  return {
    'encoder': Encoder(config.features, outputs),
    'decoder': Decoder(config.features, config.image_size, config.channels),
  }


def init(nets, config, key):
  """Parameters and running statistics, as {'params' | 'batch_stats': {network: ...}}."""
  image = jnp.zeros((1, config.image_size, config.image_size, config.channels))
  inputs = {'encoder': image, 'decoder': jnp.zeros((1, config.latent_dim))}
  made = {
    name: nets[name].init(jax.random.fold_in(key, i), inputs[name]) for i, name in enumerate(inputs)
  }
  return {part: {name: made[name][part] for name in made} for part in ('params', 'batch_stats')}


def run(nets, name, variables, x, train=False):
  """Output of one network and its running statistics, moved if `train`."""
  own = {part: tree[name] for part, tree in variables.items()}
  if not train:
    return nets[name].apply(own, x), own['batch_stats']
  output, moved = nets[name].apply(own, x, train=True, mutable=['batch_stats'])
  return output, moved['batch_stats']


def normal(key, batch, latent_dim):
  """Standard normal [B, D], split over the mesh, if any."""
  return jax.random.normal(key, (batch, latent_dim), out_sharding=layout.batch_split())


def reparameterize(moments_B2D, key, part=(0, 1)):
  """mu + sigma * normal [B, D] of concatenated mu and log sigma^2."""
  mu_BD, log_var_BD = jnp.split(moments_B2D, 2, axis=-1)
  batch, latent_dim = mu_BD.shape
  draw = functools.partial(normal, latent_dim=latent_dim)
  return mu_BD + jnp.exp(log_var_BD / 2) * layout.draw_part(draw, key, batch, part)


def kl(moments_B2D):
  """KL(N(mu, sigma^2) || N(0, 1)), a sum over D, a mean over B."""
  mu_BD, log_var_BD = jnp.split(moments_B2D, 2, axis=-1)
  return -0.5 * jnp.mean(jnp.sum(1 + log_var_BD - mu_BD**2 - jnp.exp(log_var_BD), axis=-1))


def make_vae(**fields) -> Model:
  """The variational autoencoder of ANNConfig(**fields)."""
  config = ANNConfig(**fields)
  nets = build(config, 2 * config.latent_dim)

  def encode(variables, image_BHWC, key):
    return reparameterize(run(nets, 'encoder', variables, image_BHWC)[0], key)

  def loss(variables, image_BHWC, key, schedule=0.0, train=True, part=(0, 1)):
    del schedule
    moments_B2D, encoder_stats = run(nets, 'encoder', variables, image_BHWC, train)
    z_BD = reparameterize(moments_B2D, key, part)
    again_BHWC, decoder_stats = run(nets, 'decoder', variables, z_BD, train)
    error = losses.mean_squared_error(again_BHWC, image_BHWC)
    distance = kl(moments_B2D)
    total = error + config.kl_weight * distance
    stats = {'encoder': encoder_stats, 'decoder': decoder_stats}
    return total, (stats, {'loss': total, 'reconstruction': error, 'distance': distance})

  def sample(variables, key, count):
    del variables
    return normal(key, count, config.latent_dim)

  return Model(functools.partial(init, nets, config), loss, encode, decode(nets), sample)


def make_autoencoder(**fields) -> Model:
  """The autoencoder of ANNConfig(**fields): without draws, keys, prior and `kl_weight`."""
  config = ANNConfig(**fields)
  nets = build(config, config.latent_dim)

  def encode(variables, image_BHWC, key=None):
    del key
    return run(nets, 'encoder', variables, image_BHWC)[0]

  def loss(variables, image_BHWC, key=None, schedule=0.0, train=True, part=(0, 1)):
    del key, schedule, part
    code_BD, encoder_stats = run(nets, 'encoder', variables, image_BHWC, train)
    again_BHWC, decoder_stats = run(nets, 'decoder', variables, code_BD, train)
    error = losses.mean_squared_error(again_BHWC, image_BHWC)
    stats = {'encoder': encoder_stats, 'decoder': decoder_stats}
    return error, (stats, {'loss': error, 'reconstruction': error})

  return Model(functools.partial(init, nets, config), loss, encode, decode(nets))


def decode(nets):
  """`Model.decode` of these networks."""
  return lambda variables, z_BD: run(nets, 'decoder', variables, z_BD)[0]

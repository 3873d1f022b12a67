"""The layers of a trained FSVAE as a neuron of NIR has them, with tdBN folded into the weights.

One step of such a neuron is v[t] = decay * v[t-1] + (1 - decay) * I[t] (nir_nodes.py), so that with
weights divided by 1 - decay, v is the membrane u of `neurons.lif`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fsvae_jax.models import fsvae, inputs, layers, readouts


class Layer(NamedTuple):
  """v[t] = decay * v[t-1] + (1 - decay) * (x[t] * kernel + bias); arrays are float64.

  Attributes:
    kernel: [in, out] or [3, 3, in, out].
    bias: [out].
    decay, v_th: of the neurons; (0, None) of a layer without.
  """

  kernel: np.ndarray
  bias: np.ndarray
  decay: float = 0.0
  v_th: float | None = None


Layers = Mapping[str, Layer]


def layers_of(nets: fsvae.Networks, variables: Any) -> dict[str, dict[str, Layer]]:
  """{network: {layer: Layer}} of `Model.init`'s variables, tdBN folded in.

  Raises:
    ValueError: naming a parameter that belongs to no spiking layer, or a neuron that NIR lacks.
  """
  return {
    network: {
      name: _folded(f'{network}/{name}', variables['params'][network][name], drive)
      for name, drive in drives.items()
    }
    | _without_neurons(network, variables['params'][network], drives)
    for network, drives in _drives(nets, variables).items()
  }


def _drives(nets, variables):
  """{network: {layer: (gain, offset, constants)}}: tdBN and neurons as the layers have them."""
  spiking = lambda module, _: isinstance(module, layers.SpikingLayer)
  neuron = {'tau': nets.config.tau, 'v_th': nets.config.v_th}

  @jax.jit
  def drives(variables):
    found = OrderedDict()  # whose order jit keeps: that of computation
    for name, shape in fsvae.shapes(nets).items():
      apply = nets.modules[name].apply
      kept = apply(
        inputs.own(variables, name),
        jnp.zeros(shape),
        capture_intermediates=spiking,
        mutable=['intermediates'],
      )[1].get('intermediates', {})
      calls = ((layer, of['__call__'][0]) for layer, of in kept.items())
      found[name] = OrderedDict(
        (layer, (drive.gain_C, drive.offset_C, neuron | drive.constants)) for layer, drive in calls
      )
    return found

  return jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(drives(variables)))


def _folded(name, params, drive):
  gain_C, offset_C, constants = drive
  decay, v_th = float(constants['tau']), float(constants['v_th'])
  if not 0 < decay < 1:
    raise ValueError(f'the neurons of {name} decay by {decay} a step; in NIR it is between 0 and 1')
  kernel, bias_C = _float64(params['synapses'])
  scale_C = gain_C / (1 - decay)
  return Layer(kernel * scale_C, bias_C * scale_C + offset_C / (1 - decay), decay, v_th)


def _float64(synapses):
  return np.asarray(synapses['kernel'], np.float64), np.asarray(synapses['bias'], np.float64)


def _without_neurons(network, params, spiking):
  """The decoder's last convolution; what is neither that, nor spiking, nor a read-out's weights is
  refused."""
  known = {'pixels', 'readout'} if network == 'decoder' else set()
  for name in set(params) - set(spiking) - known:
    raise ValueError(
      f'{network}/{name} has no node in NIR, which knows synapses and spiking neurons alone: train '
      'with model.latent bernoulli or mixture and model.readout leaky or learned, or export '
      '--format=stablehlo'
    )
  if 'pixels' not in params:
    return {}
  return {'pixels': Layer(*_float64(params['pixels']))}


def readout_weights(nets: fsvae.Networks, variables: Any) -> np.ndarray:
  """float32 [T]: how the steps of the decoder's output weigh in the image.

  Raises:
    ValueError: for a read-out that has no row in `readouts.SO_FAR`.
  """
  name = nets.config.readout
  if name not in readouts.SO_FAR:
    raise ValueError(
      f'decoder/readout is {name}, of which it is not known how steps weigh: give it a row in '
      'readouts.SO_FAR, or export --format=stablehlo'
    )
  weight_TS = readouts.SO_FAR[name](nets.config.timesteps, variables['params']['decoder'])
  return np.asarray(weight_TS[-1], np.float32)

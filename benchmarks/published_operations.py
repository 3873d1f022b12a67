"""python -m benchmarks.published_operations

The MNIST model's operations by the counting rules of others, if every neuron fired at one rate:

  nominal    Kernels count whole, borders too, as counters of FLOPs do.
  reference  Those of the authors' published table (arXiv 2110.00375, table 2), quirks and all:
             transposed convolutions count stride^2 = 4 times, the image at every step, the
             posterior T (T + 1) / 2 times (prefixes), biases and leaks are additions, a leak of a
             neuron that did not fire is a multiplication; the sum is of a batch of 250. (For CelebA
             the authors' counter took pixels for spikes; that is not repeated here.)

The package counts the targets that exist: fsvae_jax/metrics/operations.py.
"""

from typing import NamedTuple

TIMESTEPS, BATCH = 16, 250
ACCUMULATE_PJ, MULTIPLY_PJ = 0.9, 4.6
PUBLISHED = {'additions': 5.0e10, 'multiplications': 5.6e8}


class Layer(NamedTuple):
  """Synapses: their network, kind, numbers of inputs and outputs, and channels of the outputs."""

  network: str
  kind: str  # image, conv, dense, transposed, stride1
  inputs: int
  outputs: int
  features: int


def mnist_layers():
  """The layers of the MNIST model (configs/mnist.py), in the order of computation."""
  widths, d, k = (32, 64, 128, 256), 128, 20
  layers, side, width = [], 32, 1
  for i, features in enumerate(widths):
    kind = 'conv' if i else 'image'
    outputs = (side // 2) ** 2 * features
    layers.append(Layer('encoder', kind, side**2 * width, outputs, features))
    side, width = side // 2, features
  layers.append(Layer('encoder', 'dense', side**2 * width, d, d))
  for network, inputs in (('posterior', 2 * d), ('prior', d)):
    for features in (2 * d, 4 * d, k * d):
      layers.append(Layer(network, 'dense', inputs, features, features))
      inputs = features
  layers.append(Layer('decoder', 'dense', d, side**2 * width, side**2 * width))
  for features in (*widths[-2::-1], widths[0]):
    outputs = (2 * side) ** 2 * features
    layers.append(Layer('decoder', 'transposed', side**2 * width, outputs, features))
    side, width = 2 * side, features
  layers.append(Layer('decoder', 'stride1', side**2 * width, side**2, 1))
  return layers


def synapses(layer, rule):
  """How many targets all inputs have together: 9 taps a channel, of stride 2 a quarter of them."""
  if layer.kind == 'dense':
    return layer.inputs * layer.features
  whole = 9 * layer.features * layer.inputs
  if layer.kind in ('image', 'conv'):
    return whole / 4
  return whole * (4 if rule == 'reference' and layer.kind == 'transposed' else 1)


def nominal(rate):
  """(FSVAE's, the ANN's) energy of a reconstruction in uJ, and the rate at which they are equal."""
  fsvae = {'image': 0.0, 'spikes': 0.0}
  ann = 0.0
  for layer in mnist_layers():
    count = synapses(layer, 'nominal')
    if layer.network != 'prior':
      fsvae['image' if layer.kind == 'image' else 'spikes'] += count
    if layer.network in ('encoder', 'decoder'):
      heads = 2 if (layer.network, layer.kind) == ('encoder', 'dense') else 1
      ann += heads * count
  image, ann = (1e-6 * MULTIPLY_PJ * count for count in (fsvae['image'], ann))
  always = 1e-6 * ACCUMULATE_PJ * TIMESTEPS * fsvae['spikes']
  return image + rate * always, ann, (ann - image) / always


def reference(rate):
  """{'additions', 'multiplications'} of a batch's reconstruction and prior, by the table."""
  additions = multiplications = 0.0
  for layer in mnist_layers():
    runs = TIMESTEPS * (TIMESTEPS + 1) // 2 if layer.network == 'posterior' else TIMESTEPS
    count = synapses(layer, 'reference')
    if layer.kind == 'image':
      multiplications += runs * count
      additions += runs * (count + layer.inputs)  # and biases
    else:
      additions += runs * (rate * count + layer.outputs)
    if layer.kind != 'stride1':  # neurons: the last layer has none
      additions += runs * layer.outputs
      multiplications += runs * (1 - rate) * layer.outputs
  return {'additions': BATCH * additions, 'multiplications': BATCH * multiplications}


def implied(column):
  """The rate at which a column of the published table comes out."""
  at = lambda rate: reference(rate)[column]
  return (PUBLISHED[column] - at(0)) / (at(1) - at(0))


def main():
  fsvae, ann, even = nominal(0.3)
  print(f'whole kernels, rate 30 %: FSVAE {fsvae:.1f} uJ, ANN {ann:.1f} uJ; equal at {even:.0%}')
  for column, published in PUBLISHED.items():
    at_30, rate = reference(0.3)[column], implied(column)
    print(f'{column}: published {published:.1e}, at 30 % {at_30:.2e}; implied rate {rate:.1%}')


if __name__ == '__main__':
  main()

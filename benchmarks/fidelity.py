"""Learning curve beside the reference's; choice of statistics for the posterior's first pass.

    python -m benchmarks.fidelity --seeds 0 1 2 --out fidelity.json
    python -m benchmarks.fidelity --seeds 0 --statistics running per_step cumulative prefix
    python -m benchmarks.fidelity --seeds 0 1 2 --pytorch_init
    python -m benchmarks.fidelity model.dtype=bfloat16 data.path=FOLDER --seeds 0

MNIST, batch 64, learning rate 1e-3 constant, scheduled sampling 0.1, 300 steps. Prints the test
reconstruction error on the first 512 test images, and the share of the latent's entries in which
the first pass (which samples the history, without gradient) agrees with the differentiable pass of
the same picks.
"""

import contextlib
import functools
import pathlib
import statistics
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import fields
from benchmarks.tables import header, row
from fsvae_jax import assessment, data, inference, models, training_step
from fsvae_jax.configs import mnist
from fsvae_jax.exchange import reference_arrays, state_dicts
from fsvae_jax.models import fsvae, passes
from fsvae_jax.models.latents import bernoulli
from fsvae_jax.run import files, sharding, states
from fsvae_jax.spiking import filters, neurons, norm

SHOWN = 128  # test images, on which the agreement is taken
REFERENCE = {50: 0.2848, 100: 0.2310, 150: 0.2041, 200: 0.1983, 250: 0.1813, 300: 0.1757}


def per_step(run, x_BTD, draws):
  """First pass normalised by the batch statistics of each single step."""

  run = passes.Pass(run.networks, run.variables, train=True)

  def step(input_BI, residues):
    spikes_BTDK, residues = run('posterior', input_BI[:, None], residues=residues)
    return spikes_BTDK[:, 0], residues

  return bernoulli.sample(step, draws['picks'], x_BTD)


def prefix(run, x_BTD, draws):
  """First pass as in the reference: every prefix anew, by its own batch statistics; O(T^2)."""
  run, picks_BTD = passes.Pass(run.networks, run.variables, train=True), draws['picks']
  z_BTD = jnp.zeros_like(x_BTD)
  for t in range(x_BTD.shape[1]):
    given_BTI = jnp.concatenate((x_BTD, bernoulli.shift(z_BTD)), -1)[:, : t + 1]
    q_BTDK, _ = run('posterior', given_BTI)
    z_BTD = z_BTD.at[:, t].set(bernoulli.take(q_BTDK[:, t], picks_BTD[:, t]))
  return z_BTD


def cumulative(run, x_BTD, draws):
  """First pass normalised by the batch statistics of all steps so far; O(T)."""
  neuron, picks_BTD = run.networks['posterior'].neuron, draws['picks']
  layers = [run.variables['params']['posterior'][f'dense_{i}'] for i in range(3)]
  sums, squares, residues = [0.0] * 3, [0.0] * 3, [None] * 3
  z_BD, z_TBD = jnp.zeros_like(x_BTD[:, 0]), []
  for t in range(x_BTD.shape[1]):
    h = jnp.concatenate((x_BTD[:, t], z_BD), -1)
    for i, layer in enumerate(layers):
      y = h @ layer['synapses']['kernel'] + layer['synapses']['bias']
      sums[i], squares[i] = sums[i] + jnp.mean(y, 0), squares[i] + jnp.mean(y * y, 0)
      mean = sums[i] / (t + 1)
      var = squares[i] / (t + 1) - mean**2
      scale_bias = layer['norm']['scale'], layer['norm']['bias']
      gain, offset = norm.gain_offset(mean, var, *scale_bias, 2 * neuron.v_th)
      y = y[:, None]
      residue = neurons.rest(y) if residues[i] is None else residues[i]
      spikes, residues[i] = neurons.lif(neuron, y, gain, offset, residue)
      h = spikes[:, 0]
    z_BD = bernoulli.take(h.reshape(*z_BD.shape, -1), picks_BTD[:, t])
    z_TBD.append(z_BD)
  return jnp.stack(z_TBD, 1)


# `running`, the running statistics, is what the package does.
STATISTICS = {'running': None, 'per_step': per_step, 'cumulative': cumulative, 'prefix': prefix}


def detached(first_pass):
  """`first_pass` without gradient to its arguments."""

  def detached(run, x_BTD, draws):
    variables, x_BTD = jax.lax.stop_gradient((run.variables, x_BTD))
    return first_pass(passes.Pass(run.networks, variables), x_BTD, draws)

  return detached


def agreement(nets, variables, image_BHWC, key):
  """Share of equal z [T] between the first and the differentiable pass, in training mode."""
  draws = nets.latent.draw(key, len(image_BHWC))
  run = passes.Pass(nets.modules, variables, train=True)
  first_BTD = bernoulli.encode(run, run('encoder', image_BHWC), draws)
  full_BTD = fsvae.forward(nets, variables, image_BHWC, draws, train=True).z_BTD
  return jnp.mean(first_BTD == full_BTD, axis=(0, 2))


def run(config, images, test_images, seed, steps, every, pytorch_init, start):
  """Trains; returns {step: (test reconstruction, agreement, agreement at t = 0)}."""
  nets = fsvae.networks_of(config.model)
  model = models.make(config.model)
  optimizer = states.make_optimizer(config.train, steps)
  init_key, train_key, test_key = jax.random.split(jax.random.key(seed), 3)
  variables = model.init(init_key)
  if pytorch_init:
    pixels = variables['params']['decoder']['pixels']
    total = float(filters.readout_weights(config.model.timesteps).sum())
    variables['params']['decoder']['pixels'] = {name: total * x for name, x in pixels.items()}
  if start:
    state_dict = state_dicts.load(start)
    variables = reference_arrays.convert(state_dict, config.model.features, variables)
    variables = jax.tree.map(jnp.asarray, variables)
  state = states.create(variables, optimizer, 0.0)
  step_fn = jax.jit(
    functools.partial(training_step.train_step, model, optimizer, config, steps), donate_argnums=0
  )
  test_images = test_images[: config.test.images]
  agree = jax.jit(functools.partial(agreement, nets))
  mesh = jax.sharding.get_mesh()
  shown = data.normalize(sharding.spread(mesh, test_images[:SHOWN]))
  figures = {}

  def measure(step):
    share_T = np.asarray(agree(state.variables, shown, test_key))
    trained = inference.Trained(config, pathlib.Path(), step, model, state.variables, mesh)
    scalars = assessment.test_scalars(trained, test_images, test_key)
    mse = scalars['reconstruction'] if step else float('nan')
    figures[step] = mse, float(share_T.mean()), float(share_T[0])
    print(
      f'  step {step}: test reconstruction {mse:.4f}, agreement {share_T.mean():.3f}', flush=True
    )

  measure(0)
  for step, batch in enumerate(data.batches(images, config.train.batch_size, seed, 0, steps), 1):
    batch = jax.tree.map(functools.partial(sharding.global_batch, mesh), batch)
    state, _ = step_fn(state, batch, train_key)
    if step % every == 0:
      measure(step)
  return figures


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
  parser.add_argument('--statistics', nargs='+', choices=STATISTICS, default=['running'])
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--every', type=int, default=50)
  parser.add_argument('--pytorch_init', action='store_true', help="the reference's read-out init")
  parser.add_argument('--start', help="initial weights, in the reference's names (pytorch_init.py)")
  parser.add_argument('--out', type=fields.new_file)
  args = parser.parse_args()

  config = mnist.get_config()
  config.model.scheduled_sampling = (0.1, 0.1)
  config.train.batch_size = 64
  config.test.update(batch_size=256, images=512)
  config.update_from_flattened_dict(fields.parsed(args.fields))
  size = config.model.image_size, config.model.channels
  images, test_images = (data.load(config.data, *size, split) for split in ('train', 'test'))

  results = {}
  for name in args.statistics:
    other = STATISTICS[name]
    patch = (
      mock.patch.object(bernoulli, 'encode', detached(other)) if other else contextlib.nullcontext()
    )
    with jax.set_mesh(sharding.make_mesh()), patch:
      for seed in args.seeds:
        print(f'{name}, seed {seed}', flush=True)
        results[f'{name}/{seed}'] = run(
          config, images, test_images, seed, args.steps, args.every, args.pytorch_init, args.start
        )
  if args.out:
    files.write_text(args.out, files.to_json(results, 1) + '\n')

  steps = range(args.every, args.steps + 1, args.every)
  header('test reconstruction after', *(f'{s} steps' for s in steps))
  row('reference (one seed)', *(REFERENCE.get(s, '-') for s in steps))
  for name in args.statistics:
    runs = [results[f'{name}/{seed}'] for seed in args.seeds]
    for seed, figures in zip(args.seeds, runs, strict=True):
      row(f'{name}, seed {seed}', *(figures[s][0] for s in steps))
    row(f'{name}, mean', *(statistics.mean(figures[s][0] for figures in runs) for s in steps))
  header('agreement (at t = 0) after', *(f'{s} steps' for s in (0, *steps)))
  for key, figures in results.items():
    row(key, *(f'{figures[s][1]:.3f} ({figures[s][2]:.3f})' for s in (0, *steps)))


if __name__ == '__main__':
  main()

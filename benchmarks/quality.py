"""Minutes to quality: seconds of training, and images, until the test error is below each bound.

    python -m benchmarks.quality --out benchmarks/results/quality.json     # the table, hours
    python -m benchmarks.quality --only T=8 --errors .20 .1757             # minutes
    python -m benchmarks.quality --config mnist_best --only default

The error is of the first 1,000 test images, looked at every `--every` steps (of batch 64 with
mnist, as the reference's curve); tests and compilation are not in the seconds (compilation is
printed). The reference's curve is its authors'
code's, on the same data in the same batches, at its images/s on the machine of
docs/explanation/performance.md.
"""

import functools
import pathlib
import time

import jax

from benchmarks import fields
from benchmarks.tables import header, row
from fsvae_jax import assessment, configuration, data, inference, models, train, training_step
from fsvae_jax.run import files, sharding, states

ERRORS = (0.20, 0.1757, 0.12, 0.09, 0.07)
VARIANTS = {
  'default': {},
  'bfloat16': {'model.dtype': 'bfloat16'},
  'T=8': {'model.timesteps': 8},
  'T=4': {'model.timesteps': 4},
  'K=5': {'model.draws': 5},
}
REFERENCE = {0.20: 12_800, 0.1757: 19_200}  # images until its test error was there
REFERENCE_IMAGES_PER_S = 19.4


def reach(config, errors, every, most):
  """{error: (seconds, images)} of a training until the last error, or until `most` images."""
  size = config.model.image_size, config.model.channels
  images, test_images = (data.load(config.data, *size, split) for split in ('train', 'test'))
  test_images, batch_size = test_images[: config.test.images], config.train.batch_size
  total = config.train.steps or config.train.epochs * (len(images) // batch_size)
  model, mesh = models.make(config.model), jax.sharding.get_mesh()
  optimizer = states.make_optimizer(config.train, total)
  init_key, train_key, test_key = jax.random.split(jax.random.key(config.seed), 3)
  create = functools.partial(train.first_state, config, model, optimizer, start={})
  state = jax.jit(create, out_shardings=sharding.replicated(mesh))(init_key)
  step_fn = functools.partial(training_step.train_step, model, optimizer, config, total)
  like = train.batch_like(images, batch_size, mesh)
  begin = time.perf_counter()
  step_fn = train.compile_step(step_fn, state, like, train_key)
  print(f'  compiled in {time.perf_counter() - begin:.0f} s', flush=True)
  reached, seconds, begin = {}, 0.0, time.perf_counter()
  for step, batch in enumerate(data.batches(images, batch_size, config.seed, 0, total), 1):
    batch = jax.tree.map(functools.partial(sharding.global_batch, mesh), batch)
    state, _ = step_fn(state, batch, train_key)
    if step % every and step < total:
      continue
    jax.block_until_ready(state)
    seconds += time.perf_counter() - begin
    trained = inference.Trained(config, pathlib.Path(), step, model, state.evaluated(), mesh)
    error = assessment.test_scalars(trained, test_images, test_key)['reconstruction']
    print(f'  {step * batch_size} images, {seconds:.0f} s: error {error:.4f}', flush=True)
    reached |= {e: (seconds, step * batch_size) for e in errors if error <= e and e not in reached}
    if len(reached) == len(errors) or step * batch_size >= most:
      break
    begin = time.perf_counter()
  return reached


def read(path, config):
  """{variant: {error: (seconds, images)}} of a configuration, as measured before; {} if not."""
  results = files.read_json(path).get(config, {}) if path else {}
  return {name: {float(e): at for e, at in reached.items()} for name, reached in results.items()}


def table(results, errors):
  """Prints seconds and thousands of images; '-' where an error was not reached or asked for."""
  reference = {e: (n / REFERENCE_IMAGES_PER_S, n) for e, n in REFERENCE.items()}
  cell = lambda at: f'{at[0]:.0f} s, {at[1] / 1000:.1f}k' if at else '-'
  header('test error', *errors)
  for name, reached in {'reference': reference, **results}.items():
    row(name, *(cell(reached.get(e)) for e in errors))


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--config', default='mnist')
  parser.add_argument('--only', nargs='+', choices=VARIANTS, default=list(VARIANTS))
  parser.add_argument('--errors', type=float, nargs='+', default=ERRORS)
  parser.add_argument('--every', type=int, default=50, help='steps between tests')
  parser.add_argument('--most', type=int, default=600_000, help='images after which to give up')
  parser.add_argument('--out', type=fields.new_file, help='added to, a variant at a time')
  args = parser.parse_args()
  named = fields.named(args.config, args.fields)
  results = read(args.out, named)
  for name in args.only:
    config = configuration.load(args.config)
    if args.config == 'mnist':
      config.train.batch_size = 64  # as the reference's curve
    config.test.images = 1000
    config.update_from_flattened_dict(VARIANTS[name] | fields.parsed(args.fields))
    print(name, flush=True)
    with jax.set_mesh(sharding.make_mesh()):
      reached = reach(config, args.errors, args.every, args.most)
    results[name] = results.get(name, {}) | reached
    if args.out:
      with files.locked(args.out.with_name(f'.{args.out.name}.lock')):  # others may add, too
        results = read(args.out, named)
        results[name] = results.get(name, {}) | reached
        written = files.read_json(args.out) | {named: results}
        files.write_text(args.out, files.to_json(written, 1) + '\n')
  table(results, args.errors)


if __name__ == '__main__':
  main()

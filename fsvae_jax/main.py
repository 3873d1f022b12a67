"""The Fully Spiking Variational Autoencoder: trains it, judges it, draws images with it.

  python -m fsvae_jax.main                                 trains on handwritten digits, minutes
  python -m fsvae_jax.main --config=mnist --config.train.epochs=2
  python -m fsvae_jax.main --mode=generate --workdir=runs/mnist --count=100

--mode=  (with the configuration of the run in --workdir; of a new one, --config names it)
  train        trains, goes on where an earlier start stopped, then evaluates; the default
  eval         figures in eval.json, and a page to look at, report.html
  generate     new images, in WORKDIR/generate
  reconstruct  test images and their reconstructions, in WORKDIR/reconstruct
  export       the model for other programs, in WORKDIR/export

What to train
  --config=NAME           digits, mnist, fashion_mnist, cifar10, celeba, mnist_best,
                          mnist_long, fashion_mnist_best, fashion_mnist_long; or a file of your own
  --config=NAME:KIND      another model on the same data: ann, esvae, taid
  --config.FIELD=VALUE    any field of configs/default.py: --config.train.batch_size=50
  --workdir=DIR           where the run is kept; default runs/NAME or runs/NAME_KIND

What to do with a run
  --config.eval.compare=DIR,DIR    runs that stand beside this one in its report
  --step=N                a checkpoint, or best; default the newest
  --count=N               how many images to generate or reconstruct; default 64
  --seed=N                of their draws; default 0
  --label=N               class of the generated images, of a model with classes
  --format=NAME           what to export: safetensors, safetensors16, stablehlo, pytorch, nir
  --discretisation= --readout= --upsampling=    of NIR files: docs/how-to/nir.md

On several machines
  --coordinator=HOST:PORT --processes=N --process=I      or launch/

  -v=1                    says more: the parameters of every layer, what libraries log
  --helpfull              every flag and every field
"""

import contextlib
import pathlib
import platform
import sys
import traceback

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict

from fsvae_jax import configuration, evaluate, fields, samples, train
from fsvae_jax.exchange import export
from fsvae_jax.run import console, distributed, files, signals, workdir

DEFAULT = 'digits'
OF_A_RUN = ('eval', 'generate', 'reconstruct', 'export')  # modes that need one
MODES_OF = {  # flags that not every mode looks at
  'step': OF_A_RUN,
  'count': ('generate', 'reconstruct'),
  'seed': ('generate', 'reconstruct'),
  'label': ('generate',),
  'format': ('export',),
  **dict.fromkeys(export.NIR_OPTIONS, ('export',)),
}

flags.DEFINE_string('workdir', None, 'Where the run is kept; default runs/<config>.')
flags.DEFINE_enum(
  'mode',
  'train',
  ['train', *OF_A_RUN],
  'train: train, then evaluate; eval: metrics and report; generate, reconstruct: write images; '
  'export: write the model for other programs, as --format says. '
  "The configuration is the run's own, in its workdir; a training may give it anew by --config.",
)
flags.DEFINE_string('step', None, "A checkpoint's number, or best, if not the newest.")
flags.DEFINE_enum('format', 'safetensors', list(export.FORMATS), 'What to export.')
for name, help_text in export.NIR_OPTIONS.items():
  flags.DEFINE_string(name, None, help_text)
flags.DEFINE_integer('count', None, 'How many images to generate or reconstruct.', 1)
flags.DEFINE_integer('label', None, 'Class of the generated images, if the model has classes.', 0)
flags.DEFINE_integer('seed', 0, 'Of the draws of generated or reconstructed images.', 0, 2**31 - 1)
flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0 of several.')
flags.DEFINE_integer('processes', None, 'How many processes share this run.')
flags.DEFINE_integer('process', None, 'Which of them this is, from 0.')


def command() -> None:
  """The console script."""
  app.run(main, flags_parser=parse_flags)


def main(_: list[str]) -> int:
  """Trains, evaluates, exports or makes images, together with the other processes of the run."""
  args = flags.FLAGS
  if not args['verbosity'].present:  # absl would say as much as for -v=0
    logging.set_verbosity(logging.WARNING)
  try:
    with signals.raised(), distributed.joined(args.coordinator, args.processes, args.process):
      finished = run()
  except signals.Stopped as stopped:
    console.complain(f'stopped {stopped}; the same command goes on')
    finished = False
  except Exception as error:
    if logging.level_info() or not says_it_itself(error):
      raise
    sys.exit(f'{error}')
  if not finished:
    signals.ignored()
  console.settle()
  return 0 if finished else signals.STOPPED


def says_it_itself(error: Exception) -> bool:
  """Whether a `raise` of this package's is its origin, so that a traceback would only hide it."""
  origin = traceback.extract_tb(error.__traceback__)[-1]
  is_ours = pathlib.Path(__file__).parent in pathlib.Path(origin.filename).parents
  return is_ours and (origin.line or '').startswith('raise ')


def run() -> bool:
  """What `--mode` says; whether it came to its end."""
  args = flags.FLAGS
  config, folder = args.config, args.workdir
  keep_compiled(files.expand(config.data.cache_dir, 'data.cache_dir') / 'compiled')
  step = int(args.step) if (args.step or '').isdecimal() else args.step
  if args.mode == 'eval':
    evaluate.evaluate(config, folder, step)
  elif args.mode == 'train':
    evaluate.check(config)
    finished, _ = train.train_and_evaluate(config, folder)
    if not finished:
      return False
    evaluate.evaluate(config, folder)
  elif args.mode == 'export':
    options: dict = {name: args[name].value for name in export.NIR_OPTIONS if args[name].present}
    export.write(config, folder, args.format, step, **options)
  else:
    samples.write(config, folder, args.mode, args.count, step, args.seed, args.label)
  return True


def keep_compiled(folder: pathlib.Path) -> None:
  """A second start need not compile again; where nothing can be written, it does."""
  if not jax.config.values['jax_compilation_cache_dir']:
    jax.config.update('jax_compilation_cache_dir', str(folder / platform.node()))


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, for the configuration that `--mode` needs; `--help` is this file's text."""
  if {'--help', '-help', '-h', '-?'} & set(argv[1:]):
    with contextlib.suppress(BrokenPipeError):  # `--help | head`
      print(__doc__, flush=True)
    console.settle()
    sys.exit()
  if files_of_flags := [word for word in argv[1:] if word.lstrip('-').startswith('flagfile')]:
    sys.exit(f'{files_of_flags[0]} is not read, as the run is looked for first: give its flags')
  given, rest = configuration.ahead(argv[1:], 'config', 'workdir', 'mode')
  of_run = given.mode in OF_A_RUN
  for name, value in vars(given).items():
    if value == '':
      sys.exit(f'--{name} is empty: give a value, or leave it out')
  goes_on = False
  try:
    folder = given.workdir or f'runs/{configuration.run_name(given.config or DEFAULT)}'
    folder = workdir.check(folder)
    is_run = (folder / 'config.json').exists()
    goes_on = bool(given.workdir and is_run and not given.config and not of_run)
    config = (
      recorded(folder, given.config)
      if of_run or goes_on
      else configuration.load(given.config or DEFAULT)
    )
  except (ValueError, FileNotFoundError) as error:
    sys.exit(f'{error}' + '; or give its --config' * goes_on)
  before = fields.flatten(config.to_dict())
  mode = [f'--mode={given.mode}'] if given.mode else []
  overrides = configuration.parse_flags([argv[0], f'--workdir={folder}', *mode, *rest], config)
  refuse_flags_of_other_modes(flags.FLAGS.mode)
  try:
    fields.check_all(flags.FLAGS.config)
  except ValueError as error:
    sys.exit(f'{error}')
  if of_run:
    refuse_contradictions(folder, before, overrides)
  else:
    refuse_idle(flags.FLAGS.config, overrides)
  return argv


def refuse_flags_of_other_modes(mode: str) -> None:
  """Ends the program if a flag was given that `mode` would not look at."""
  for name, modes in MODES_OF.items():
    flag = flags.FLAGS[name]
    if flag.present and mode not in modes:
      own = '; of a run it is --config.seed' if name == 'seed' else ''
      others = ', '.join(f'--mode={other}' for other in modes)
      sys.exit(f'--{name}={flag.value} is of {others}, not of --mode={mode}{own}')


def recorded(folder: pathlib.Path, text: str | None) -> ConfigDict:
  """The configuration of the run in `folder`, with today's defaults for fields that it lacks.

  Raises:
    ValueError, FileNotFoundError: if there is none, or if `text`, what `--config` says, is of
      another model or data set.
  """
  config = configuration.of_run(folder)
  if config is None:
    raise FileNotFoundError(
      f'{folder} has no config.json, so no run: train there first, or name another --workdir'
    )
  if text:
    said = configuration.load(text)
    for section in ('model', 'data'):
      ours, theirs = said[section].name, config[section].name
      if ours != theirs:
        raise ValueError(
          f'--config={text} says {section}.name {ours}; the run in {folder} has {theirs}: leave '
          '--config out, or name another --workdir'
        )
  return config


def refuse_contradictions(folder: pathlib.Path, before: dict, overrides: dict) -> None:
  """Ends the program if the command line says otherwise than the run's config.json."""
  for name, value in overrides.items():
    section = name.split('.')[0]
    free = section in ('data', 'eval', 'test') and fields.may_change(name)
    if not free and value != before[name]:
      sys.exit(
        f'{name} is {value!r} on the command line, but the run in {folder} has {before[name]!r}; '
        'only eval.*, test.* and where the data lie may be given'
      )


def refuse_idle(config: ConfigDict, overrides: dict) -> None:
  """Ends the program if a field was given that the others leave without effect."""
  values = fields.flatten(config.to_dict())
  for name in overrides:
    if fields.idle(name, values):
      other, _, needed = fields.NEEDS[name]
      sys.exit(
        f'{name}={values[name]} would have no effect, as {other} is {values[other]}; give '
        f'--config.{other}={needed} as well'
      )


if __name__ == '__main__':
  command()

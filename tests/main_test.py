"""The command line: which configuration it gives, and what it refuses before writing anything."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from fsvae_jax import configuration, main
from fsvae_jax.configs import digits, mnist

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def parse(monkeypatch, tmp_path):
  """Function from arguments to the configuration, or to what `then` gives; absl's flags are as
  before after each call."""
  monkeypatch.chdir(tmp_path)
  configuration = lambda: flags.FLAGS['config'].value.copy_and_resolve_references()

  def parse(*arguments, then=configuration):
    try:
      main.parse_flags(['main', *arguments])
      return then()
    finally:
      for name in [n for n in flags.FLAGS if n == 'config' or n.startswith('config.')]:
        delattr(flags.FLAGS, name)
      flags.FLAGS.unparse_flags()

  return parse


@pytest.fixture
def run(tmp_path):
  """A workdir with a configuration of its own."""
  config = digits.get_config()
  config.data.path, config.model.timesteps, config.train.steps = '/data/mine', 7, 900
  folder = tmp_path / 'runs' / 'digits'
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps(config.to_dict()))
  return folder


def test_fields_are_set_and_the_default_is_digits(parse):
  config = parse('--config.train.steps=5', '--config.model.features=(4, 8)', '--config.seed', '3')
  assert config.data.name == 'digits' and config.train.steps == 5 and config.seed == 3
  assert config.model.features == (4, 8)
  assert parse('--config=mnist').data.name == 'mnist'


def test_epochs_count_where_steps_do_not(parse):
  assert parse('--config=mnist', '--config.train.epochs=3').train.epochs == 3
  both = parse('--config.train.epochs=3', '--config.train.steps=0')
  assert both.train.epochs == 3 and both.train.steps == 0


def test_of_a_field_given_twice_the_last_counts(parse):
  twice = '--config.model.features=(4,8)', '--config.seed=1', '--config.model.features', '(16,32)'
  below_zero = '--config.model.distance_weight', '-1', '--config.model.distance_weight', '-.5'
  config = parse(*twice, '--config.seed=2', *below_zero)
  assert config.model.features == (16, 32) and config.seed == 2
  assert config.model.distance_weight == -0.5


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['configs/mnist.py'], 'not understood: configs/mnist.py'),
    (['config.train.steps=5'], 'did you mean --config.train.steps=5'),
    (['config=configs/mnist.py'], 'did you mean --config=configs/mnist.py'),
    (['--mode=train', 'eval'], 'not understood: eval'),
    (['--config=mnist', '--', '--config.seed=3'], 'not understood: --config.seed=3'),
    (['--config.model.timestep=3'], '(?s)timestep.*known: .*model.tau, model.timesteps'),
    (['--workdir=gs://bucket/run'], 'gs://bucket/run: only folders'),
    (['--workdir=runs/lr[1e-3]'], 'could not be read again'),
    (['--mode=eval', '--workdir=nowhere'], 'nowhere has no config.json, so no run: train there'),
    (['--mode=generate'], 'runs/digits has no config.json'),
    (['--seed=1'], '--seed=1 is of --mode=generate, .* not of --mode=train; .* --config.seed'),
    (['--step=5', '--config=mnist'], '--step=5 is of --mode=eval, .*, not of --mode=train'),
    (['--count=5'], '--count=5 is of --mode=generate, --mode=reconstruct, not of --mode=train'),
    (['--workdir='], '--workdir is empty: give a value, or leave it out'),
    (['--workdir=runs/a', '--config='], '--config is empty'),
    (['--config.eval={"seeds": 1}'], 'eval is a section: give its fields, --config.eval.FIELD='),
    (['--config.model.features[0]=16'], 'unknown field'),
    (['--config.model.features.0=16'], 'unknown field'),
    (['--config.seed.x=1'], 'unknown field'),
    (['--mode='], '--mode is empty: give a value'),
    (['--config.model.draws=0'], 'model.draws is 0; it must be an integer, at least 1'),
    (['--flagfile=flags.txt'], '--flagfile=flags.txt is not read'),
    (['--config.train.epochs=3'], 'train.epochs=3 would have no effect, as train.steps is 500; '),
    (['--config=mnist', '--config.train.energy_target=9'], 'give --config.train.energy_weight='),
    (['--config=mnist', '--config.model.components=9'], 'give --config.model.latent=mixture'),
    (['--config=mnist:esvae', '--config.model.draws=5'], 'draws=5 would have no effect, as mod'),
    (['--upsampling=dilated'], '--upsampling=dilated is of --mode=export, not of --mode=train'),
  ],
)
def test_what_cannot_be_meant_is_refused(parse, tmp_path, arguments, message):
  with pytest.raises(SystemExit, match=message):
    parse(*arguments)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('argument', ['--config.train.steps=many', '--mode=evaluate', '--cuont=3'])
def test_a_flag_that_is_wrong_ends_the_program_and_is_named(parse, argument, capsys):
  with pytest.raises(SystemExit) as ended:
    parse(argument)
  told = f'{ended.value.code} {capsys.readouterr().err}'
  assert argument.strip('-').split('=')[0] in told


def test_help_may_be_read_in_part():
  read, write = os.pipe()
  os.close(read)
  command = [sys.executable, '-m', 'fsvae_jax.main', '--help']
  process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT)
  os.close(write)
  assert (process.returncode, process.stderr) == (0, b'')


@pytest.mark.parametrize('flag', ['--help', '-h'])
def test_help_fits_a_screen_and_names_every_mode_and_configuration(parse, flag, capsys):
  with pytest.raises(SystemExit) as ended:
    parse('--config=mnst', flag)
  text = capsys.readouterr().out
  assert not ended.value.code and 24 <= len(text.splitlines()) <= 40
  assert max(map(len, text.splitlines())) <= 100
  modes = flags.FLAGS['mode'].parser.enum_values
  names = {part for name in configuration.names() for part in name.split(':')}
  own = [name for name in flags.FLAGS.flags_by_module_dict()[main.__name__] if name.name != 'mode']
  for name in (*modes, *names, *(f'--{flag.name}=' for flag in own)):
    assert name in text, name


def test_a_mode_that_there_is_not_is_answered_with_those_that_there_are(parse, capsys):
  with pytest.raises(SystemExit):
    parse('--mode=evaluate')
  told = capsys.readouterr().err
  assert all(mode in told for mode in flags.FLAGS['mode'].parser.enum_values)


@pytest.mark.parametrize('mode', ['eval', 'generate', 'reconstruct'])
def test_a_run_knows_its_configuration(parse, run, mode):
  for arguments in ([], [f'--workdir={run}'], ['--config=digits'], ['--config.model.timesteps=7']):
    config = parse(f'--mode={mode}', *arguments)
    assert (config.data.path, config.model.timesteps, config.train.steps) == ('/data/mine', 7, 900)
    assert config.model.features == (32, 64, 128)


def test_a_training_goes_on_without_being_named(parse, run):
  """As it began, and not as the default configuration."""
  config = parse(f'--workdir={run}', '--config.train.steps=950')
  assert (config.data.path, config.model.timesteps, config.train.steps) == ('/data/mine', 7, 950)
  assert parse(f'--workdir={run}/other').model.timesteps != 7  # a new one
  (run / 'config.json').write_text('{"mod')
  with pytest.raises(SystemExit, match='config.json is damaged .*; or give its --config'):
    parse(f'--workdir={run}')
  assert parse(f'--workdir={run}', '--config=digits').model.timesteps != 7


@pytest.mark.parametrize('flag', [[], ['-v=1']])
def test_what_cannot_be_is_told_in_a_line(parse, tmp_path, monkeypatch, flag):
  monkeypatch.setattr(main, 'keep_compiled', lambda folder: None)
  arguments = ['--config.data.path=nowhere', f'--workdir={tmp_path}/run', *flag]
  of_ours = (ValueError, FileNotFoundError) if flag else SystemExit
  with pytest.raises(of_ours, match='data.path .*nowhere is neither'):
    parse(*arguments, then=lambda: main.main([]))


@pytest.mark.parametrize(
  'broken, error',
  [(lambda *_: main.fields.may_change(5), TypeError), (lambda *_: json.loads('{'), ValueError)],
  ids=['a line of ours that is no raise', 'a raise that is not ours'],
)
def test_what_went_wrong_is_told_with_its_traceback(parse, tmp_path, monkeypatch, broken, error):
  monkeypatch.setattr(main, 'keep_compiled', lambda folder: None)
  monkeypatch.setattr(main.train, 'train_and_evaluate', broken)
  with pytest.raises(error):
    parse(f'--workdir={tmp_path}/run', then=lambda: main.main([]))


@pytest.mark.parametrize(
  'field, value',
  [
    ('model.timesteps', 8),
    ('model.name', "'ann_vae'"),
    ('data.name', 'mnist'),
    ('data.crop', 8),
    ('data.flip', True),
    ('data.validation', 10),
    ('train.ema_decay', 0.9),
    ('seed', 1),
  ],
)
def test_what_contradicts_a_run_is_refused_by_name(parse, run, field, value):
  with pytest.raises(SystemExit, match=f'{field} is .* on the command line, but the run in'):
    parse('--mode=eval', f'--config.{field}={value}')


@pytest.mark.parametrize('flag', ['--seed=4294967296', '--seed=-1', '--count=0', '--label=-1'])
def test_a_number_that_cannot_be_is_refused_by_the_flags_name(parse, run, flag, capsys):
  with pytest.raises(SystemExit):
    parse('--mode=generate', f'--workdir={run}', flag)
  assert f'flag {flag}: {flag.split("=")[1]} is not' in capsys.readouterr().err


CALLS = {  # what is called, without configuration and folder
  '--mode=eval --step=40': ('evaluate', 40),
  '--mode=eval': ('evaluate', None),
  '--mode=generate --count=5 --step=best --seed=2 --label=3': ('generate', 5, 'best', 2, 3),
  '--mode=reconstruct --seed=4': ('reconstruct', None, None, 4, None),
  '--mode=export --format=nir --step=7 --readout=li': ('nir', 7, {'readout': 'li'}),
}


@pytest.mark.parametrize('arguments', CALLS)
def test_every_flag_reaches_what_the_mode_does(parse, run, monkeypatch, arguments):
  calls = []
  keep = lambda *name: lambda config, folder, *a, **k: calls.append((*name, *a) + (k,) * bool(k))
  monkeypatch.setattr(main.samples, 'write', keep())
  monkeypatch.setattr(main.export, 'write', keep())
  monkeypatch.setattr(main.evaluate, 'evaluate', keep('evaluate'))
  monkeypatch.setattr(main, 'keep_compiled', lambda folder: None)
  assert parse(*arguments.split(), f'--workdir={run}', then=main.run) and calls == [
    CALLS[arguments]
  ]


def test_another_data_sets_configuration_is_refused(parse, run):
  with pytest.raises(
    SystemExit, match='--config=mnist says data.name mnist; the run .* has digits'
  ):
    parse('--mode=eval', '--config=mnist', f'--workdir={run}')


def test_places_tests_and_evaluation_may_be_others(parse, run):
  config = parse('--mode=eval', '--config.data.path=/data/moved', '--config.eval.seeds=1')
  assert config.data.path == '/data/moved' and config.eval.seeds == 1


def test_a_run_of_an_earlier_version_gets_todays_defaults_for_what_it_lacks(parse, run):
  record = json.loads((run / 'config.json').read_text())
  del record['eval']['probe'], record['data']['decoded_gb']
  (run / 'config.json').write_text(json.dumps(record))
  config = parse('--mode=eval')
  assert config.eval.probe == 1000 and config.data.decoded_gb == 32.0


@pytest.mark.parametrize('section', ['model', 'data'])
def test_a_run_whose_configuration_lost_a_section_is_damaged(parse, run, section):
  record = json.loads((run / 'config.json').read_text())
  del record[section]
  (run / 'config.json').write_text(json.dumps(record))
  with pytest.raises(SystemExit, match=f'config.json is damaged .it has no {section}'):
    parse('--mode=eval')


def test_an_ann_knows_its_fields(parse, tmp_path):
  folder = tmp_path / 'ann'
  folder.mkdir()
  (folder / 'config.json').write_text(json.dumps(mnist.get_config('ann').to_dict()))
  config = parse('--mode=eval', f'--workdir={folder}')
  assert config.model.name == 'ann_vae' and 'timesteps' not in config.model


def test_home_is_expanded(parse, tmp_path, monkeypatch, run):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert parse('--mode=eval', '--workdir=~/runs/digits').model.timesteps == 7


def test_a_wrong_value_of_a_file_is_named_before_anything_is_made_of_it(parse, tmp_path):
  file = tmp_path / 'own.py'
  lines = 'config = mnist.get_config()', 'config.data.cache_dir = None', 'return config'
  body = '\n  '.join(('def get_config():', *lines))
  file.write_text(f'from fsvae_jax.configs import mnist\n\n\n{body}\n')
  with pytest.raises(SystemExit, match='data.cache_dir is None; it must be a folder'):
    parse(f'--config={file}')


@pytest.mark.parametrize(
  'field', ['--config.eval.compare=nowhere', '--config.eval.fad_reference=nowhere']
)
def test_what_cannot_be_evaluated_is_refused_before_it_is_trained(
  parse, tmp_path, monkeypatch, field
):
  monkeypatch.setattr(main, 'keep_compiled', lambda folder: None)
  monkeypatch.setattr(main.train, 'train_and_evaluate', lambda *_: pytest.fail('it was trained'))
  with pytest.raises((ValueError, FileNotFoundError), match='nowhere'):
    parse('--config=digits', f'--workdir={tmp_path}/run', field, then=main.run)

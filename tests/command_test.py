"""The program as people start it: on any number of devices, told to stop, with nobody listening."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from fsvae_jax.run import files, writer
from tests import smoke

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
SMALL = """--config.model.image_size=8 --config.model.features=(4,) --config.model.timesteps=3
--config.model.latent_dim=6 --config.model.draws=3 --config.train.steps=4
--config.train.test_every=0 --config.train.checkpoint_every=2 --config.test.images=16
--config.test.batch_size=16 --config.test.samples=16 --config.eval.images=16
--config.eval.probe=16 --config.eval.seeds=1 --config.eval.fad_epochs=1""".split()
BRIEFLY = ['--config.eval.metrics=()']
QUICK = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1', 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


def start(folder, *arguments, devices=1, stdout=subprocess.PIPE, **environment):
  """The program as a process; what it caches is in `folder`."""
  cache = f'--config.data.cache_dir={folder}/cache'
  return subprocess.Popen(
    [sys.executable, '-u', '-m', 'fsvae_jax.main', *arguments, cache],
    cwd=ROOT,
    env=os.environ | QUICK | {'XLA_FLAGS': smoke.xla_flags(devices)} | environment,
    stdout=stdout,
    stderr=subprocess.STDOUT if stdout == subprocess.PIPE else subprocess.PIPE,
    text=True,
    errors='replace',
  )


def free_port():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


def told(process, line, number):
  """Sends a signal at the first line that holds `line`; the exit code, and what was printed."""
  printed = ''
  for text in process.stdout:
    printed += text
    if line in text:
      process.send_signal(number)
      break
  rest, _ = process.communicate(timeout=300)
  return process.returncode, printed + rest


@pytest.fixture(scope='module')
def run(folder):
  """The workdir of digits, trained and evaluated on eight devices."""
  process = start(folder, '--config=configs/digits.py', *SMALL, f'--workdir={folder}/8', devices=8)
  printed, _ = process.communicate(timeout=600)
  assert process.returncode == 0, printed
  return folder / '8'


def figures(run):
  return json.loads((run / 'eval.json').read_text())['figures']


def assert_as(run, other):
  """That a run has a report, and learned and reconstructs as another."""
  ours, theirs = (writer.read_metrics(path)[-1] for path in (run, other))
  for name in ('test/reconstruction', 'train/loss', 'train/reconstruction', 'train/rate/z'):
    assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
  assert (run / 'report.html').exists()


@pytest.mark.parametrize('devices', [2, 4])
def test_any_number_of_devices_trains_alike(folder, run, devices):
  arguments = '--config=configs/digits.py', *SMALL, *BRIEFLY, f'--workdir={folder}/{devices}'
  printed, _ = (process := start(folder, *arguments, devices=devices)).communicate(timeout=600)
  assert process.returncode == 0 and 'devices share' not in printed, printed
  assert_as(folder / str(devices), run)


def test_a_reader_that_goes_away_does_not_end_a_training(folder, run):
  """On one device, too, as the test above has it."""
  read, write = os.pipe()
  arguments = '--config=configs/digits.py', *SMALL, *BRIEFLY, f'--workdir={folder}/1'
  process = start(folder, *arguments, stdout=write)
  os.close(write)
  os.read(read, 10)
  os.close(read)
  assert_silent_success(process)
  assert (folder / '1' / 'checkpoints' / '4').is_dir()
  assert_as(folder / '1', run)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='a device of Linux')
def test_neither_a_full_disk_nor_a_missing_locale_ends_an_evaluation(folder, run):
  locale = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0', 'PYTHONIOENCODING': ''}
  own = pathlib.Path(shutil.copytree(run, folder / 'full'))  # its eval.json is written anew
  (own / 'report.html').unlink()
  with open('/dev/full', 'w') as full:
    evaluation = '--mode=eval', f'--workdir={own}', "--config.eval.metrics=('spikes',)"
    assert_silent_success(start(folder, *evaluation, stdout=full, **locale))
  assert 'µJ' in (own / 'report.html').read_text('utf-8')


def assert_silent_success(process):
  _, complained = process.communicate(timeout=300)
  assert process.returncode == 0, complained
  assert 'Traceback' not in complained and 'Exception ignored' not in complained


def test_two_processes_evaluate_as_one(folder, run):
  arguments = '--mode=eval', f'--workdir={run}', '--config.eval.fad_epochs=2'
  together = f'--coordinator=localhost:{free_port()}', '--processes=2'
  group = [start(folder, *arguments, *together, f'--process={i}', devices=2) for i in (0, 1)]
  printed = [process.communicate(timeout=600)[0] for process in group]
  assert [process.returncode for process in group] == [0, 0], printed
  assert printed[1].count('reconstruction_mse') == 0  # process 0 says it
  of_two = figures(run)
  assert of_two['fad']['mean'] > 0 and '2 epochs' in of_two['fad']['protocol']
  printed, _ = (process := start(folder, *arguments)).communicate(timeout=600)
  assert process.returncode == 0, printed
  of_one = figures(run)
  assert len(of_two) > 20 and of_one.keys() == of_two.keys()
  for name, figure in of_two.items():
    assert figure['mean'] == pytest.approx(of_one[name]['mean'], rel=1e-3, abs=1e-5), name


def test_a_signal_during_training_ends_with_75_and_nothing_is_evaluated(folder):
  cut = folder / 'cut'
  arguments = '--config=digits', *SMALL, '--config.train.steps=100000', f'--workdir={cut}'
  code, printed = told(start(folder, *arguments), 'step 50/', signal.SIGTERM)
  assert code == 75 and 'the same command goes on' in printed and 'Traceback' not in printed
  assert list((cut / 'checkpoints').iterdir()) and not (cut / 'eval.json').exists()


def test_a_signal_during_evaluation_ends_as_one_during_training(folder, run):
  arguments = '--mode=eval', f'--workdir={run}', "--config.eval.metrics=('fad',)"
  process = start(folder, *arguments, '--config.eval.fad_epochs=3000')  # minutes of training
  code, printed = told(process, 'training the autoencoder', signal.SIGTERM)
  assert code == 75 and 'the same command goes on' in printed and 'Traceback' not in printed


def test_a_signal_that_is_passed_on_twice_ends_as_one(folder):
  with files.locked(folder / 'cache' / 'digits.lock'):  # what images are decoded under
    arguments = '--config=digits', *SMALL, f'--workdir={folder}/twice'
    process = start(folder, *arguments)
    for line in process.stdout:
      if 'waiting for another process' in line:
        break
    for _ in range(2):
      process.send_signal(signal.SIGTERM)
      time.sleep(0.1)
    printed, _ = process.communicate(timeout=60)
  assert process.returncode == 75 and 'the same command goes on' in printed


def test_two_processes_are_stopped_wherever_they_are(folder):
  group = f'--coordinator=localhost:{free_port()}', '--processes=2', f'--workdir={folder}/stopped'
  arguments = '--config=digits', *SMALL, *group
  with files.locked(folder / 'cache' / 'digits.lock'):
    both = [start(folder, *arguments, f'--process={i}') for i in range(2)]
    for line in both[0].stdout:
      if 'waiting for another process' in line:
        break
    for process in both:
      process.send_signal(signal.SIGTERM)
    printed = [process.communicate(timeout=60)[0] for process in both]
  assert [process.returncode for process in both] == [75, 75], printed


def test_a_process_that_waits_for_the_others_hears_a_signal(folder):
  port = free_port()
  group = f'--coordinator=localhost:{port}', '--processes=2', '--process=0'
  process = start(folder, '--config=digits', *SMALL, *group, f'--workdir={folder}/waiting')
  deadline = time.monotonic() + 120
  while socket.socket().connect_ex(('localhost', port)):
    assert time.monotonic() < deadline
    time.sleep(0.1)
  process.send_signal(signal.SIGTERM)
  printed, _ = process.communicate(timeout=30)
  assert process.returncode == 75 and 'the same command goes on' in printed

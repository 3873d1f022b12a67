"""Several processes of one run: they train as one, survive losses, and say what is wrong."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fsvae_jax.run import distributed, writer
from tests import smoke

FIELDS = {'train.steps': 20, 'train.log_every': 1, 'train.test_every': 0, 'train.keep': 20}


def outputs(processes, codes=(0, 0)):
  """What they print, once all have ended with these exit codes."""
  printed = [process.communicate(timeout=300)[0] for process in processes]
  assert [process.returncode for process in processes] == list(codes[: len(processes)]), printed
  return printed


def wait_for_checkpoint(workdir, step, seconds=200):
  deadline = time.monotonic() + seconds
  while not (workdir / 'checkpoints' / str(step)).is_dir():
    assert time.monotonic() < deadline
    time.sleep(0.05)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def alone(folder):
  """The workdir of one process with one device, all steps."""
  outputs([smoke.start(folder / 'alone', folder / 'cache', FIELDS)])
  return folder / 'alone'


def assert_same_run(workdir, other):
  """Losses of all steps within float32 rounding, variables close, one model's samples the same."""
  for got, want in zip(writer.read_metrics(workdir), writer.read_metrics(other), strict=True):
    assert got['step'] == want['step']
    for name in ('train/loss', 'train/reconstruction', 'train/distance', 'train/rate/z'):
      np.testing.assert_allclose(got[name], want[name], rtol=2e-6, err_msg=f'{name} {got["step"]}')
  got, want = (np.load(folder / 'end.npz') for folder in (workdir, other))
  for name in want.files:
    np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_survive_losses_and_end_as_one_that_had_none(folder, alone):
  """One is killed, a checkpoint is cut short, one is told to stop; one process alone goes on."""
  workdir = folder / 'two'
  start = lambda: smoke.start_group([workdir] * 2, folder / 'cache', FIELDS, alone)
  first, second = start()
  wait_for_checkpoint(workdir, 6)
  second.kill()
  killed = time.monotonic()
  printed, _ = outputs([first, second], (1, -signal.SIGKILL))
  assert time.monotonic() - killed < distributed.SILENT_SECONDS + 10
  assert 'Checkpoints stay: start all processes again' in printed
  newest = max(int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit())
  for path in (workdir / 'checkpoints' / str(newest)).rglob('*'):
    if path.is_file():
      os.truncate(path, path.stat().st_size // 2)
  first, second = start()
  wait_for_checkpoint(workdir, newest + 2)
  second.send_signal(signal.SIGTERM)  # the first learns of it
  asked = time.monotonic()
  printed, _ = outputs([first, second])
  assert time.monotonic() - asked < 10
  assert f'step {newest - 2} of 20' in printed and 'stopped at step' in printed
  assert (workdir / 'checkpoints' / f'{newest}.unreadable').is_dir()
  outputs([smoke.start(workdir, folder / 'cache', FIELDS, alone)])
  assert_same_run(workdir, alone)
  outputs(start())  # nothing left to train: two processes generate
  assert_same_run(workdir, alone)


@pytest.mark.slow
def test_processes_that_see_different_folders_are_told(folder):
  group = smoke.start_group([folder / 'mine', folder / 'yours'], folder / 'cache', FIELDS)
  printed = outputs(group, (1, 1))
  assert 'yours is not the folder that process 0 sees' in printed[1]
  assert 'process 0 of 2 ends because' in printed[0]  # of the other's failure
  assert not (folder / 'yours').exists()


@pytest.fixture
def initialized(monkeypatch):
  """What `join` gives to jax.distributed.initialize, which does nothing here."""
  known = [name for names in distributed.LAUNCHERS.values() for name in names]
  for name in ('JAX_COORDINATOR_ADDRESS', *known):
    monkeypatch.delenv(name, raising=False)
  calls = []
  record = lambda *args, local_device_ids=None: calls.append((*args, local_device_ids))
  monkeypatch.setattr(jax.distributed, 'initialize', record)
  return calls


SLURM = 'SLURM_NTASKS=8 SLURM_PROCID=5 SLURM_LOCALID=1'
OPEN_MPI = 'OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1'
JAX = 'JAX_COORDINATOR_ADDRESS=host:1 JAX_NUM_PROCESSES=4 JAX_PROCESS_ID=0'


@pytest.mark.parametrize(
  'environment, given, want',
  [
    ('', (), []),
    ('', ('host:1', 4, 3), [('host:1', 4, 3, None)]),
    (JAX, (), [('host:1', 4, 0, None)]),
    (SLURM, (), [(None,)]),  # JAX's own detection finds the rest
    (SLURM, ('host:1',), [('host:1', 8, 5, 1)]),
    ('SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0', (), []),
    ('SLURM_PROCID=0 SLURM_LOCALID=0', (), []),  # a batch script's own process
    (SLURM, (None, 1), []),  # eight runs of one process each
    ('JOB_COMPLETION_INDEX=2', (None, 1), []),
    (OPEN_MPI, ('host:1',), [('host:1', 2, 1, 1)]),
    ('JOB_COMPLETION_INDEX=2', ('host:1', 4), [('host:1', 4, 2, None)]),
    ('JOB_COMPLETION_INDEX=2', (), [(None,)]),
  ],
)
def test_processes_are_found_where_launchers_tell_of_them(
  initialized, monkeypatch, environment, given, want
):
  for assignment in environment.split():
    monkeypatch.setenv(*assignment.split('=', 1))
  distributed.join(*given)
  assert initialized == want


@pytest.mark.parametrize(
  'given, message',
  [
    ((None, 2, 0), 'processes 2, process 0: give --coordinator=HOST:PORT'),
    ((None, None, 1), 'process 1: give --coordinator=HOST:PORT'),
    (('host:1', None, 0), 'processes None, process 0: give --processes and --process'),
    (('host:1', 2, 2), 'processes 2, process 2: .*numbered from 0'),
    (('host', 2, 0), 'coordinator host, .*HOST:PORT'),
  ],
)
def test_what_is_missing_or_does_not_fit_is_said(initialized, given, message):
  with pytest.raises(ValueError, match=message):
    distributed.join(*given)
  assert not initialized


def test_a_launchers_rank_that_is_no_number_is_named(initialized, monkeypatch):
  monkeypatch.setenv('JAX_PROCESS_ID', 'x')
  with pytest.raises(ValueError, match="JAX_PROCESS_ID is 'x', which is no whole number"):
    distributed.join()


@pytest.mark.parametrize('platform', ['cuda', 'no_such'])
def test_a_platform_that_is_not_there_is_named_with_the_ways_out(platform):
  code = 'from fsvae_jax.run import distributed\nwith distributed.joined(): print("joined")'
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=os.environ | {'JAX_PLATFORMS': platform},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1 and 'joined' not in done.stdout
  words = done.stderr.splitlines()[-1]
  assert f"JAX_PLATFORMS is '{platform}'" in words and 'cpu' in words and 'fsvae_jax[cuda]' in words


@pytest.mark.parametrize('process', [0, 1])
def test_the_process_that_keeps_the_signs_lets_the_others_read_before_it_ends(monkeypatch, process):
  done = []
  monkeypatch.setattr(distributed.jax, 'process_index', lambda: process)
  monkeypatch.setattr(distributed.time, 'sleep', lambda seconds: done.append(seconds))
  monkeypatch.setattr(distributed.os, '_exit', done.append)
  distributed._Signs(client=None).end('it was stopped', 75)
  assert done == ([distributed.BEAT_SECONDS + 1] * (process == 0) + [75])


def test_the_last_sign_stays():
  store = {}
  signs = distributed._Signs(SimpleNamespace(key_value_set=lambda k, v, **_: store.update({k: v})))
  for sign in ('0', '1', 'stopped by SIGTERM', '2'):
    signs.give(sign)
  assert store == {'signs/0': 'stopped by SIGTERM'}


def test_an_error_of_devices_that_nobody_named_stays_itself(monkeypatch):
  def devices():
    raise RuntimeError('the TPU is in use by another process')

  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  monkeypatch.setattr(jax, 'devices', devices)
  with pytest.raises(RuntimeError, match='^the TPU is in use by another process$'):
    with distributed.joined():
      pass


def test_a_launcher_whose_first_process_jax_does_not_find_says_what_to_give(
  initialized, monkeypatch
):
  def initialize(*_, **__):
    raise ValueError('coordinator_address should be defined')

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  for assignment in OPEN_MPI.split():
    monkeypatch.setenv(*assignment.split('=', 1))
  with pytest.raises(
    ValueError, match='by Open MPI, but .*: give --coordinator=HOST:PORT and --pr'
  ):
    distributed.join()

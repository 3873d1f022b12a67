"""Runs that are killed, on full disks, at any moment. `pytest tests/chaos_test.py --kills=20`."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import soak
from fsvae_jax import data, train
from tests import smoke

pytestmark = [pytest.mark.usefixtures('quick_compilation'), pytest.mark.slow]


def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(tmp_path, request):
  kills = request.config.getoption('--kills')
  fields = {'train.steps': 10 + 6 * kills, 'train.checkpoint_every': 1, 'train.test_every': 0}
  start = lambda name: smoke.start(tmp_path / name, tmp_path / 'cache', fields)
  assert start('whole').wait() == 0
  run = lambda: start('cut')
  result = soak.disturb(run, tmp_path / 'cut', kills, random.Random(kills), within=1)
  print(result)
  assert result['killed'] == kills
  assert kills < 10 or result['while_saving'] > 1
  assert_same_end(tmp_path)
  assert soak.steps_logged(tmp_path / 'cut') == soak.steps_logged(tmp_path / 'whole')


KILLED = """
import os, signal, sys
from fsvae_jax.run import checkpoint
from tests import smoke

save = checkpoint.Checkpoints.save

def and_die(self, step, *rest):
  save(self, step, *rest)  # which goes on in threads
  if step == 4:
    os.kill(os.getpid(), signal.SIGKILL)

checkpoint.Checkpoints.save = and_die
smoke.main(*sys.argv[1:])
"""


@pytest.mark.parametrize('optimizer', ['muon', 'adamw'])
def test_a_run_killed_while_it_saves_ends_as_one_that_was_not(tmp_path, optimizer):
  fields = {'train.optimizer': optimizer, 'train.test_every': 0}
  start = lambda name: smoke.start(tmp_path / name, tmp_path / 'cache', fields)
  assert start('whole').wait() == 0
  command = [
    sys.executable,
    '-c',
    KILLED,
    tmp_path / 'cut',
    tmp_path / 'cache',
    json.dumps(fields),
    '',
  ]
  environment = os.environ | {'XLA_FLAGS': smoke.xla_flags(1)}
  killed = subprocess.run(list(map(str, command)), cwd=smoke.ROOT, env=environment)
  assert killed.returncode == -signal.SIGKILL
  assert (tmp_path / 'cut/checkpoints/2').is_dir() and not (tmp_path / 'cut/end.npz').exists()
  assert start('cut').wait() == 0
  assert_same_end(tmp_path)


def assert_same_end(folder):
  whole, cut = (np.load(folder / name / 'end.npz') for name in ('whole', 'cut'))
  for name in whole.files:
    np.testing.assert_array_equal(cut[name], whole[name])


@pytest.fixture
def small_disk(tmp_path):
  """A folder on a file system of 4 MB of its own."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
  if not shutil.which('mount') or subprocess.run(command, capture_output=True).returncode:
    pytest.skip('mounting a small file system is not permitted here')
  yield folder
  subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_is_reported_and_the_last_good_checkpoint_stays(
  small_disk, tmp_path, monkeypatch, caplog
):
  config = smoke.config(tmp_path / 'cache')
  workdir, filler, batches = small_disk / 'run', small_disk / 'filler', data.batches

  def filling(*args):
    for step, batch in enumerate(batches(*args), 1):
      if step == 4:  # after the checkpoint of step 2
        with filler.open('wb', buffering=0) as file, pytest.raises(OSError, match='No space left'):
          while True:
            file.write(bytes(1024))
      yield batch

  with monkeypatch.context() as patch:
    patch.setattr(data, 'batches', filling)
    with pytest.raises(OSError, match=r'(?s)checkpoint 6 could not be saved.*There are \[2\]'):
      train.train_and_evaluate(config, workdir)
  assert 'checkpoint 4 could not be saved' in caplog.text and 'training goes on' in caplog.text
  kept = lambda: {path.name for path in (workdir / 'checkpoints').iterdir()}
  assert {name for name in kept() if name.isdigit()} == {'2'}
  filler.unlink()
  assert train.train_and_evaluate(config, workdir)[0]
  assert kept() == {'2', '4', '6'}  # nothing is left of a save that failed
  assert soak.steps_logged(workdir) == [2, 3, 4, 6]

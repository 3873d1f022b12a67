"""Runs that are killed, on full disks, at any moment. `pytest tests/chaos_test.py --kills=20`."""

import random
import shutil
import subprocess

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
  whole, cut = (np.load(tmp_path / name / 'end.npz') for name in ('whole', 'cut'))
  for name in whole.files:
    np.testing.assert_array_equal(cut[name], whole[name])
  assert soak.steps_logged(tmp_path / 'cut') == soak.steps_logged(tmp_path / 'whole')


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

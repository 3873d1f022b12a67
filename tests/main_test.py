"""The command line, as a process."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def run(*arguments):
  command = [sys.executable, '-m', 'fsvae_jax.main', *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_an_unknown_field_names_the_known_ones(tmp_path):
  result = run(
    '--config=configs/mnist.py', '--config.model.timestep=3', f'--workdir={tmp_path}/run'
  )
  assert result.returncode != 0
  assert 'timestep' in result.stderr and 'model.tau, model.timesteps' in result.stderr
  assert not (tmp_path / 'run').exists()


def test_a_wrong_value_names_itself(tmp_path):
  result = run('--config=configs/digits.py', '--config.model.draws=0', f'--workdir={tmp_path}/run')
  assert result.returncode != 0 and 'model.draws is 0' in result.stderr
  assert not (tmp_path / 'run').exists()

"""The launch scripts, with stand-ins for gcloud, srun and Python that log their arguments."""

import os
import pathlib
import re
import signal
import string
import subprocess
import time

import pytest
import yaml

LAUNCH = pathlib.Path(__file__).parent.parent / 'launch'
SLURM = 'slurm.sbatch --config=configs/mnist.py --workdir=/shared/run'
POD = '--name=pod --zone=us-west4-a'


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
  """Function that puts a command on the PATH: it logs its arguments, then runs a line of bash."""
  monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)

  def make(name, line='true'):
    log, path = tmp_path / f'{name}.log', tmp_path / name
    path.write_text(
      '#!/usr/bin/env bash\ncall=\nfor a in "$@"; do call+=$a$\'\\x1f\'; done\n'
      f'printf "%s\\x1e" "$call" >> {log}\n{line}\n'  # at once: several may log at a time
    )
    path.chmod(0o755)
    return lambda: [call.split('\x1f')[:-1] for call in log.read_text().split('\x1e')[:-1]]

  return make


def start(command, **environment):
  name, *arguments = command.split()
  return subprocess.Popen(
    [str(LAUNCH / name), *arguments],
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def run(command, **environment):
  """Exit code, and all that is printed."""
  process = start(command, **environment)
  printed, _ = process.communicate(timeout=60)
  return process.returncode, printed


@pytest.mark.parametrize('name', ['local.sh', 'slurm.sbatch', 'tpu_pod.sh'])
def test_usage_is_printed(name):
  code, printed = run(f'{name} --help')
  assert code == 0 and f'launch/{name}' in printed and not re.search('^(#|set )', printed, re.M)
  assert run(name) == (2, printed)  # without arguments


@pytest.mark.parametrize(
  'command, message',
  [
    ('local.sh --processes=0 --config=x', '--processes=0 is not a number of 1 or more'),
    ('local.sh --processes 2 --config=x', '--processes: it takes --processes=N'),
    ('slurm.sbatch --config=x', '--workdir=DIR is missing'),
    ('slurm.sbatch --workdir=x config', 'config is not a flag'),
    ('slurm.sbatch --workdir=x --processes=2', '--processes=2: SLURM says this'),
    ('slurm.sbatch --workdir=x', 'not a SLURM job: start it with sbatch'),
    ('tpu_pod.sh launch', 'unknown command launch'),
    ('tpu_pod.sh create --zone=z', '--name=NAME is missing'),
    ('tpu_pod.sh create --name=pod', '--zone=ZONE is missing'),
    ('tpu_pod.sh create --name=My_pod --zone=z', '--name=My_pod: small letters'),
    ('tpu_pod.sh create --name=pod --zone=z --config=x', 'unknown option --config=x'),
    (f'tpu_pod.sh start {POD}', 'start takes the flags of fsvae_jax.main after --'),
    (f'tpu_pod.sh logs {POD} -- --config.seed=1', 'logs takes no flags'),
  ],
)
def test_wrong_arguments_are_named(command, message, stand_in):
  stand_in('gcloud')
  code, printed = run(command, SLURM_JOB_ID='')
  assert code == 2 and message in printed and 'see --help' in printed


def python_for(tmp_path, stand_in, line):
  """A virtual environment whose Python is a stand-in; what it was called with."""
  calls = stand_in('python', line)
  (tmp_path / 'bin').mkdir()
  (tmp_path / 'bin' / 'python').symlink_to(tmp_path / 'python')
  return calls


def test_slurm_starts_one_step_and_queues_again_what_was_stopped(tmp_path, stand_in):
  python_for(tmp_path, stand_in, 'true')
  requeued = stand_in('scontrol')
  environment = {'VENV': str(tmp_path), 'SLURM_JOB_ID': '7', 'SLURM_SUBMIT_DIR': str(tmp_path)}
  environment['SLURM_CPUS_PER_TASK'] = '8'
  srun = stand_in('srun', 'exit 0')
  assert run(SLURM, **environment)[0] == 0
  (step,) = srun()
  assert step[-5:] == ['-u', '-m', 'fsvae_jax.main', *SLURM.split()[1:]]
  assert '--kill-on-bad-exit=0' in step and f'{tmp_path}/bin/python' in step
  assert '--cpus-per-task=8' in step  # srun does not take it from sbatch
  stand_in('srun', 'exit 1')
  assert run(SLURM, **environment)[0] == 1
  assert not (tmp_path / 'scontrol.log').exists()
  stand_in('srun', 'exit 75')
  assert run(SLURM, **environment)[0] == 75
  assert requeued() == [['requeue', '7']]


def test_slurm_waits_for_the_step_that_saves(tmp_path, stand_in):
  python_for(tmp_path, stand_in, 'true')
  requeued = stand_in('scontrol')
  stand_in('srun', f'touch {tmp_path}/begun; sleep 2; exit 75')
  process = start(SLURM, VENV=str(tmp_path), SLURM_JOB_ID='7', SLURM_SUBMIT_DIR=str(tmp_path))
  while not (tmp_path / 'begun').exists():
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)  # as SLURM does to a job that is preempted
  process.communicate(timeout=30)
  assert process.returncode == 75 and requeued() == [['requeue', '7']]


def test_slurm_queues_again_what_was_stopped_while_it_started(tmp_path, stand_in):
  python_for(tmp_path, stand_in, 'true')
  requeued = stand_in('scontrol')
  environment = {'VENV': str(tmp_path), 'SLURM_JOB_ID': '7', 'SLURM_SUBMIT_DIR': str(tmp_path)}
  stand_in('srun', 'exit 143')  # killed, but not by SLURM
  assert run(SLURM, **environment)[0] == 143 and not (tmp_path / 'scontrol.log').exists()
  stand_in('srun', f'touch {tmp_path}/begun; sleep 2; exit 143')
  process = start(SLURM + ' -v=1', **environment)
  while not (tmp_path / 'begun').exists():
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=30)
  assert process.returncode == 143 and requeued() == [['requeue', '7']]


def test_a_pod_is_created_installed_started_and_deleted(tmp_path, stand_in):
  state = tmp_path / 'state'
  state.write_text('WAITING_FOR_RESOURCES')
  gcloud = stand_in(
    'gcloud', f'if [[ $* == *format* ]]; then cat {state}; echo ACTIVE > {state}; fi'
  )
  options = (
    f'{POD} --spot --project=p --bucket=gs://b/ -- --config=configs/mnist.py --config.seed=1'
  )
  code, printed = run(f'tpu_pod.sh resume {options}', POLL_SECONDS='0')
  assert code == 0 and 'pod: WAITING_FOR_RESOURCES' in printed and 'pod: ACTIVE' in printed
  calls = [call[2:] for call in gcloud()]
  assert [call[:2] for call in calls] == [
    ['queued-resources', 'delete'],
    ['queued-resources', 'create'],
    ['queued-resources', 'describe'],
    ['queued-resources', 'describe'],
    ['tpu-vm', 'scp'],
    ['tpu-vm', 'ssh'],
    ['tpu-vm', 'ssh'],
    ['tpu-vm', 'ssh'],
  ]
  for call in calls:
    assert {'pod', '--zone=us-west4-a', '--project=p'} <= {*call, call[3].split(':')[0]}
  assert '--spot' in calls[1] and '--node-id=pod' in calls[1]
  installation, mount, training = (call[-1] for call in calls[-3:])
  assert '.[tpu]' in installation and 'gcsfuse' in mount and ' b runs' in mount
  flags = training.split('fsvae_jax.main ')[1].split(' > ')[0].split()
  assert flags == ['--config.data.cache_dir=runs/cache', *options.split(' -- ')[1].split()]
  for line in (installation, mount, training):  # what the hosts are to run is bash
    script = line.removeprefix('--command=')
    assert subprocess.run(['bash', '-n', '-c', script]).returncode == 0


def test_a_pod_that_failed_ends_the_wait(stand_in):
  stand_in('gcloud', 'if [[ $* == *format* ]]; then echo FAILED; fi')
  code, printed = run(f'tpu_pod.sh create {POD}', POLL_SECONDS='0')
  assert code == 2 and 'pod is FAILED; delete it' in printed


@pytest.mark.parametrize('command', 'create install logs stop status delete'.split())
def test_a_dry_run_prints_what_a_run_does(command, stand_in, tmp_path):
  log = tmp_path / 'gcloud.log'
  gcloud = stand_in('gcloud', 'if [[ $* == *format* ]]; then echo ACTIVE; fi')
  code, printed = run(f'tpu_pod.sh {command} {POD} --dry-run')
  assert code == 0
  assert not log.exists()
  subprocess.run(['bash', '-c', f'git() {{ :; }}\n{printed}'], check=True)  # what it says
  dry = gcloud()
  log.unlink()
  assert run(f'tpu_pod.sh {command} {POD}')[0] == 0
  archive = lambda calls: re.sub(r'[^\' ]*/fsvae_jax\.tar\.gz', 'ARCHIVE', str(calls))
  assert archive(gcloud()) == archive(dry) != '[]'


def test_local_processes_are_numbered_and_the_first_failure_is_the_exit_code(tmp_path, stand_in):
  main = 'echo hello; [[ $* != *--process=1* ]] || exit 3'
  python = stand_in('python', f'case "$*" in *fsvae_jax.main\\ *) {main};; *) echo 1;; esac')
  code, printed = run(
    'local.sh --processes=3 --devices=2 --config.seed=1', PYTHON=str(tmp_path / 'python')
  )
  assert code == 3
  assert sorted(printed.split('\n')[:-1]) == ['[0] hello', '[1] hello', '[2] hello']
  runs = sorted(call for call in python() if '--config.seed=1' in call)
  assert [call[-1] for call in runs] == ['--process=0', '--process=1', '--process=2']
  assert all(call[:3] == ['-m', 'fsvae_jax.main', '--config.seed=1'] for call in runs)
  assert {call[-2] for call in runs} == {'--processes=3'} and len({call[-3] for call in runs}) == 1


@pytest.mark.parametrize('processes', [1, 2])
def test_a_local_run_is_none_of_the_schedulers_tasks(tmp_path, stand_in, processes):
  stand_in('python', 'env; echo 1')
  task = {'SLURM_PROCID': '1', 'SLURM_NTASKS': '4', 'SLURM_LOCALID': '0', 'JAX_PROCESS_ID': '1'}
  command = f'local.sh --processes={processes} --config=mnist'
  code, printed = run(command, PYTHON=str(tmp_path / 'python'), **task)
  assert code == 0 and 'SLURM_NTASKS=4' in printed  # of what tells of a task, the rank is gone
  assert 'SLURM_PROCID' not in printed and 'JAX_PROCESS_ID' not in printed


def test_local_processes_share_the_cores_that_they_may_use(tmp_path, stand_in):
  python = stand_in('python', 'echo 1')
  allowed = '[[ $1 != -cp ]] || { echo "pid 1: current affinity list: 8,10-12"; exit; }'
  pinned = stand_in('taskset', f'{allowed}; exec "${{@:3}}"')
  command = 'local.sh --processes=2 --devices=1 --config=mnist'
  assert run(command, PYTHON=str(tmp_path / 'python'))[0] == 0
  lists = {call[-1]: call[1] for call in pinned() if call[0] == '--cpu-list'}
  assert lists == {'--process=0': '8,10', '--process=1': '11,12'} and len(python()) == 3


def test_scripts_for_laptops_hold_nothing_that_bash_3_2_or_macos_lacks():
  """Nor an array that may be empty, which is an error there under `set -u`, without its guard."""
  newer = (
    r';;?&(?!&)|\|&|&>>|\bwait -n|\b(mapfile|readarray|coproc)\b|(declare|local|typeset) -[Agnu]'
    r'|\$\{\w+(\^|,)|\$\{\w+@|\[-\d+\]\}|readlink -f|realpath|sed -u|(?<!\+)"\$\{flags\[@\]\}"'
  )
  assert re.search(newer, 'a) b ;;&') and re.search(newer, 'f "${flags[@]}"')
  for name in ('local.sh', 'tpu_pod.sh'):
    script = re.sub('#.*', '', (LAUNCH / name).read_text())
    if name == 'tpu_pod.sh':  # start, which refuses to have none
      script = script.replace('runs/cache "${flags[@]}"', '')
    assert not re.search(newer, script), name


@pytest.mark.parametrize('link', ['absolute', 'relative', 'link to a link', 'folder'])
def test_a_script_that_is_called_through_a_link_finds_its_repository(link, stand_in, tmp_path):
  (tmp_path / 'with space').mkdir()
  folder = tmp_path / 'with space' / 'launch'
  if link == 'folder':
    folder.symlink_to(LAUNCH)
  else:
    folder.mkdir()
  for name in ('local.sh', 'tpu_pod.sh') if link != 'folder' else ():
    target = LAUNCH / name
    if link == 'relative':
      target = pathlib.Path(os.path.relpath(target, folder))
    (folder / name).symlink_to(target if link != 'link to a link' else f'other-{name}')
    (folder / f'other-{name}').symlink_to(target)
  stand_in('python', 'pwd -P')
  stand_in('git', 'cd -P "$2" && pwd')  # as chdir, which git -C calls
  stand_in('gcloud')
  for line in ('local.sh --config.seed=1', f'tpu_pod.sh install {POD}'):
    name, *arguments = line.split()
    printed = subprocess.check_output(
      [f'launch/{name}', *arguments],
      cwd=folder.parent,
      env=os.environ | {'PYTHON': str(tmp_path / 'python'), 'CDPATH': str(tmp_path)},
      text=True,
    )
    assert printed.split('\n')[0] == str(LAUNCH.parent)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_local_processes_are_told_to_stop(tmp_path, stand_in, number):
  main = 'trap "echo stopped; exit 75" TERM; touch $0.${*: -1}; while true; do sleep 0.1; done'
  stand_in('python', f'case "$*" in *--process=*) {main};; esac')
  process = start('local.sh --processes=2 --config.seed=1', PYTHON=str(tmp_path / 'python'))
  while len(list(tmp_path.glob('python.--process=*'))) < 2:
    time.sleep(0.02)
  process.send_signal(number)
  printed, _ = process.communicate(timeout=30)
  assert process.returncode == 75 and printed.count('stopped') == 2


def test_kubernetes_job_and_service_fit_each_other():
  text = (LAUNCH / 'gke.yaml').read_text()
  values = {'NAME': 'mnist', 'IMAGE': 'i', 'PODS': '3', 'GPUS': '8', 'CLAIM': 'runs', 'CONFIG': 'c'}
  values['BATCH'] = '256'
  assert {f'  {name} ' for name in values if name != 'IMAGE'} - {'  GPUS '} <= set(
    re.findall('  [A-Z]+ ', text)
  )
  service, job = yaml.safe_load_all(string.Template(text).substitute(values))
  pod, (container,) = job['spec']['template']['spec'], job['spec']['template']['spec']['containers']
  environment = {variable['name']: variable['value'] for variable in container['env']}
  assert job['spec']['completions'] == job['spec']['parallelism'] == 3
  assert job['spec']['completionMode'] == 'Indexed' and environment['JAX_NUM_PROCESSES'] == '3'
  host = f'{job["metadata"]["name"]}-0.{pod["subdomain"]}'
  assert environment['JAX_COORDINATOR_ADDRESS'] == f'{host}:12321'
  assert service['metadata']['name'] == pod['subdomain'] and service['spec']['clusterIP'] == 'None'
  assert service['spec']['selector'] == {'job-name': job['metadata']['name']}
  mounts = {mount['name'] for mount in container['volumeMounts']}
  assert mounts == {volume['name'] for volume in pod['volumes']}
  assert (
    container['command'][-1] == 'fsvae_jax.main' and '--workdir=/runs/mnist' in container['args']
  )


def test_figures_of_a_card_are_of_one_setting_and_end_when_told_to(tmp_path, stand_in):
  python = stand_in('python', 'sleep 60')
  process = start(f'gpu_figures.sh {tmp_path}/out model.timesteps=2', PYTHON='python', BATCHES='8')
  deadline = time.monotonic() + 30
  while not (tmp_path / 'python.log').exists():
    assert time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=30)
  assert process.returncode == 130 and len(python()) == 1  # nothing more was begun
  code, printed = run(f'gpu_figures.sh {tmp_path}/out', PYTHON='python', BATCHES='8')
  assert code == 1 and 'has figures of other settings (8 20 3 model.timesteps=2)' in printed
  assert len(python()) == 1

"""Every command of README, docs/ and launch/ that trains or evaluates would start."""

import ast
import pathlib
import re
import string
import subprocess

import pytest
import yaml
from absl import flags

from fsvae_jax import configuration, fields, main, models
from fsvae_jax.run import sharding

ROOT = pathlib.Path(__file__).parent.parent
FILES = [ROOT / 'README.md', *ROOT.glob('docs/**/*.md'), *ROOT.glob('launch/*')]
assert main  # it defines the flags

# Bash runs the commands, but each only logs its words and the variables of the Kubernetes example.
STAND_IN = r"""
log() {
  printf '%s\x1f' "$@" "CONFIG=$CONFIG" "PODS=$PODS" "GPUS=$GPUS" "BATCH=$BATCH"
  printf '\x1e'
}
command_not_found_handle() { log "$@"; }
"""
SCRIPTS = ['launch/local.sh', 'launch/tpu_pod.sh', 'launch/slurm.sbatch']
STAND_IN += ''.join(f'{name}() {{ log {name} "$@"; }}\n' for name in SCRIPTS)


def blocks(path):
  """Indented blocks of a text, or of a script's comments, that hold commands of ours."""
  text = path.read_text()
  if path.suffix != '.md':
    text = re.sub('^(?!#).*$', '', text, flags=re.M)
    text = re.sub(r'^#( {3})?', lambda m: '    ' if m[1] else '', text, flags=re.M)
  found = re.findall(r'(?:^ {4}.*\n)+', text, flags=re.M)
  return [re.sub(r'\[[^]]*\]', '', block) for block in found if re.search(OURS, block)]


OURS = r'fsvae_jax\.main|make train|local\.sh|slurm\.sbatch|tpu_pod\.sh|envsubst'


def commands(path, folder):
  """Lists of words, as bash would start them."""
  words = []
  for block in blocks(path):
    block = re.sub(r'[<>|&].*?(?=[;\n]|$)', ' ', block)
    run = subprocess.run(
      ['/bin/bash', '-c', STAND_IN + block],
      env={'PATH': '/nonexistent', 'name': 'mnist'},
      cwd=folder,
      capture_output=True,
      text=True,
    )
    words += [line.split('\x1f')[:-1] for line in run.stdout.split('\x1e')[:-1]]
  return [w for w in words if re.search(OURS, ' '.join(w))]


def value(words, name, default):
  found = [w.split('=', 1)[1] for w in words if w.startswith(f'{name}=')]
  return found[-1] if found else default


def where(words):
  """(number of devices, of processes) on which a command runs."""
  text = ' '.join(words)
  if 'slurm.sbatch' in text:
    script = (ROOT / 'launch/slurm.sbatch').read_text()
    tasks = int(re.search(r'ntasks-per-node=(\d+)', text + script)[1])
    count = int(value(words, '--nodes', 1)) * tasks
    return count, count
  if 'tpu_pod.sh' in text:
    chips = int(value(words, '--type', 'v5litepod-16').split('-')[-1])
    return chips, chips // 4
  if 'envsubst' in text:
    pods, gpus = (int(value(words, name, 0)) for name in ('PODS', 'GPUS'))
    return pods * gpus, pods
  if 'mpirun' in text:
    return int(words[words.index('-n') + 1]), int(words[words.index('-n') + 1])
  processes = int(value(words, '--processes', 1))
  return processes * int(value(words, '--devices', 1)), processes


def arguments(words):
  """The flags of fsvae_jax.main in a command."""
  if words[0] == 'make':
    config, more = value(words, 'CONFIG', ''), value(words, 'ARGS', '')
    return [f'--config={config}'] * bool(config and words[1:2] != ['test']) + more.split()
  if words[0] == 'envsubst':
    job = list(yaml.safe_load_all(kubernetes(words)))[1]
    return job['spec']['template']['spec']['containers'][0]['args']
  ours = [i for i, word in enumerate(words) if word in ('fsvae_jax.main', *SCRIPTS, '--')]
  return [w for w in words[ours[-1] + 1 :] if w.startswith('--')]


def kubernetes(words):
  values = {name: value(words, name, name.lower()) for name in ('CONFIG', 'PODS', 'GPUS', 'BATCH')}
  values |= {'NAME': 'n', 'IMAGE': 'i', 'CLAIM': 'c'}
  return string.Template((ROOT / 'launch/gke.yaml').read_text()).substitute(values)


def configured(words):
  """The configuration of a command; fails for a flag or field that there is not."""
  given = [a.removeprefix('--').partition('=')[::2] for a in arguments(words)]
  config = configuration.load(dict(given).get('config') or 'digits')
  for name, text in given:
    if name.startswith('config.'):
      flat = fields.flatten(config)
      assert name.removeprefix('config.') in flat, name
      section, _, field = name.removeprefix('config.').rpartition('.')
      old = flat[name.removeprefix('config.')]
      (config[section] if section else config)[field] = (
        text if isinstance(old, str) else ast.literal_eval(text)
      )
    elif name not in ('config', 'devices') and words[0] != 'launch/tpu_pod.sh':
      ours = name in flags.FLAGS
      assert ours or name.startswith(('nodes', 'ntasks', 'cpus')), name
      if ours and text:
        flags.FLAGS[name].parser.parse(text)
  return config


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_documented_command_would_start(path, tmp_path):
  for words in commands(path, tmp_path):
    if words[0] == 'launch/tpu_pod.sh' and words[1] not in ('start', 'resume'):
      continue
    config = configured(words)
    fields.check_all(config)
    models.make(config.model)
    devices, processes = where(words)
    sharding.sharing(config.train.batch_size, config.train.micro_batches, devices, processes)


def test_the_commands_are_found(tmp_path):
  """A pattern that matched nothing would make the test above pass."""
  found = [' '.join(words) for path in FILES for words in commands(path, tmp_path)]
  for name in ('make train', 'python -m fsvae_jax.main', *SCRIPTS, 'envsubst', 'mpirun'):
    assert any(name in command for command in found), name
  assert len(found) > 15


def test_a_command_that_would_stop_is_seen(tmp_path):
  (tmp_path / 'x.md').write_text(
    '    launch/local.sh --processes=3 --devices=3 --config=configs/mnist.py\n'
  )
  (words,) = commands(tmp_path / 'x.md', tmp_path)
  assert where(words) == (9, 3)
  with pytest.raises(ValueError, match='is 250, which 9 devices of 3 .* choose 243 or 252'):
    sharding.sharing(configured(words).train.batch_size, 1, *where(words))


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md'])
def test_links_outside_the_site_lead_somewhere(name):
  """Those inside are held by `make docs`."""
  targets = re.findall(r'\]\((?!http)([^)#]+)(?:#([^)]+))?\)', (ROOT / name).read_text())
  for target, anchor in targets:
    assert (ROOT / target).exists(), target
    if anchor:
      headings = re.findall('^#+ (.*)$', (ROOT / target).read_text(), re.M)
      assert anchor in [re.sub(r'[^\w]+', '-', heading.lower()) for heading in headings], anchor

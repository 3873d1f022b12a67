"""The processes of one run, on one machine or many: they find each other, and end together."""

import contextlib
import faulthandler
import importlib.util
import itertools
import os
import pathlib
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed as jax_distributed  # JAX shows its key-value store nowhere else
from jax.experimental import multihost_utils

from fsvae_jax.run import console, files, signals

BEAT_SECONDS = 2  # between two signs of life of a process
SILENT_SECONDS = 20  # without one, it is taken for dead, and the others end
MEETING_MS = 7 * 24 * 3_600_000  # for each other; signs of life tell who is gone

# Variables in which launchers tell a process: how many there are, which it is, which on its node.
LAUNCHERS = {
  'SLURM': ('SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID'),
  'Open MPI': ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'),
  'Kubernetes': ('JAX_NUM_PROCESSES', 'JOB_COMPLETION_INDEX', ''),
  'the environment': ('JAX_NUM_PROCESSES', 'JAX_PROCESS_ID', ''),
}


@contextlib.contextmanager
def joined(
  coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> Iterator[None]:
  """Makes this process one of a run's for as long as the context lasts.

  If it fails, or any of the others fails or falls silent, all end with exit code 1 and say why: a
  collective would wait for the missing one for ever. If it was stopped (`signals.Stopped`), all end
  with `signals.STOPPED`. Alone, nothing of this happens.

  Args: as `join` has them.
  """
  join(coordinator, processes, process)
  with signals.raised():  # anew: on joining, JAX has taken SIGTERM for itself
    _check_devices()
    if jax.process_count() == 1:
      yield
      return
    multihost_utils.sync_global_devices('joined')  # connections are made while all are here
    faulthandler.disable()  # where JAX ends the process itself, its message is the one to read
    signs = _Signs(jax_distributed.global_state.client)
    threading.Thread(target=signs.watch, daemon=True).start()
    try:
      yield
    except signals.Stopped as stopped:
      signals.ignored()
      with contextlib.suppress(Exception):  # the store may be gone
        signs.give(f'stopped {stopped}')
        time.sleep(BEAT_SECONDS + 1)  # for the others to see the sign
      signs.end(f'it was stopped {stopped}', signals.STOPPED)
    except BaseException as error:
      console.complain(traceback.format_exc().rstrip())
      with contextlib.suppress(Exception):
        signs.give(f'failed: {type(error).__name__}: {error}')
      signs.end('of this error (if a connection was lost: another process ended first)')
    signs.give('done')


def join(
  coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
  """Connects this process to the others of its run; leaves it alone if nothing says there are any.

  What is not given comes from the environment that SLURM, Open MPI, an indexed Kubernetes Job or a
  TPU leaves: number and rank by `LAUNCHERS`, the coordinator as JAX finds it. One process without a
  coordinator is alone, whatever task of a launcher it is. Must come before anything that uses
  devices.

  Args:
    coordinator: HOST:PORT of process 0, which all can reach; also JAX_COORDINATOR_ADDRESS.
    processes: how many there are.
    process: which one this is, from 0.

  Raises:
    ValueError: if only a part is known, or it does not fit; says what to give.
  """
  coordinator = coordinator or os.environ.get('JAX_COORDINATOR_ADDRESS')
  launcher, number, rank, local = _launched()
  processes = number if processes is None else processes
  if process is None and (coordinator or processes != 1):  # alone, a rank says which of many runs
    process = rank
  said = f'coordinator {coordinator}, processes {processes}, process {process}'
  if coordinator:
    if processes is None or process is None:
      raise ValueError(f'{said}: give --processes and --process too')
    if ':' not in coordinator or not 0 <= process < processes:
      raise ValueError(f'{said}: a coordinator is HOST:PORT, processes are numbered from 0')
    initialize = jax.distributed.initialize
    _heard(initialize, coordinator, processes, process, local_device_ids=local)
  elif launcher and processes != 1:
    try:
      _heard(jax.distributed.initialize)
    except ValueError as error:
      raise ValueError(
        f'{said}, by {launcher}, but JAX does not find process 0 ({error}): give '
        '--coordinator=HOST:PORT and --processes'
      ) from error
  elif processes not in (None, 1) or process:
    raise ValueError(f'{said}: give --coordinator=HOST:PORT too')
  elif processes is None and _may_have_tpus():
    with contextlib.suppress(ValueError):  # raised where no TPU is, or one without other hosts
      _heard(jax.distributed.initialize)


def _heard(function, *args, **kwargs):
  """`function(...)`, which may wait for long, in a thread, so that signals are heard meanwhile."""
  failed: list[BaseException] = []

  def work():
    try:
      function(*args, **kwargs)
    except BaseException as error:
      failed.append(error)

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  thread.join()
  if failed:
    raise failed[0]


def _may_have_tpus():
  return importlib.util.find_spec('libtpu') and os.environ.get('JAX_PLATFORMS') != 'cpu'


def _check_devices():
  """Raises RuntimeError, saying what to do, where JAX cannot use the platform it was told to."""
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as error:
    asked = os.environ.get('JAX_PLATFORMS')
    if not asked:
      raise
    why = str(error) or 'its plugin is not installed'  # for cuda without one JAX only asserts
    raise RuntimeError(
      f'JAX_PLATFORMS is {asked!r}, which JAX cannot use here ({why}): unset it, set it to cpu, or '
      "install what it needs: pip install 'fsvae_jax[cuda]' or 'fsvae_jax[tpu]'"
    ) from error


def meet() -> None:
  """Waits until all processes have come here, as after compiling.

  In a collective, they would give up on each other after half a minute (on CPU).
  """
  if jax.process_count() > 1:
    name = f'meeting {next(_meetings)}'
    client: Any = jax_distributed.global_state.client
    _heard(client.wait_at_barrier, name, MEETING_MS)


_meetings = itertools.count()


@contextlib.contextmanager
def alone(lock: pathlib.Path) -> Iterator[None]:
  """What the processes of this run do together while no other run does it; `lock` is a file.

  Where its folder cannot be made, nothing can be kept either, and everybody works for himself.
  """
  with contextlib.nullcontext() if jax.process_index() else files.locked(lock):
    meet()
    yield


def _launched():
  """The launcher's name, how many processes, which one, which on its node; None if not known."""
  for launcher, names in LAUNCHERS.items():
    if names[1] in os.environ:
      number, rank, local = (_number(n) if n in os.environ else None for n in names)
      if launcher == 'SLURM' and number is None:
        number = 1  # a batch script that asked for no tasks is one process
      return launcher, number, rank, local
  return None, None, None, None


def _number(variable):
  try:
    return int(os.environ[variable])
  except ValueError:
    raise ValueError(f'{variable} is {os.environ[variable]!r}, which is no whole number') from None


class _Signs:
  """Signs of life that the processes leave each other in JAX's key-value store.

  JAX's own heartbeat notices that a process is gone, not why. It then aborts the others (SIGABRT, a
  stack trace of C++): none can end with `signals.STOPPED`, nor say what failed where.
  """

  def __init__(self, client):
    self._client, self._done = client, False
    self._giving, self._ending = threading.Lock(), threading.Lock()
    self._process, self._processes = jax.process_index(), jax.process_count()

  def give(self, sign):
    """Leaves a sign: a number that grows, or, as the last, 'done', 'stopped ...', 'failed: ...'."""
    with self._giving:  # else a number on its way could take the last sign's place
      if not self._done:
        self._done = not sign.isdigit()
        self._client.key_value_set(f'signs/{self._process}', sign, allow_overwrite=True)

  def watch(self):
    """Gives a sign every BEAT_SECONDS; ends this process if another has failed or gives none."""
    others = set(range(self._processes)) - {self._process}
    seen = dict.fromkeys(others, ('', time.monotonic()))  # sign, since when
    for beat in itertools.count():
      try:
        self.give(str(beat))
        signs = self._client.key_value_dir_get('signs/')
      except Exception as error:  # process 0, which has the store, is gone
        if not self._done:
          self.end(f'process 0 cannot be reached ({error})')
        return
      for key, sign in signs:
        other = int(key.split('/')[-1])
        if other in seen and sign != seen[other][0]:
          seen[other] = sign, time.monotonic()
      for other, (sign, since) in seen.items():
        if sign.startswith('stopped'):
          self.end(f'process {other} was {sign}', signals.STOPPED)
        if sign.startswith('failed'):
          self.end(f'process {other} {sign}')
        if sign != 'done' and time.monotonic() - since > SILENT_SECONDS:
          self.end(f'process {other} has given no sign of life for {SILENT_SECONDS} s')
      time.sleep(BEAT_SECONDS)

  def end(self, why, code=1):
    """Ends this process at once: an orderly end would wait for the others."""
    self._ending.acquire()  # for good: the first reason counts
    console.complain(
      f'process {self._process} of {self._processes} ends because {why}. Checkpoints stay: start '
      'all processes again, with the same command, to go on from the newest'
    )
    if self._process == 0:  # it has the store: JAX aborts those that have not read why
      time.sleep(BEAT_SECONDS + 1)
    os._exit(code)

"""What a run does when it is told to stop: Ctrl-C, SIGTERM of a scheduler, SIGHUP of a terminal."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

# Exit code of a run that was stopped before its end (sysexits.h: "temporary failure; user is
# invited to retry"): to a scheduler it is not done, and the same command goes on.
STOPPED = 75

REPEATED_SECONDS = 1  # within it, a second Ctrl-C is the first one, passed on by a wrapper


class Stopped(KeyboardInterrupt):
  """The run was told to stop, and did; the same command goes on."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
  """In this context, a signal raises `Stopped`."""

  def stop(number, _):
    raise Stopped(f'by {signal.Signals(number).name}')

  with _handled(stop):
    yield


@contextlib.contextmanager
def noted() -> Iterator[threading.Event]:
  """An event that a signal sets.

  Ctrl-C again, more than `REPEATED_SECONDS` later, does what it did outside of this context;
  SIGTERM again does nothing, as launchers repeat it.
  """
  stop = threading.Event()
  before = signal.getsignal(signal.SIGINT)
  noted_at: list[float] = []

  def note(number, _):
    stop.set()
    noted_at.append(time.monotonic())
    if number == signal.SIGINT and noted_at[-1] - noted_at[0] > REPEATED_SECONDS:
      signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
      signal.raise_signal(signal.SIGINT)

  with _handled(note):
    yield stop


def ignored() -> None:
  """From here on no signal changes how the program ends: launchers and wrappers repeat theirs."""
  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
      signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _handled(handler):
  if threading.current_thread() is not threading.main_thread():
    yield  # only the main thread may, and hears of signals
    return
  numbers = [signal.SIGINT, signal.SIGTERM]
  if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # what nohup asks for
    numbers.append(signal.SIGHUP)
  before = {number: signal.signal(number, handler) for number in numbers}
  try:
    yield
  finally:
    for number, old in before.items():
      signal.signal(number, signal.SIG_DFL if old is None else old)  # None: one of C

"""Being told to stop."""

import os
import signal
import threading

import pytest

from fsvae_jax.run import signals

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize('number', ALL)
def test_a_signal_is_noted_or_raised_and_its_old_handler_comes_back(number):
  before = signal.getsignal(number)
  with signals.noted() as stop:
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    assert stop.wait(1)
  with pytest.raises(signals.Stopped, match=f'by {number.name}'), signals.raised():
    os.kill(os.getpid(), number)
    threading.Event().wait(1)
  assert signal.getsignal(number) is before


def test_a_second_ctrl_c_acts_as_before(monkeypatch):
  monkeypatch.setattr(signals, 'REPEATED_SECONDS', 0)
  with signals.raised(), pytest.raises(signals.Stopped), signals.noted() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.wait(1)
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(1)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_passed_on_twice_is_one(number):
  with signals.noted() as stop:
    for _ in range(3):
      os.kill(os.getpid(), number)
      assert stop.wait(1)


def test_what_nohup_ignores_stays_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with signals.noted() as stop:
      os.kill(os.getpid(), signal.SIGHUP)
      assert not stop.wait(0.1)
  finally:
    signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_signals_alone():
  seen = []

  def work():
    with signals.raised(), signals.noted() as stop:
      seen.append(stop.is_set())

  before = [signal.getsignal(number) for number in ALL]
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [False] and [signal.getsignal(number) for number in ALL] == before

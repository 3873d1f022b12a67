"""Progress bars: what they say, and to whom."""

import io
import sys

import pytest

from fsvae_jax.run import progress


class Output(io.StringIO):
  def __init__(self, terminal):
    super().__init__()
    self.isatty = lambda: terminal


@pytest.mark.parametrize('terminal', [True, False])
def test_a_bar_says_what_is_done_on_a_terminal_and_nothing_elsewhere(monkeypatch, terminal):
  monkeypatch.setattr(sys, 'stderr', Output(terminal))
  with progress.bar(total=3) as bar:
    bar.set_description('fad, seed 1 of 3')
  assert ('fad, seed 1 of 3:   0%' in sys.stderr.getvalue()) == terminal


def test_what_is_soon_done_shows_no_bar(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Output(True))
  assert list(progress.each(range(3), 'decode')) == [0, 1, 2]
  assert 'decode' not in sys.stderr.getvalue()


def test_a_number_that_is_not_finite_is_named_where_it_began():
  nan = dict.fromkeys(('gradient_norm', 'loss', 'reconstruction', 'update_norm'), float('nan'))
  for fine, named in (
    ({}, 'reconstruction'),
    ({'reconstruction': 1.0}, 'loss'),
    ({'reconstruction': 1.0, 'loss': 1.0}, 'gradient_norm'),
  ):
    log = progress.Progress(0, 3, batch_size=10)
    log.add(1, {'distance': 1.0, **nan, **fine})
    with pytest.raises(FloatingPointError, match=f'^{named} is nan at step 1'):
      log.check()


def test_the_speed_leaves_out_what_is_done_while_paused(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress.time, 'perf_counter', lambda: now[0])
  log = progress.Progress(0, 3, batch_size=10)
  log.add(1, {'loss': 1.0})  # whose end starts the clock
  now[0] += 2
  log.add(2, {'loss': 3.0})
  with log.paused():
    now[0] += 100
  assert log.line() == {'train/loss': 2.0, 'images_per_s': 5.0}


def test_a_pause_begins_with_a_look_at_the_steps_before():
  log = progress.Progress(0, 3, batch_size=10)
  log.add(1, {'loss': float('nan')})
  with pytest.raises(FloatingPointError, match='loss is nan at step 1'), log.paused():
    raise AssertionError('nothing is saved of such a state')


def test_without_standard_error_there_is_no_bar(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', None)
  assert list(progress.each(range(3), 'batches')) == [0, 1, 2]

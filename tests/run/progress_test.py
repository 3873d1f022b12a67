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


def test_the_speed_is_of_steps_alone(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(progress.time, 'perf_counter', lambda: now[0])
  log = progress.Progress(0, 3, batch_size=10)
  now[0] += 50  # the first step, in which a program may be loaded
  log.add(1, {'loss': 1.0})
  now[0] += 2
  log.add(2, {'loss': 3.0})
  assert log.line() == {'train/loss': 2.0, 'images_per_s': 5.0}
  now[0] += 100  # a test, a save
  log.restart_clock()
  now[0] += 4
  log.add(3, {'loss': 1.0})
  assert log.line() == {'train/loss': 1.0, 'images_per_s': 2.5}


def test_a_line_is_the_chief_scalars_by_their_names(capsys):
  scalars = {'train/loss': 0.5, 'train/other': 1.0, 'train/rate/z': 0.25, 'images_per_s': 98.76}
  progress.Progress(0, 3, batch_size=10).report(2, scalars | {'test/reconstruction': 0.125})
  line = 'step 2/3  loss 0.5  rate z 0.25  images/s 98.76  test reconstruction 0.125'
  assert capsys.readouterr().out == f'{line}\n'


def test_without_standard_error_there_is_no_bar(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', None)
  assert list(progress.each(range(3), 'batches')) == [0, 1, 2]

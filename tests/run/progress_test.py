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

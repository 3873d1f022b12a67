"""Lines for people end no run."""

import io
import sys

import pytest

from fsvae_jax.run import console, distributed


def test_output_that_was_closed_is_done_without(tmp_path, monkeypatch):
  out = (tmp_path / 'out').open('w')
  monkeypatch.setattr(sys, 'stdout', out)
  console.say('before')
  out.close()
  console.say('after')
  console.settle()
  assert (tmp_path / 'out').read_text() == 'before\n'


@pytest.mark.parametrize('fault', [BrokenPipeError, ValueError])
def test_a_complaint_that_nobody_reads_changes_no_exit_code(monkeypatch, fault):
  monkeypatch.setattr(sys, 'stderr', Unread(fault))
  console.complain('process 1 ends')
  signs = distributed._Signs(client=None)
  monkeypatch.setattr(distributed.os, '_exit', sys.exit)
  monkeypatch.setattr(distributed.time, 'sleep', lambda _: None)
  with pytest.raises(SystemExit, match='75'):
    signs.end('process 0 was stopped', 75)


class Unread(io.StringIO):
  def __init__(self, fault):
    super().__init__()
    self.fault = fault

  def write(self, text):
    raise self.fault(text)

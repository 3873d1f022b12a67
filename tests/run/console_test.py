"""Lines for people end no run."""

import sys

from fsvae_jax.run import console


def test_output_that_was_closed_is_done_without(tmp_path, monkeypatch):
  out = (tmp_path / 'out').open('w')
  monkeypatch.setattr(sys, 'stdout', out)
  console.say('before')
  out.close()
  console.say('after')
  console.settle()
  assert (tmp_path / 'out').read_text() == 'before\n'

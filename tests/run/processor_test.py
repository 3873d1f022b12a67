"""Where models in bfloat16 are slower than in float32, one warning says so and why."""

import jax
import pytest
from absl import logging

from fsvae_jax import inference, train
from fsvae_jax.run import processor


@pytest.mark.parametrize(
  'flags, version, why',
  [
    ('flags: avx512f', (0, 12, 0), 'avx512_bf16'),
    ('flags: avx512f avx512_bf16', (0, 10, 2), 'jax 0.12'),
    ('flags: avx512f avx512_bf16', (0, 12, 0), ''),
    (None, (0, 12, 0), ''),
  ],
)
def test_where_bfloat16_does_not_pay_one_warning_says_why(
  flags, version, why, tmp_path, monkeypatch
):
  if flags:
    (tmp_path / 'cpuinfo').write_text(flags)
  monkeypatch.setattr(jax, '__version_info__', version)
  monkeypatch.setattr(processor.platform, 'machine', lambda: 'x86_64')
  found = processor._slow_in_bfloat16(tmp_path / 'cpuinfo')
  assert (why in found) if why else not found
  said = []
  monkeypatch.setattr(processor, '_slow_in_bfloat16', lambda: found)
  monkeypatch.setattr(logging, 'warning', lambda *args: said.append(args[0] % args[1:]))
  processor.warn_if_slow.cache_clear()
  for dtype in (None, 'float32', 'bfloat16', 'bfloat16'):
    processor.warn_if_slow(dtype)
  assert len(said) == bool(why) and why in ''.join(said)


def test_a_training_and_a_restored_model_are_warned_of(config, tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(processor, 'warn_if_slow', asked.append)
  config.model.dtype = 'bfloat16'
  train.prepare(config, tmp_path)
  assert asked == ['bfloat16']
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(FileNotFoundError, match='is empty'):
    inference.restore(config, tmp_path)
  assert asked == ['bfloat16', 'bfloat16']

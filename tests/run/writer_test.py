"""metrics.jsonl, TensorBoard events and picture grids."""

import json
import os
import time

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fsvae_jax.run import pictures, writer


def rows(path):
  return [json.loads(line) for line in (path / 'metrics.jsonl').read_text().splitlines()]


def test_scalars_and_pictures_reach_their_files(tmp_path):
  out = writer.Writer(tmp_path)
  out.scalars(10, {'train/loss': 0.5})
  path = out.picture(10, 'samples', np.full((3, 4, 4, 1), 255, np.uint8), columns=2)
  out.close()
  assert rows(tmp_path) == [{'step': 10, 'train/loss': 0.5}]
  assert path.name == 'samples_000010.png' and Image.open(path).size == (16 * 14, 16 * 14)
  events = EventAccumulator(str(tmp_path / 'tensorboard')).Reload()
  assert [(e.step, e.value) for e in events.Scalars('train/loss')] == [(10, 0.5)]
  assert len(events.Images('samples')) == 1


def test_a_resumed_run_drops_what_was_lost(tmp_path):
  out = writer.Writer(tmp_path)
  for step in (10, 20, 30):
    out.scalars(step, {'a': step})
  out.close()
  with (tmp_path / 'metrics.jsonl').open('a') as f:
    f.write('{"step": 40, "a"')  # killed while writing
  out = writer.Writer(tmp_path, step=20)
  out.scalars(30, {'a': -1})
  out.close()
  assert [(r['step'], r['a']) for r in rows(tmp_path)] == [(10, 10), (20, 20), (30, -1)]


def test_after_a_crash_tensorboard_has_each_step_once(tmp_path, monkeypatch):
  for start, value in ((0, 1.0), (20, 2.0)):  # the second goes on from step 20
    now = time.time() + start  # its file's name has the second of the start, which orders them
    monkeypatch.setattr(time, 'time', lambda now=now: now)
    out = writer.Writer(tmp_path, step=start)
    for step in range(start + 10, 50, 10):
      out.scalars(step, {'a': value})
    out.close()
  events = EventAccumulator(str(tmp_path / 'tensorboard')).Reload().Scalars('a')
  assert [(e.step, e.value) for e in events] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]


def test_metrics_are_json_whatever_the_numbers(tmp_path):
  out = writer.Writer(tmp_path)
  out.scalars(1, {'a': float('inf'), 'b': float('nan')})
  out.close()
  refuse = lambda name: pytest.fail(f'{name} is no JSON')
  text = (tmp_path / 'metrics.jsonl').read_text()
  assert json.loads(text, parse_constant=refuse) == {'step': 1, 'a': None, 'b': None}


def test_damaged_lines_are_left_out_and_told(tmp_path, caplog):
  lines = [b'{"step": 1}', b'\0' * 30, b'', b'{"step"', b'[1]', b'{"a": 1}', b'{"step": 2}']
  (tmp_path / 'metrics.jsonl').write_bytes(b'\n'.join(lines) + b'\n')
  assert writer.read_metrics(tmp_path) == [{'step': 1}, {'step': 2}]
  assert 'metrics.jsonl has 5 damaged lines' in caplog.text
  writer.Writer(tmp_path, step=2).close()
  assert rows(tmp_path) == [{'step': 1}, {'step': 2}]


def test_a_start_leaves_the_history_alone(tmp_path):
  """What is whole and not newer than the start is not written again, so that it cannot be lost."""
  out = writer.Writer(tmp_path)
  out.scalars(10, {'a': 1})
  out.close()
  before = (tmp_path / 'metrics.jsonl').stat()
  writer.Writer(tmp_path, step=10).close()
  after = (tmp_path / 'metrics.jsonl').stat()
  assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_grid_places_images_row_by_row():
  images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
  picture = pictures.grid(images, columns=2, margin=1, magnify=1)
  assert picture.shape == (7, 7, 3)
  assert [picture[1, 1, 0], picture[1, 4, 0], picture[4, 1, 0], picture[4, 4, 0]] == [0, 1, 2, 128]


def test_no_workdir_writes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  out = writer.Writer(None)
  out.scalars(1, {'a': 1.0})
  assert out.picture(1, 'b', np.zeros((1, 2, 2, 1), np.uint8), 1) is None
  out.close()
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='a device of Linux')
def test_lines_that_find_no_room_are_warned_of_and_end_nothing(tmp_path, caplog):
  out = writer.Writer(tmp_path)
  out._jsonl.close()
  out._jsonl = open('/dev/full', 'a', encoding='utf-8')  # noqa: SIM115  # the writer closes it
  out.scalars(10, {'a': 1.0})
  out.close()
  assert 'metrics.jsonl could not be written' in caplog.text

"""metrics.jsonl, TensorBoard events and picture grids."""

import json

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fsvae_jax import writer


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


def test_grid_places_images_row_by_row():
  images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
  picture = writer.grid(images, columns=2, margin=1, magnify=1)
  assert picture.shape == (7, 7, 3)
  assert [picture[1, 1, 0], picture[1, 4, 0], picture[4, 1, 0], picture[4, 4, 0]] == [0, 1, 2, 128]


def test_no_workdir_writes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  out = writer.Writer(None)
  out.scalars(1, {'a': 1.0})
  assert out.picture(1, 'b', np.zeros((1, 2, 2, 1), np.uint8), 1) is None
  out.close()
  assert not list(tmp_path.iterdir())

"""What a run leaves to look at: metrics.jsonl, TensorBoard events, pictures."""

import contextlib
import io
import json
import time

import numpy as np
from absl import logging
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Writer:
  """Writes scalars and pictures below `workdir`; `workdir` None writes nothing.

  Only one process of a run is given a workdir. Lines of metrics.jsonl that are newer than `step`,
  the step that the run starts from, are what a lost part of an earlier run wrote: they go. What
  cannot be written, as on a full disk, is warned of and does not end a run; lines of metrics.jsonl
  wait for room.
  """

  def __init__(self, workdir, step=0):
    self._workdir = workdir
    if workdir is None:
      return
    path = workdir / 'metrics.jsonl'
    kept = [line for line in _lines(path) if json.loads(line)['step'] <= step]
    workdir.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(kept))
    self._jsonl, self._events = path.open('a'), None

  def scalars(self, step, values):
    """Appends one JSON object, {'step': step, **values}, and the same to TensorBoard."""
    if self._workdir is None:
      return
    self._jsonl.write(json.dumps({'step': step, **values}) + '\n')
    with _warning_of('metrics.jsonl'):
      self._jsonl.flush()
    self._event(step, [summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in values.items()])

  def picture(self, step, name, images, columns):
    """Saves uint8 images [N, H, W, C] as a grid, `pictures/<name>_<step>.png`; returns its path."""
    if self._workdir is None:
      return None
    path = self._workdir / 'pictures' / f'{name}_{step:06d}.png'
    picture = grid(images, columns)
    encoded = png(picture)
    with _warning_of(path):
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(encoded)
    value = summary_pb2.Summary.Image(
      height=picture.shape[0], width=picture.shape[1], encoded_image_string=encoded
    )
    self._event(step, [summary_pb2.Summary.Value(tag=name, image=value)])
    return path

  def close(self):
    """Flushes and closes the files."""
    if self._workdir is None:
      return
    with _warning_of('metrics.jsonl'):
      self._jsonl.close()
    with _warning_of('tensorboard'):
      if self._events:
        self._events.close()

  def _event(self, step, values):
    event = event_pb2.Event(
      wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)
    )
    writer, self._events = self._events, None
    with _warning_of('tensorboard'):  # its writer ends with the first failure
      writer = writer or EventFileWriter(str(self._workdir / 'tensorboard'))
      writer.add_event(event)
      self._events = writer


@contextlib.contextmanager
def _warning_of(what):
  try:
    yield
  except OSError as error:
    logging.warning('%s could not be written: %s', what, error)


def png(picture):
  """A uint8 picture [H, W], [H, W, 1] or [H, W, 3] as the bytes of a PNG file."""
  encoded = io.BytesIO()
  Image.fromarray(picture.squeeze(-1) if picture.shape[2:] == (1,) else picture).save(
    encoded, format='png'
  )
  return encoded.getvalue()


def save_images(folder, columns, **arrays):
  """Writes uint8 images [N, H, W, C] by name into `folder`.

  images.npz holds them all, <name>/00000.png and so on each, grid.png the first ones: row by row,
  those of each name in turn.
  """
  folder.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(folder / 'images.npz', **arrays)
  for name, images in arrays.items():
    (folder / name).mkdir(exist_ok=True)
    for earlier in (folder / name).glob('*.png'):
      earlier.unlink()
    for i, image in enumerate(images):
      (folder / name / f'{i:05d}.png').write_bytes(png(image))
  shown = min(len(images), 8 * columns) // columns * columns or len(images)
  rows = [images[i : i + columns] for i in range(0, shown, columns) for images in arrays.values()]
  (folder / 'grid.png').write_bytes(png(grid(np.concatenate(rows), min(columns, shown))))


def read_metrics(workdir):
  """The objects of `<workdir>/metrics.jsonl`; [] if there is none."""
  return [json.loads(line) for line in _lines(workdir / 'metrics.jsonl')]


def _lines(path):
  """Whole lines of a file that may not exist; a last line cut short is dropped."""
  text = path.read_text() if path.exists() else ''
  return [line for line in text.splitlines(keepends=True) if line.endswith('\n')]


def grid(images, columns, margin=2, magnify=None):
  """uint8 images [N, H, W, C] as one picture [height, width(, 3)], row by row on grey.

  Each pixel becomes `magnify` pixels a side; by default, images come out at about 64.
  """
  n, h, w, c = images.shape
  magnify = magnify or max(1, 64 // h)
  rows = -(-n // columns)
  cells = np.full((rows * columns, h + margin, w + margin, c), 128, np.uint8)
  cells[:n, margin:, margin:] = images
  picture = cells.reshape(rows, columns, h + margin, w + margin, c).swapaxes(1, 2)
  picture = picture.reshape(rows * (h + margin), columns * (w + margin), c)
  picture = np.pad(picture, ((0, margin), (0, margin), (0, 0)), constant_values=128)
  return picture.repeat(magnify, 0).repeat(magnify, 1).squeeze(-1 if c == 1 else ())

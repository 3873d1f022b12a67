"""What a run leaves to look at: metrics.jsonl, TensorBoard events, pictures."""

import contextlib
import json
import pathlib
import time

import numpy as np
from absl import logging
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from fsvae_jax.run import files, pictures


class Writer:
  """Writes scalars and pictures below `workdir`; `workdir` None writes nothing.

  Only one process of a run is given a workdir. Lines of metrics.jsonl that are newer than `step`,
  the step that the run starts from, are what a lost part of an earlier run wrote: they go. What
  cannot be written, as on a full disk, is warned of and does not end a run; lines of metrics.jsonl
  wait for room.
  """

  def __init__(self, workdir: pathlib.Path | None, step: int = 0) -> None:
    self._workdir = workdir
    if workdir is None:
      return
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / 'metrics.jsonl'
    kept = [files.to_json(row) + '\n' for row in read_metrics(workdir) if row['step'] <= step]
    if path.exists() and path.read_bytes() != ''.join(kept).encode():
      files.write_text(path, ''.join(kept))
    self._jsonl, self._events, self._first = path.open('a', encoding='utf-8'), None, step + 1

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Appends one JSON object, {'step': step, **values}, and the same to TensorBoard."""
    if self._workdir is None:
      return
    with _warning_of('metrics.jsonl'):
      self._jsonl.write(files.to_json({'step': step, **values}) + '\n')
      self._jsonl.flush()
    self._event(step, [summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in values.items()])

  def picture(self, step: int, name: str, images: np.ndarray, columns: int) -> pathlib.Path | None:
    """Saves uint8 images [N, H, W, C] as a grid, `pictures/<name>_<step>.png`; returns its path."""
    if self._workdir is None:
      return None
    path = pictures.path(self._workdir, name, step)
    picture = pictures.grid(images, columns)
    encoded = pictures.png(picture)
    with _warning_of(path):
      path.parent.mkdir(exist_ok=True)
      files.write_bytes(path, encoded)
    value = summary_pb2.Summary.Image(
      height=picture.shape[0], width=picture.shape[1], encoded_image_string=encoded
    )
    self._event(step, [summary_pb2.Summary.Value(tag=name, image=value)])
    return path

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._workdir is None:
      return
    with _warning_of('metrics.jsonl'):
      self._jsonl.close()
    with _warning_of('tensorboard'):
      if self._events:
        self._events.close()

  def _event(self, step, values):
    assert self._workdir is not None  # where nothing is written, no event is made
    summary = summary_pb2.Summary(value=values)
    event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
    writer, self._events = self._events, None
    with _warning_of('tensorboard'):  # its writer ends with the first failure
      writer = writer or self._event_writer(self._workdir / 'tensorboard')
      writer.add_event(event)
      self._events = writer

  def _event_writer(self, folder):
    """TensorBoard leaves out what earlier runs have written of the steps from this one's first."""
    writer = EventFileWriter(str(folder))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.add_event(event_pb2.Event(wall_time=time.time(), step=self._first, session_log=start))
    return writer


@contextlib.contextmanager
def _warning_of(what):
  try:
    yield
  except OSError as error:
    logging.warning('%s could not be written: %s', what, error)


def read_metrics(workdir: pathlib.Path) -> list[dict]:
  """The objects of `<workdir>/metrics.jsonl`; [] if there is none.

  A last line cut short is dropped; so are damaged ones (a power cut may leave NULs), with a warning
  that says how many.
  """
  path, rows, damaged = workdir / 'metrics.jsonl', [], 0
  lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
  for line in lines:
    try:
      row = json.loads(line)
      if line.endswith(b'\n') and isinstance(row['step'], int):
        rows.append(row)
    except (ValueError, TypeError, KeyError):
      damaged += line.endswith(b'\n')
  if damaged:
    logging.warning('%s has %d damaged lines, which are left out', path, damaged)
  return rows

"""Images as one picture, and pictures as bytes."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image


def path(workdir: pathlib.Path, name: str, step: int, kind: str = 'png') -> pathlib.Path:
  """Where a run keeps a picture of a step."""
  return workdir / 'pictures' / f'{name}_{step:06d}.{kind}'


def found(workdir: pathlib.Path, step: int) -> dict[str, bytes]:
  """{name: bytes} of a run's pictures of a step, `pictures/<name>_<step>.png` or .gif."""
  files = sorted((workdir / 'pictures').glob(f'*_{step:06d}.*'))
  shown = [file for file in files if file.suffix in ('.png', '.gif')]
  return {file.stem.removesuffix(f'_{step:06d}'): file.read_bytes() for file in shown}


def png(picture: np.ndarray) -> bytes:
  """A uint8 picture [H, W], [H, W, 1] or [H, W, 3] as the bytes of a PNG file."""
  encoded = io.BytesIO()
  _pillow(picture).save(encoded, format='png')
  return encoded.getvalue()


def gif(frames: Sequence[np.ndarray], seconds: float = 0.2, pause: float = 2.0) -> bytes:
  """uint8 pictures, as `grid` makes them, as the bytes of a GIF file that plays them for ever.

  A bar below them says how far it is.

  Args:
    seconds: for which a frame is shown, and `pause` the last one.
  """
  images = []
  for i, frame in enumerate(frames, 1):
    bar = np.full((8, *frame.shape[1:]), 128, np.uint8)
    bar[:4, : frame.shape[1] * i // len(frames)] = 255
    images.append(_pillow(np.concatenate([frame, bar])))
  encoded = io.BytesIO()
  duration = [round(1000 * seconds)] * (len(images) - 1) + [round(1000 * pause)]
  kwargs = {'save_all': True, 'append_images': images[1:], 'duration': duration, 'loop': 0}
  images[0].save(encoded, format='gif', **kwargs)
  return encoded.getvalue()


def _pillow(picture):
  return Image.fromarray(picture.squeeze(-1) if picture.shape[2:] == (1,) else picture)


def grid(
  images: np.ndarray, columns: int, margin: int = 2, magnify: int | None = None
) -> np.ndarray:
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

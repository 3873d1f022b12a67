"""Images as one picture, and a picture as bytes."""

import io

import numpy as np
from PIL import Image


def png(picture: np.ndarray) -> bytes:
  """A uint8 picture [H, W], [H, W, 1] or [H, W, 3] as the bytes of a PNG file."""
  encoded = io.BytesIO()
  Image.fromarray(picture.squeeze(-1) if picture.shape[2:] == (1,) else picture).save(
    encoded, format='png'
  )
  return encoded.getvalue()


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

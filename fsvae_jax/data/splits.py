"""Which images are trained on and which are tested on: never the same ones.

One set of rules for folders, files and arrays. They say by their names what they are, in any case:
train or training; test, testing or t10k, and where there is no such, val, valid or validation.

- Both splits named: these are they; what lies outside of them is left out.
- Training alone named: every tenth of its images is the test split. None named: every tenth of all.
- Testing alone named: everything beside it is trained on.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fsvae_jax.run import console

TRAIN = ('train', 'training')
TEST = ('test', 'testing', 't10k', 'val', 'valid', 'validation')
HOLD_OUT = 10
T = TypeVar('T')


class Source(NamedTuple):
  """A split before resizing.

  Attributes:
    fingerprint: of its origin; changes when a file is replaced.
    count: number of images.
    read: i -> uint8 image [H, W] or [H, W, C]; any i in any order, from several threads at once.
    origin: i -> what messages call the image.
    label: i -> number of the image's class; None if nothing says it.
    classes: names of the classes, by number; () if they have none.
    slow_labels: whether reading all labels takes so long that they are worth keeping.
  """

  fingerprint: str
  count: int
  read: Callable[[int], np.ndarray]
  origin: Callable[[int], str]
  label: Callable[[int], int] | None = None
  classes: tuple[str, ...] = ()
  slow_labels: bool = False


class Part(NamedTuple):
  """What belongs to one split as a whole: an image file, a file of images, an array.

  Attributes:
    name: the split's name that it bears, in lower case, or ''.
    key: the same for the same part by another name.
    item: the file, or the array's name.
  """

  name: str
  key: Hashable
  item: Any


def every_nth(count: int, n: int, held: bool) -> np.ndarray:
  """Rows n-1, 2n-1, ... of `count` if `held`, else all others."""
  row_N = np.arange(count)
  return row_N[(row_N % n == n - 1) == held]


def first_of(items: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
  """The first item of each key, in their order."""
  first: dict[Hashable, T] = {}
  for item in items:
    first.setdefault(key(item), item)
  return list(first.values())


def named(text: str) -> str:
  """The split's name that is a word of a file's or an array's name, the last one; '' if none is."""
  words = re.split(r'[\W_]+', text.lower())
  return next((word for word in reversed(words) if word in TRAIN + TEST), '')


def choose(
  parts: Sequence[Part],
  split: str,
  make: Callable[[list], Source],
  where: object,
  unit: str = 'images',
  left_out: Counter | None = None,
) -> Source:
  """The Source of a split, by the rules above; what is left out is counted in one printed line.

  Args:
    parts: all there are, in the order of their images.
    split: 'train' or 'test'.
    make: items of parts -> Source of their images.
    where: the parts are, for messages.
    unit: what a part is called.
    left_out: {kind: number} of what was left out before.

  Raises:
    ValueError: if a split has no images, or both have the same part.
  """
  key = lambda part: part.key  # of two links to a file, one could be held out and the other not
  train, test = (first_of(side, key) for side in divide(parts, where))
  different = len(first_of(parts, key))
  counts = Counter(left_out)
  counts[f'{unit} outside of the splits'] = different - len(train) - len(test)
  counts['links to what is there already'] = len(parts) - different
  _say(where, frozenset((+counts).items()))
  source = make([part.item for part in (test if test and split == 'test' else train)])
  if not source.count:
    raise ValueError(f'{where} has no images for the {split} split')
  return source if test else every_tenth(source, split, where)


def every_tenth(source: Source, split: str, where: object) -> Source:
  """Every tenth image of `source` for the test split, the others for training.

  Raises:
    ValueError: if there is no tenth image.
  """
  rows = every_nth(source.count, HOLD_OUT, split == 'test')
  if not len(rows):
    raise ValueError(
      f'{where} has {source.count} images to train on and none named test: every tenth would be '
      f'tested on, so there must be at least {HOLD_OUT}, or some named test'
    )
  of_rows = lambda f: lambda i: f(int(rows[i]))
  return source._replace(
    fingerprint=f'{source.fingerprint}|every tenth apart',
    count=len(rows),
    read=of_rows(source.read),
    origin=of_rows(source.origin),
    label=source.label and of_rows(source.label),
  )


def divide(parts: Sequence[Part], where: object) -> tuple[list[Part], list[Part]]:
  """(training, testing); testing is empty if it is to be a tenth of training.

  Raises:
    ValueError: if there is nothing to train on, or both have the same part.
  """
  names = {part.name for part in parts}
  train, test = (next((n for n in known if n in names), None) for known in (TRAIN, TEST))
  tested = [part for part in parts if part.name == test]
  trained = [part for part in parts if part.name == train or (not train and part.name != test)]
  if not trained:
    raise ValueError(
      f'{where} has images to test on (named {test}), and none to train on: put them beside, or in '
      'train'
    )
  keys = {part.key: part.item for part in trained}
  for part in tested:
    if part.key in keys:
      raise ValueError(
        f'{part.item} would be tested on, and is the same file as {keys[part.key]}, which is '
        'trained on: take away one of the two'
      )
  return trained, tested


@functools.cache  # both splits are looked for, and an evaluation looks again
def _say(where, left_out):
  if left_out:
    console.say(
      f'left out of {where}: ' + ', '.join(f'{count} {kind}' for kind, count in sorted(left_out))
    )

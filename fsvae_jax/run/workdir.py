"""The folder of a run: what it is the run of, and that no other run writes there."""

import contextlib
import os
import pathlib
import platform
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from fsvae_jax import fields
from fsvae_jax.run import files

# Orbax reads a folder's name as a pattern, and the library below it a backslash as a slash.
UNREADABLE = '*?[]\\'
SEEN_SECONDS = 10  # within which all processes see what one has written, on a shared folder


def check(workdir: str | pathlib.Path, field: str = '--workdir') -> pathlib.Path:
  """The path of a run's folder, which `field` has named.

  Raises:
    ValueError: for one that checkpoints could not be read from again, or that is no folder.
  """
  path = files.expand(workdir, field)
  name = str(path.absolute())
  try:
    name.encode()
  except UnicodeEncodeError:
    raise ValueError(
      f'{field} is {ascii(name)}: checkpoints cannot be saved in a folder whose name is not UTF-8; '
      'take another name'
    ) from None
  if set(UNREADABLE) & set(name):
    raise ValueError(
      f'{field} is {name}: checkpoints in a folder with one of {" ".join(UNREADABLE)} in its name '
      'could not be read again; take another name'
    )
  try:
    above = files.nearest(path)
    usable = above.is_dir()
  except OSError as error:
    raise ValueError(f'{field} is {path}, which cannot be made ({error.strerror})') from error
  if not usable:
    kind = 'a link that leads nowhere' if above.is_symlink() else 'a file'
    raise ValueError(f'{field} is {path}, and {above} is {kind}; name a folder')
  return path


def check_writable(workdir: str | pathlib.Path, inside: Sequence[str] = ()) -> pathlib.Path:
  """The path of a run's folder, which is there or can be made.

  Args:
    inside: what will be written in it: names of folders, and of files, which have a dot.

  Raises:
    ValueError: for one that is somebody else's to write in, and as `check` does.
  """
  path = check(workdir)
  if not files.is_writable(files.nearest(path)):
    ours = 'name a folder of yours'
    if path.exists():
      ours = 'copy its config.json, data.json and checkpoints into a folder of yours, and name that'
    raise ValueError(f'--workdir is {path}, where nothing may be written: {ours}')
  for within in (path / name for name in inside if os.path.lexists(path / name)):
    kind, is_kind = ('file', os.path.isfile) if within.suffix else ('folder', os.path.isdir)
    if not is_kind(within) or not os.access(within, os.W_OK):
      raise ValueError(
        f'--workdir is {path}, but {within} is no {kind} that can be written: move it away, or '
        'take another --workdir'
      )
  return path


def record(workdir: pathlib.Path) -> dict:
  """The configuration in `<workdir>/config.json`; {} if there is none.

  Raises:
    ValueError: if the file is damaged.
  """
  path = workdir / 'config.json'
  try:
    found = files.read_json(path)
    for section in ('model', 'data', 'train', 'test', 'eval'):
      if not isinstance(found.get(section, {}), dict):
        raise ValueError(f'{path} is damaged (its {section} is {found[section]!r})')
    return _renamed(_tuples(found))
  except ValueError as error:
    raise ValueError(
      f'{error}; the command that trained writes it anew: give it again, as it was'
    ) from error


def _renamed(config):
  """Version 0.1 called the latent the sampler."""
  model = config.get('model', {})
  if 'sampler' in model:
    model['latent'] = model.pop('sampler')
  return config


def _tuples(value):
  """JSON has lists where configurations have tuples."""
  if isinstance(value, dict):
    return {name: _tuples(v) for name, v in value.items()}
  return tuple(value) if isinstance(value, list) else value


def differences(recorded: dict, config: dict, defaults: dict) -> dict:
  """{field: (recorded value, value in `config`)} of the fields that both have and that differ.

  Fields that were not recorded had their default; nothing differs from what has no record.
  """
  old, new, unsaid = (fields.flatten(_tuples(c)) for c in (recorded, config, defaults))
  old = old and unsaid | old
  return {
    name: (old[name], value) for name, value in new.items() if name in old and old[name] != value
  }


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether there is anything to go on from; what a killed save leaves, N.orbax-..., is nothing."""
  return any(path.name.isdigit() for path in (workdir / 'checkpoints').glob('*'))


def check_same(
  workdir: pathlib.Path, config: dict, defaults: dict, sections: Sequence[str] = ()
) -> dict:
  """Checks that the run in `workdir`, if it has checkpoints, can go on with `config`.

  A damaged config.json cannot say, which is warned of.

  Args:
    defaults: of the fields that the config.json of an earlier version lacks.
    sections: whose fields matter; default: all.

  Returns:
    The fields that differ and may, as `differences` has them.

  Raises:
    ValueError: naming the fields that differ and must not.
  """
  if not has_checkpoints(workdir):
    return {}
  recorded = _record_or_nothing(workdir)
  if not recorded and not (workdir / 'config.json').exists():
    logging.warning(
      '%s has checkpoints and no config.json: whether they are of this configuration is not known',
      workdir,
    )
  differing = differences(recorded, config, defaults)
  refused = {
    name: pair
    for name, pair in differing.items()
    if not fields.may_change(name) and (not sections or name.split('.')[0] in sections)
  }
  if refused:
    lines = '\n  '.join(f'{name}: {old} there, {new} now' for name, (old, new) in refused.items())
    raise ValueError(
      f'{workdir} holds a run of another configuration; take another --workdir, or these fields '
      f'as they were:\n  {lines}'
    )
  return {name: pair for name, pair in differing.items() if name not in refused}


def _record_or_nothing(workdir):
  try:
    return record(workdir)
  except ValueError as error:
    logging.warning('%s', error)
    return {}


def check_images(workdir: pathlib.Path, config: ConfigDict, images: dict) -> None:
  """Checks that a run's images are those it began with, wherever they lie now.

  Args:
    config: the run's configuration.
    images: {split: what `data.identity` says of it}; any of the splits.

  Raises:
    ValueError: naming the split, and where the images were and are.
  """
  if not has_checkpoints(workdir):
    return
  before = _record_or_nothing(workdir).get('data', {}).get('path', config.data.path)
  try:
    known = files.read_json(workdir / 'data.json')
    if not known and (workdir / 'data.json').exists():
      return  # an imported checkpoint's, which had no images
  except ValueError as error:
    logging.warning('%s; it is written anew', error)
    known = {}
  for split, identity in images.items():
    if isinstance(known.get(split), dict):  # by earlier versions without labels
      same = known[split] == {name: identity.get(name) for name in known[split]}
    else:
      same = before == config.data.path
    if not same:
      raise ValueError(
        f'the {split} images are not those of the run in {workdir}: {known.get(split, "unknown")} '
        f'there, {identity} now (data.path: {before!r} there, {config.data.path!r} now); take '
        'another --workdir, or give the images as they were'
      )


def same_images(workdir: pathlib.Path, other: pathlib.Path, split: str) -> bool:
  """Whether two runs have the same images in a split, as far as their records say."""
  ours, theirs = (_identities(folder).get(split, {}) for folder in (workdir, other))
  return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def _identities(workdir):
  try:
    return files.read_json(workdir / 'data.json')
  except ValueError:  # damaged
    return {}


@contextlib.contextmanager
def claim(workdir: pathlib.Path) -> Iterator[None]:
  """Holds `workdir` for this run; all its processes call it.

  Raises:
    ValueError: if another run holds the folder, or if the processes of this one do not see the
      same; nothing is changed then.
  """
  holder = workdir / '.process'
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      workdir.mkdir(parents=True, exist_ok=True)
      try:
        stack.enter_context(files.locked(workdir / '.lock', wait=False))
      except BlockingIOError:
        who = holder.read_text() if holder.exists() else '?'
        raise ValueError(
          f'{workdir} is in use by process {who}: wait for it, or take another --workdir'
        ) from None
      files.write_text(holder, f'{os.getpid()} of {platform.node()}')
    if jax.process_count() > 1:
      _check_shared(holder)
    yield


def write_record(workdir: pathlib.Path, config: ConfigDict, images: dict) -> None:
  """Leaves config.json, and data.json with the identities of `images`, as `check_images` has them.

  What was there is lost: nothing may be refused any more when this is called.
  """
  if jax.process_index() == 0:
    files.write_text(workdir / 'config.json', files.to_json(config.to_dict(), 2) + '\n')
    files.write_text(workdir / 'data.json', files.to_json(images, 1) + '\n')


def _check_shared(holder):
  """That this process reads what process 0 has written in the folder; it may take seconds."""
  pid = multihost_utils.broadcast_one_to_all(np.int32(os.getpid())).item()
  deadline = time.monotonic() + SEEN_SECONDS
  while not (holder.exists() and holder.read_text().startswith(f'{pid} of ')):
    if time.monotonic() > deadline:
      raise ValueError(
        f'{holder.parent} is not the folder that process 0 sees there: it must be on storage '
        'that all processes share (--workdir, and data.cache_dir for the autoencoder of fad)'
      )
    time.sleep(0.2)

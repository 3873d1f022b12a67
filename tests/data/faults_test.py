"""What a reader raises is told as the file's fault only if it is."""

import errno

import pytest

from fsvae_jax.data import faults


def told(error):
  with faults.told('a.png', 'an image', 'remove it'):
    raise error


def test_whatever_a_damaged_file_raises_names_it_and_the_way_out():
  for error in (SyntaxError('not a PNG'), OSError('image file is truncated'), IndexError()):
    with pytest.raises(
      ValueError, match=f'a.png cannot be read as an image .{type(error).__name__}.*: remove it'
    ):
      told(error)


def test_what_is_the_storages_fault_does_not_advise_to_remove_the_file():
  for number in (errno.EIO, errno.ESTALE, errno.EMFILE):
    with pytest.raises(ValueError, match='a.png cannot be .*see whether the storage can be read'):
      told(OSError(number, 'read failed'))
  for number in (errno.EACCES, errno.EPERM):
    with pytest.raises(ValueError, match='a.png cannot be .*see who may read it'):
      told(OSError(number, 'no permission'))
  with pytest.raises(MemoryError):
    told(MemoryError())


def test_the_search_for_others_ends_some_thousand_files_after_the_first():
  def read(i):
    seen.append(i)
    if i in (1, 3, 9999):
      raise faults.Unusable(i, f'{i} is damaged')
    return i

  seen = []
  with pytest.raises(ValueError, match=r'^1 is damaged; nor can these be used: 3, perhaps more$'):
    list(faults.each(read, range(10000)))
  assert seen[-1] < 9999
  seen = []
  with pytest.raises(ValueError, match='^9999 is damaged$'):
    list(faults.each(read, range(5000, 10000)))

"""How devices share a batch."""

import jax
import pytest

from fsvae_jax.run import sharding


@pytest.mark.parametrize(
  'batch, parts, devices, used',
  [(48, 1, 8, 8), (50, 1, 8, 5), (50, 1, 4, 2), (250, 5, 4, 2), (7, 1, 4, 1), (6, 1, 4, 3)],
)
def test_one_process_takes_as_many_devices_as_divide_the_batch(batch, parts, devices, used):
  assert sharding.sharing(batch, parts, devices, processes=1) == used


@pytest.mark.parametrize(
  'batch, parts, devices, processes, message',
  [
    (50, 1, 8, 4, 'which 8 devices of 4 processes cannot share evenly: choose 48 or 56'),
    (250, 1, 16, 2, 'choose 240 or 256'),
    (3, 1, 8, 2, 'choose 8'),
    (64, 3, 8, 2, 'which 3 parts cannot share evenly: choose 48 or 72'),
    (64, 3, 8, 1, 'which 3 parts cannot share evenly: choose 63 or 66'),
  ],
)
def test_several_processes_need_all_and_are_told_the_nearest_batches(
  batch, parts, devices, processes, message
):
  with pytest.raises(ValueError, match=f'train.batch_size is {batch}, .*{message}'):
    sharding.sharing(batch, parts, devices, processes)


def test_it_is_said_which_batch_would_use_all_devices(capsys):
  mesh = sharding.mesh_for(6)
  assert list(mesh.devices) == jax.devices()[:3]
  said = capsys.readouterr().out
  assert '3 of 4 devices share' in said and '--config.train.batch_size=4 or 8' in said
  assert sharding.mesh_for(8).size == 4 and not capsys.readouterr().out

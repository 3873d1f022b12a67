"""python -m benchmarks.streaming --folder DIR [--gb 4] [--steps 200]

Makes a set of 64x64 colour images, of noise, as ArrayRecord files of `--gb` in DIR (once), and
trains on it without decoding it first. Prints reading speed, time to the first batch at any step,
and the memory of the training process, as JSON.
"""

import io
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

from benchmarks import fields, soak
from fsvae_jax import configuration, data
from fsvae_jax.run import files, writer

PIXELS = 64
RECORD_BYTES = 12_400  # of noise, which PNG cannot compress


def make(folder, gigabytes, parts=8):
  """Writes the set; a file that is there is taken as complete."""
  from array_record.python import array_record_module
  from PIL import Image

  count = int(gigabytes * 1e9 / RECORD_BYTES)
  for split, images in (('train', count), ('test', min(1000, count))):
    for i in range(parts):
      path = folder / f'{split}.array_record-{i:05d}-of-{parts:05d}'
      if path.exists():
        continue
      rng = np.random.default_rng((images, i))
      with files.replacing(path) as partial:
        writer = array_record_module.ArrayRecordWriter(str(partial), 'group_size:1,uncompressed')
        for _ in range(-(-images // parts)):
          encoded = io.BytesIO()
          noise = rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)
          Image.fromarray(noise).save(encoded, format='png', compress_level=0)
          writer.write(encoded.getvalue())
        writer.close()


def reading(config, seconds, batch_size=250):
  """Images per second of batches alone, and seconds to the first batch of some steps."""
  images = data.load(config.data, PIXELS, 3, 'train')
  first = {}
  for step in (0, 10**6, 10**9):
    begin = time.perf_counter()
    next(iter(data.batches(images, batch_size, 0, step, step + 1)))
    first[step] = round(time.perf_counter() - begin, 3)
  begin, read = time.perf_counter(), 0
  for batch in data.batches(images, batch_size, 0, 0, 10**9):
    read += len(batch['image'])
    if time.perf_counter() - begin > seconds:
      break
  speed = read / (time.perf_counter() - begin)
  return {
    'images': len(images),
    'images_per_s': round(speed),
    'seconds_to_first_batch_of_step': first,
  }


def training(folder, steps, changed):
  """Memory, GB, while a small model trains: after the first steps, at the end, and the most."""
  workdir = folder / 'run'
  shutil.rmtree(workdir, ignore_errors=True)
  own = {
    'model.features': '(4,8,16)',
    'model.timesteps': 4,
    'train.steps': steps,
    'train.log_every': 5,
    'train.test_every': 0,
    'train.checkpoint_every': 5,
    'test.images': 250,
    'eval.metrics': '()',
  }
  command = [sys.executable, '-m', 'fsvae_jax.main', '--config=celeba']
  command += [*fields.flags(own | changed), f'--workdir={workdir}']
  start = lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL)
  seen = [gb for step, gb in soak.watch(start, workdir) if 0 < step < steps]
  tenth = max(1, len(seen) // 10)
  speed = [row['images_per_s'] for row in writer.read_metrics(workdir)]
  return {
    'steps': steps,
    'images_per_s': round(float(np.median(speed))),
    'resident_gb_first_tenth': round(float(np.median(seen[:tenth])), 2),
    'resident_gb_last_tenth': round(float(np.median(seen[-tenth:])), 2),
    'resident_gb_most': round(max(seen), 2),
  }


def main():
  parser = fields.parser(__doc__)
  parser.add_argument('--folder', required=True, type=pathlib.Path)
  parser.add_argument('--gb', type=float, default=4.0)
  parser.add_argument('--steps', type=int, default=200)
  parser.add_argument('--seconds', type=float, default=20, help='of reading alone')
  args = parser.parse_args()
  args.folder.mkdir(parents=True, exist_ok=True)
  make(args.folder, args.gb)
  changed = {'data.path': str(args.folder), 'data.decoded_gb': 0.0, 'data.crop': 0}
  changed |= fields.parsed(args.fields)
  config = configuration.load('celeba')
  config.update_from_flattened_dict(changed)
  sizes = [path.stat().st_size for path in args.folder.glob('*array_record*')]
  result = {'set_gb': round(sum(sizes) / 1e9, 2), 'reading': reading(config, args.seconds)}
  result['training'] = training(args.folder, args.steps, changed)
  print(json.dumps(result, indent=1))


if __name__ == '__main__':
  main()

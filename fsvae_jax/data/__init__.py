"""Images, and which of them a step reads.

Which rows step s reads is a function of (seed, s) alone, so that a run resumes anywhere, exactly.
"""

from fsvae_jax.data.arrays import idx_files, read_idx
from fsvae_jax.data.batches import batch_rows, batches, steps_per_epoch
from fsvae_jax.data.images import (
  Images,
  check_labels,
  hold_out,
  identity,
  load,
  normalize,
  quantize,
)

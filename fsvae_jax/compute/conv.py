"""3x3 convolutions of the FSVAE and their transposes, NHWC; kernels are [3, 3, in, out].

XLA's CPU gradients of strided and dilated convolutions are many times slower than matrix products,
so on CPU each of them is written as products: patches times a matrix (stride 2), four sub-pixel
phases (its transpose), nine shifted products (stride 1). The gradient of one of the first two with
respect to x is the other. Accelerators run their native convolutions. Forward-mode differentiation
is a TypeError (see linear.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fsvae_jax.compute import checks, platform
from fsvae_jax.compute.layout import interleave, reshape, vary_alike
from fsvae_jax.compute.linear import EXACT, kernel_gradient, matmul

_DIMS = ('NHWC', 'HWIO', 'NHWC')


def conv(x_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """3x3 convolution, stride 2, padding 1: [N, H, W, C] -> [N, H/2, W/2, out].

  Raises:
    ValueError: for arrays that are not of floats, a kernel that does not fit, an odd H or W.
  """
  x_NHWC, kernel = _checked(x_NHWC, kernel)
  if x_NHWC.shape[1] % 2 or x_NHWC.shape[2] % 2:
    raise checks.ArgumentError(f'x_NHWC has the shape {x_NHWC.shape}; H and W must be even')
  return platform.choose(x_NHWC, kernel, cpu=_conv_products, default=_conv_native)


def conv_transpose_phases(x_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """Transpose of `conv` (stride 2, padding 1, output padding 1), before its pixels are interleaved.

  [N, H, W, C] -> [N, H, W, 4 out]: at [h, w] the channels of the output's pixel (2h, 2w), then of
  (2h, 2w + 1), (2h + 1, 2w) and (2h + 1, 2w + 1), so that everything that treats pixels alike
  (norm, neurons, sums over time) can run before `interleave`.

  Raises:
    ValueError: for arrays that are not of floats, or a kernel that does not fit.
  """
  x_NHWC, kernel = _checked(x_NHWC, kernel)
  return platform.choose(x_NHWC, kernel, cpu=_transpose_products, default=_transpose_native)


def conv_transpose_stride1(x_NHWC: jax.Array, kernel: jax.Array) -> jax.Array:
  """Transposed 3x3 convolution, stride 1, padding 1: [N, H, W, C] -> [N, H, W, out].

  Raises:
    ValueError: for arrays that are not of floats, or a kernel that does not fit.
  """
  x_NHWC, kernel = _checked(x_NHWC, kernel)
  return platform.choose(x_NHWC, kernel, cpu=_stride1_shifts, default=_stride1_native)


def _checked(x_NHWC, kernel):
  x_NHWC = checks.floats('x_NHWC', x_NHWC, 'N', 'H', 'W', 'C')
  kernel = checks.floats('kernel', kernel, 3, 3, x_NHWC.shape[-1], 'out')
  return vary_alike(checks.promoted(x_NHWC, kernel))


def _native(x, kernel, strides, padding):
  return lax.conv_general_dilated(
    x, kernel, strides, (padding, padding), dimension_numbers=_DIMS, precision=EXACT
  )


def _conv_native(x, kernel):
  return _native(x, kernel, (2, 2), (1, 1))


@jax.custom_vjp
def _conv_products(x, kernel):
  return matmul(_patches(x), kernel.reshape(-1, kernel.shape[-1]))


def _patches(x):
  """[N, H, W, C] -> [N, H/2, W/2, 9 C]: the pixels under a kernel."""
  _, h, w, _ = x.shape
  padded = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
  taps = [padded[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)]
  return jnp.concatenate(taps, axis=-1)


def _conv_backward(inputs, dy):
  x, kernel = inputs
  dx = interleave(_transpose_products(dy, jnp.swapaxes(kernel, 2, 3)))
  return dx, kernel_gradient(_patches(x), dy).reshape(kernel.shape)


def _transpose_native(x, kernel):
  # One convolution with four outputs, of which every phase's kernel is a 2x2 part of the whole one:
  # the gradients of a dilated convolution are windows as large as the image in XLA's GPU backend.
  phase, tap, k = np.ogrid[:2, :2, :3]
  picked = (k == 1 + phase - 2 * tap).astype(kernel.dtype)  # kernel row of a phase's tap
  kernel = jnp.einsum('iak,jbl,klco->abcijo', picked, picked, kernel, precision=EXACT)
  return _native(x, kernel.reshape(*kernel.shape[:3], -1), (1, 1), (0, 1))


@jax.custom_vjp
def _transpose_products(x, kernel):
  # Output row 2h + i draws on kernel row 1 at input row h (i = 0), or on rows 2, 0 at h, h + 1.
  n, h, w, _ = x.shape
  padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
  rows = {0: [(0, 1)], 1: [(0, 2), (1, 0)]}  # phase -> (shift, kernel row)

  def phase(i, j):
    taps = [(di, dj, ki, kj) for di, ki in rows[i] for dj, kj in rows[j]]
    patches = jnp.concatenate(
      [padded[:, di : di + h, dj : dj + w] for di, dj, _, _ in taps], axis=-1
    )
    return matmul(patches, jnp.concatenate([kernel[ki, kj] for _, _, ki, kj in taps]))

  return jnp.concatenate([phase(i, j) for i in (0, 1) for j in (0, 1)], axis=-1)


def _patches_of_phases(x):
  """`_patches(interleave(x))`: [N, H, W, 4 C] -> [N, H, W, 9 C]."""
  n, h, w, c = x.shape
  padded = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
  padded = reshape(padded, n, h + 1, w + 1, 2, 2, c // 4)
  # Kernel row 0 meets phase 1 of the row before; row 1, phase 0 of the same; row 2, phase 1 of it.
  rows = [(0, 1), (1, 0), (1, 1)]  # (shift, phase)
  taps = [padded[:, di : di + h, dj : dj + w, i, j] for di, i in rows for dj, j in rows]
  return jnp.concatenate(taps, axis=-1)


def _transpose_backward(inputs, dy):
  x, kernel = inputs
  patches = _patches_of_phases(dy)
  kernel = jnp.swapaxes(kernel, 2, 3)
  d_kernel = kernel_gradient(patches, x).reshape(kernel.shape)
  return matmul(patches, kernel.reshape(-1, x.shape[-1])), jnp.swapaxes(d_kernel, 2, 3)


_conv_products.defvjp(lambda *inputs: (_conv_products(*inputs), inputs), _conv_backward)
_transpose_products.defvjp(
  lambda *inputs: (_transpose_products(*inputs), inputs), _transpose_backward
)


def _stride1_native(x, kernel):
  return _native(x, kernel[::-1, ::-1], (1, 1), (1, 1))


def _stride1_shifts(x, kernel):
  # Few outputs a pixel: multiply first, then add up the nine shifted products.
  n, h, w, c = x.shape
  products = matmul(x, jnp.moveaxis(kernel, 2, 0).reshape(c, -1))  # [N, H, W, 9 * out]
  products = jnp.pad(products, ((0, 0), (1, 1), (1, 1), (0, 0)))
  products = reshape(products, n, h + 2, w + 2, 9, kernel.shape[-1])
  shifted = [
    products[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, 3 * i + j] for i in range(3) for j in range(3)
  ]
  return sum(shifted)

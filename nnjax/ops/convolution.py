"""Convolution, channels last: the stock operation, and on a CPU one matrix product of patches.

XLA:CPU's convolution reaches a tenth of the speed of its matrix product, and inside a loop it is a
naive one, 12 to 30 times slower still. So on a CPU each tap of the kernel is a shifted view of the
input, and the views side by side (im2col) meet the kernel in one product. Only plain operations
are used: derivatives of any order, vmap, scan and pmap come from JAX.

The choice is made while tracing, by the default backend: an exported program keeps the form it was
traced with, which is right on every platform and merely slower on some.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

# Bytes of patches in flight: about the second-level caches of two cores.
CACHE = 2**21

Padding = str | Sequence[tuple[int, int]]


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Padding,
    *,
    input_dilation: Sequence[int] | None = None,
    kernel_dilation: Sequence[int] | None = None,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """x [N, *space, C], kernel [*window, C / groups, O] -> [N, *space', O] of the same dtype.

    Args:
      x: inputs, with any number of space axes.
      kernel: weights; as in linen and PyTorch the operation is a cross-correlation.
      strides: a step for each space axis.
      padding: 'SAME', 'VALID', or (low, high) for each space axis; negative numbers crop.
      input_dilation: spacing of the inputs, with zeros between them; None means 1.
      kernel_dilation: spacing of the taps; None means 1.
      groups: parts of the channels that do not see one another; C of them are depthwise.
      precision: of the products, as everywhere in JAX.
    """
    space = x.ndim - 2
    strides = tuple(strides)
    input_dilation = tuple(input_dilation or (1,) * space)
    kernel_dilation = tuple(kernel_dilation or (1,) * space)
    geometry = (strides, padding, input_dilation, kernel_dilation)
    if jax.default_backend() == 'cpu' and _served(x, kernel, geometry, groups):
        return _by_patches(x, kernel, geometry, groups, precision)
    axes = 'xyz'[:space]
    return lax.conv_general_dilated(
        x,
        kernel,
        *geometry,
        dimension_numbers=(f'N{axes}C', f'{axes}IO', f'N{axes}C'),
        feature_group_count=groups,
        precision=precision,
    )


def _served(x, kernel, geometry, groups) -> bool:
    """Whether patches can do it; the rest, mistakes and their messages included, is the stock's."""
    strides, padding, input_dilation, kernel_dilation = geometry
    shapes = (*x.shape, *kernel.shape)
    if not all(isinstance(length, int) and length > 0 for length in shapes):
        return False  # nothing to do, or the symbolic sizes of an export
    if not x.ndim == kernel.ndim == len(strides) + 2 or x.dtype != kernel.dtype:
        return False
    if x.shape[-1] != kernel.shape[-2] * groups or kernel.shape[-1] % groups:
        return False
    if isinstance(padding, str) and (padding not in ('SAME', 'VALID') or max(input_dilation) > 1):
        return False
    return min(_output_space(x, kernel, geometry)) > 0


def _pads(x, kernel, geometry) -> list[tuple[int, int]]:
    strides, padding, _, dilation = geometry
    if not isinstance(padding, str):
        return list(padding)
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation)]
    return lax.padtype_to_pads(x.shape[1:-1], window, strides, padding)


def _output_space(x, kernel, geometry) -> list[int]:
    strides, _, input_dilation, dilation = geometry
    pads = _pads(x, kernel, geometry)
    return [
        ((n - 1) * spread + 1 + sum(pad) - (k - 1) * d - 1) // stride + 1
        for n, k, stride, pad, spread, d in zip(
            x.shape[1:-1], kernel.shape, strides, pads, input_dilation, dilation
        )
    ]


def _by_patches(x, kernel, geometry, groups, precision) -> jax.Array:
    """The convolution as products of shifted views of the input with the kernel's taps."""
    strides, _, input_dilation, dilation = geometry
    pads = _pads(x, kernel, geometry)
    space = _output_space(x, kernel, geometry)
    window = kernel.shape[:-2]

    def convolve(x, kernel):
        interior = [(low, high, spread - 1) for (low, high), spread in zip(pads, input_dilation)]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *interior, (0, 0, 0)])
        views = []
        for tap in itertools.product(*map(range, window)):
            first = [t * d for t, d in zip(tap, dilation)]
            cut = (slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, space, strides))
            views.append(x[:, *cut])
        if kernel.shape[-2] == 1 and groups > 1:
            return _weighted_sum(views, kernel)
        parts = zip(*(jnp.split(view, groups, -1) for view in views))
        products = [
            _product(jnp.concatenate(part, -1), weights, precision)
            for part, weights in zip(parts, jnp.split(kernel, groups, -1))
        ]
        return jnp.concatenate(products, -1)

    patches = math.prod(window) * math.prod(space) * x.shape[-1] * x.dtype.itemsize
    return _in_slices(convolve, x, kernel, max(1, CACHE // patches))


def _product(patches, kernel, precision) -> jax.Array:
    """[N, *space, taps * C], [*window, C, O] -> [N, *space, O]."""
    weights = kernel.reshape(-1, kernel.shape[-1])
    return jnp.matmul(patches, weights, precision=precision)


def _weighted_sum(views, kernel) -> jax.Array:
    """Depthwise: views [N, *space, C] for each tap, [*window, 1, C * M] -> [N, *space, C * M]."""
    channels = views[0].shape[-1]
    weights = kernel.reshape(len(views), channels, -1)
    # TODO rank
    total = sum(view[..., None] * weight for view, weight in zip(views, weights))
    return total.reshape(*views[0].shape[:-1], -1)


def _in_slices(function: Callable, x: jax.Array, kernel: jax.Array, rows: int) -> jax.Array:
    """function(x, kernel) on about `rows` rows of x at a time, so that its patches stay in cache.

    The gradient builds the patches of a slice again: reading 35 MB of them from memory (batch 256)
    takes longer. The last slice is filled up with zeros.
    """
    count = -(-len(x) // rows)
    if count == 1:
        return function(x, kernel)
    # an even split if there is one nearby
    count = next((c for c in range(count, 2 * count) if len(x) % c == 0), count)
    size = -(-len(x) // count)
    filled = jnp.pad(x, [(0, count * size - len(x))] + [(0, 0)] * (x.ndim - 1))
    slices = filled.reshape(count, size, *x.shape[1:])
    y = lax.map(lambda piece: jax.checkpoint(function)(piece, kernel), slices)
    return y.reshape(-1, *y.shape[2:])[: len(x)]

"""Convolution, channels last: the stock operation, and on a CPU a kernel or a product of patches.

XLA:CPU's convolution reaches a tenth of the speed of its matrix product, and inside a loop it is a
naive one, 12 to 30 times slower still. So on a CPU it is oneDNN's (`nnjax.ops.native`). What that
does not serve, and every convolution where it cannot be had, is a product of patches: each tap of
the kernel is a shifted view of the input, and the views side by side (im2col) meet the kernel in
one product. Only plain operations are used: derivatives of any order, vmap, scan and pmap come from
JAX.

The choice is made while tracing, by the default backend: an exported program keeps the form it was
traced with, which is right on every platform and merely slower on some.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from nnjax.ops.native import convolution as native

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
        pads = _pads(x, kernel, geometry)
        if native.serves(x, kernel, pads, input_dilation):
            return native.convolution(x, kernel, strides, pads, kernel_dilation, groups)
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
    """Whether patches will do; the rest, mistakes and their messages included, is the stock's."""
    strides, padding, input_dilation, _ = geometry
    lengths = (*x.shape, *kernel.shape)
    if not all(isinstance(length, int) and length > 0 for length in lengths):
        return False  # nothing to compute, or the symbolic sizes of an export
    if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
        return False
    if x.ndim != kernel.ndim or len(strides) != x.ndim - 2:
        return False
    if x.shape[-1] != kernel.shape[-2] * groups or kernel.shape[-1] % groups:
        return False
    if isinstance(padding, str) and (padding not in ('SAME', 'VALID') or max(input_dilation) > 1):
        return False
    return min(_output_space(x, kernel, geometry)) > 0


def _pads(x, kernel, geometry) -> Sequence[tuple[int, int]]:
    strides, padding, _, dilation = geometry
    if not isinstance(padding, str):
        return padding
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation)]
    return lax.padtype_to_pads(x.shape[1:-1], window, strides, padding)


def _output_space(x, kernel, geometry) -> list[int]:
    strides, _, input_dilation, dilation = geometry
    pads = _pads(x, kernel, geometry)
    padded = [(n - 1) * d + 1 + sum(p) for n, d, p in zip(x.shape[1:], input_dilation, pads)]
    window = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation)]
    return [(n - w) // stride + 1 for n, w, stride in zip(padded, window, strides)]


def _by_patches(x, kernel, geometry, groups, precision) -> jax.Array:
    """The convolution as products of shifted views of the input with the kernel's taps."""
    strides, _, input_dilation, dilation = geometry
    space = _output_space(x, kernel, geometry)
    taps = list(itertools.product(*map(range, kernel.shape[:-2])))
    edges = [
        (low, high, d - 1) for (low, high), d in zip(_pads(x, kernel, geometry), input_dilation)
    ]

    def view(x, tap):
        first = (t * d for t, d in zip(tap, dilation))
        return x[:, *(slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, space, strides))]

    depthwise = groups > 1 and kernel.shape[-2] == 1

    def convolve(x, kernel):
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
        if depthwise:
            return _depthwise([view(x, tap) for tap in taps], kernel)
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1))
        products = [
            jnp.tensordot(
                jnp.concatenate([view(part, tap) for tap in taps], -1),
                weights.reshape(-1, weights.shape[-1]),
                axes=1,
                precision=precision,
            )
            for part, weights in parts
        ]
        return jnp.concatenate(products, -1)

    if depthwise or len(taps) == 1:  # no patches
        return convolve(x, kernel)
    size = x.dtype.itemsize * x.shape[-1] * math.prod(space) * len(taps)
    return _in_slices(convolve, x, kernel, max(1, CACHE // size))


def _depthwise(views, kernel) -> jax.Array:
    """A view [N, *space, C] for each tap, [*window, 1, C * M] -> [N, *space, C * M]."""
    shape, dtype = views[0].shape, views[0].dtype
    wide = dtype if dtype.itemsize >= 4 else jnp.float32
    weights = kernel.astype(wide).reshape(len(views), *(1,) * (len(shape) - 1), shape[-1], -1)
    total = sum(view.astype(wide)[..., None] * w for view, w in zip(views, weights))
    return total.reshape(*shape[:-1], -1).astype(dtype)


def _in_slices(function: Callable, x: jax.Array, kernel: jax.Array, rows: int) -> jax.Array:
    """function(x, kernel) on about `rows` rows of x at a time, so that its patches stay in cache.

    The gradient builds a slice's patches again, which is faster than reading them from memory.
    """
    count = -(-len(x) // rows)
    if count == 1:
        return function(x, kernel)
    count = next((c for c in range(count, 2 * count) if len(x) % c == 0), count)
    rows = -(-len(x) // count)
    spare = count * rows - len(x)  # rows of zeros, where no number nearby divides the batch
    filled = jnp.pad(x, [(0, spare)] + [(0, 0)] * (x.ndim - 1))
    slices = filled.reshape(count, rows, *x.shape[1:])
    y = lax.map(lambda piece: jax.checkpoint(function)(piece, kernel), slices)
    return y.reshape(-1, *y.shape[2:])[: len(x)]

"""Pooling, channels last, with gradients of its own.

XLA's gradient of a windowed maximum (select-and-scatter) is the slowest part of a small network on
a CPU. Where windows do not overlap they become axes, and the gradient goes where the maximum was;
where they do, a kernel (`nnjax.ops.native.pool`) takes over on a CPU.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nnjax.ops.convolution import convolution
from nnjax.ops.native import pool as native

Padding = str | Sequence[tuple[int, int]]


def max_pool(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = 'VALID',
) -> jax.Array:
    """x [N, *space, C] -> [N, *space', C], the maximum of each window.

    Among equal maxima the first, in row-major order, takes the gradient, as in PyTorch and XLA.

    Args:
      x: inputs, with any number of space axes.
      window: size along each space axis.
      strides: steps between windows; None puts windows side by side (linen's default is 1).
      padding: 'VALID', 'SAME' or (low, high) for each space axis; padding never is the maximum.
    """
    lowest = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    lowest = np.array(lowest, x.dtype)  # NumPy's: reduce_window knows its gradient for a constant
    window, strides, pads = _geometry(x, window, strides, padding)
    if window == strides:
        windows, axes = _side_by_side(x, window, pads, lowest)
        # One axis at a time, the last first, also finds the first maximum, in fewer comparisons.
        at_once = [axes] if math.prod(window) <= 9 else [(axis,) for axis in reversed(axes)]
        return functools.reduce(_first_max, at_once, windows)
    if jax.default_backend() == 'cpu' and native.serves(x, window, pads):
        return native.max_pool(x, window, strides, pads)
    return lax.reduce_window(x, lowest, lax.max, *_with_outer(window, strides, pads))


def avg_pool(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = 'VALID',
) -> jax.Array:
    """x [N, *space, C] -> [N, *space', C], the mean of each window, in which padding counts as 0.

    Arguments are those of `max_pool`; the mean of whole numbers is float32.
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(jnp.float32)
    zero = np.zeros((), x.dtype)
    window, strides, pads = _geometry(x, window, strides, padding)
    if window == strides:
        windows, axes = _side_by_side(x, window, pads, zero)
        return jnp.mean(windows, axes)
    if jax.default_backend() == 'cpu' and x.ndim <= 4:  # as a convolution it has a kernel
        mean = jnp.full((*window, 1, x.shape[-1]), 1 / math.prod(window), x.dtype)
        return convolution(x, mean, strides, pads, groups=x.shape[-1])
    total = lax.reduce_window(x, zero, lax.add, *_with_outer(window, strides, pads))
    return total / math.prod(window)


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """x [N, *space, C] -> [N, *(size,) * len(space), C], means of windows that cover the space.

    Along an axis of n entries window i holds those from floor(i n / size) to
    ceil((i + 1) n / size), as in PyTorch: windows may overlap, and repeat where n < size.
    """
    for axis, n in enumerate(x.shape[1:-1], 1):
        if n == size:
            continue
        cell, entry = np.arange(size)[:, None], np.arange(n)[None]
        inside = (entry >= cell * n // size) & (entry < -(-(cell + 1) * n // size))
        mean = jnp.asarray(inside / inside.sum(1, keepdims=True), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(mean, x, (1, axis), precision='highest'), 0, axis)
    return x


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _first_max(windows: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Maximum over `axes`, differentiated as the first element that equals it.

    jnp.max would share the gradient among equal elements. The elements of a window are compared one
    by one, which XLA:CPU fuses, unlike a reduction over axes that are not adjacent.
    """
    return functools.reduce(jnp.maximum, _elements(windows, axes))


@_first_max.defjvp
def _first_max_jvp(axes, primals, tangents):
    (windows,), (tangent,) = primals, tangents
    elements = _elements(windows, axes)
    top = functools.reduce(jnp.maximum, elements)
    first = jnp.full(top.shape, len(elements) - 1, jnp.int32)
    for place, element in reversed(list(enumerate(elements[:-1]))):
        first = jnp.where(element == top, place, first)
    shape = [n if axis in axes else 1 for axis, n in enumerate(windows.shape)]
    places = jnp.arange(len(elements), dtype=jnp.int32).reshape(shape)
    chosen = places == jnp.expand_dims(first, axes)
    return top, jnp.sum(jnp.where(chosen, tangent, 0), axes)


def _elements(windows, axes) -> list[jax.Array]:
    """Every element of the windows, row-major, as arrays without `axes`."""
    front = jnp.moveaxis(windows, axes, range(len(axes)))
    return [front[place] for place in itertools.product(*(range(windows.shape[a]) for a in axes))]


def _geometry(x, window, strides, padding):
    """(window, strides, (low, high) pads), each with an entry for every space axis."""
    space = x.shape[1:-1]
    window = (window,) * len(space) if isinstance(window, int) else tuple(window)
    strides = window if strides is None else strides
    strides = (strides,) * len(space) if isinstance(strides, int) else tuple(strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(space, window, strides, padding)
    return window, strides, tuple(map(tuple, padding))


def _with_outer(window, strides, pads):
    """The same with entries for the batch and the channels."""
    return (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))


def _side_by_side(x, window, pads, fill):
    """[N, *space, C] -> windows [N, S1, W1, S2, W2, ..., C] and the axes of W1, W2, ..."""
    space = x.shape[1:-1]
    counts = [(n + low + high) // w for n, w, (low, high) in zip(space, window, pads)]
    # Fills up to the first window and crops what is left over after the last.
    edges = [(low, c * w - n - low, 0) for n, c, w, (low, _) in zip(space, counts, window, pads)]
    x = lax.pad(x, fill, [(0, 0, 0), *edges, (0, 0, 0)])
    split = [length for pair in zip(counts, window) for length in pair]
    axes = tuple(range(2, 2 + 2 * len(window), 2))
    return x.reshape(x.shape[0], *split, x.shape[-1]), axes

"""The maximum of windows as JAX primitives: the maximum, what lies where it is, and the gradient.

`max_pool` (x) -> y is the operation. Its derivative is linear: `max_pool_pick` (x, dx) -> dy takes
dx from the place of each maximum, and its transpose `max_pool_spread` (x, dy) -> dx puts dy there.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nnjax.ops.native import library
from nnjax.ops.native.primitive import Kernel, Linear


class Geometry(NamedTuple):
    """Windows over two space axes."""

    window: tuple[int, int]
    strides: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]
    space: tuple[int, int]  # of x

    @property
    def output(self) -> tuple[int, ...]:
        """The space of y."""
        sides = zip(self.space, self.low, self.high, self.window, self.strides)
        return tuple((n + lo + hi - k) // s + 1 for n, lo, hi, k, s in sides)


def max_pool(x: jax.Array, window, strides, pads) -> jax.Array:
    """x [N, *space, C] -> [N, *space', C]; one or two space axes."""
    one = x.ndim == 3
    if one:  # the space of a sequence is a picture of height 1
        x, window, strides, pads = x[:, None], (1, *window), (1, *strides), ((0, 0), *pads)
    low, high = zip(*pads)
    y = _maximum(x, static=Geometry(window, strides, low, high, x.shape[1:3]))[0]
    return y[:, 0] if one else y


def serves(x, window, pads) -> bool:
    """Whether these arguments of a valid pool are for the kernels."""
    return (
        x.ndim in (3, 4)
        and all(0 <= side < w for w, both in zip(window, pads) for side in both)
        and library.serves(x)
    )


def _pooled(x, g: Geometry):
    return (x.shape[0], *g.output, x.shape[-1])


def _stock(x, *, static: Geometry) -> list[jax.Array]:
    """The same by XLA's reduction of windows."""
    pads = ((0, 0), *zip(static.low, static.high), (0, 0))
    lowest = np.array(-np.inf, x.dtype)
    window, strides = (1, *static.window, 1), (1, *static.strides, 1)
    return [lax.reduce_window(x, lowest, lax.max, window, strides, pads)]


def _pick_stock(x, dx, *, static: Geometry) -> list[jax.Array]:
    return jax.jvp(functools.partial(_stock, static=static), (x,), (dx,))[1]


def _spread_stock(x, dy, *, static: Geometry) -> list[jax.Array]:
    return list(jax.vjp(functools.partial(_stock, static=static), x)[1]([dy]))


def _native(target: str, x, *rest, static: Geometry) -> list[jax.Array]:
    shape = _pooled(x, static)
    taps = int(np.prod(shape)) * int(np.prod(static.window))
    pieces = library.pieces(len(x), library.PASS * taps)
    # A gradient is a sum where windows overlap: float32.
    out = (
        jax.ShapeDtypeStruct(x.shape, jnp.float32) if rest else jax.ShapeDtypeStruct(shape, x.dtype)
    )
    places = {'window': static.window, 'strides': static.strides, 'low': static.low}
    spare = 2 * 4 * pieces * x.shape[-1]
    made = library.run(target, spare, [out], x, *rest, pieces=pieces, **places)
    return [made[0].astype(x.dtype)]


def _y(x, *rest, static: Geometry):
    return [(_pooled(x, static), x.dtype)]


def _dx(x, *rest, static: Geometry):
    return [(x.shape, x.dtype)]


_maximum = Kernel('max_pool', _y, _stock, functools.partial(_native, 'PoolMaximum'), batched=1)
_pick = Linear('max_pool_pick', _y, _pick_stock, lambda *arrays, static: None, batched=2)
_spread = Linear(
    'max_pool_spread', _dx, _spread_stock, functools.partial(_native, 'PoolSpread'), batched=2
)
_pick.transposed_by(_spread)
_spread.transposed_by(_pick)
_maximum.derives_by(_pick)

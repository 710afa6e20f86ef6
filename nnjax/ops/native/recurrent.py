"""The recurrences of LSTM and GRU by kernels that take whole sequences, forward and backward.

`ops.recurrent` has the stock forms and says what they compute.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.ops.native import library
from nnjax.ops.native.primitive import Kernel


def forward(cell: str, stock: Callable) -> Kernel:
    """(x [N, T, G H], w [H, G H], b [H], h, c) -> hs [N, T + 1, H], cs likewise, gates [N, T, 4 H]."""

    def results(x, w, b, h, c, *, static):
        rows, time, hidden = *x.shape[:2], w.shape[0]
        longer = lambda state: ((rows, time + 1, state.shape[-1]), x.dtype)
        return [longer(h), longer(c), ((rows, time, 4 * hidden), x.dtype)]

    return Kernel(f'{cell}_forward', results, _plain(stock), functools.partial(_call, cell, False))


def backward(cell: str, stock: Callable) -> Kernel:
    """(gates, w, hs, cs, dhs [N, T, H], dc) -> the gradients of gates' inputs, of h and of c."""

    def results(gates, w, hs, cs, dhs, dc, *, static):
        first = (gates.shape[0], w.shape[0])
        return [(gates.shape, gates.dtype), (first, gates.dtype), (dc.shape, gates.dtype)]

    return Kernel(f'{cell}_backward', results, _plain(stock), functools.partial(_call, cell, True))


def _plain(stock: Callable) -> Callable:
    return lambda *arrays, static: stock(*arrays)


def _call(cell: str, backward: bool, x, w, *rest, static) -> list[jax.Array] | None:
    """The call of the kernel, or None where there is none or it does not serve these arrays."""
    if x.dtype != jnp.float32 or not library.serves(x):
        return None
    rows, time, hidden = *x.shape[:2], w.shape[0]
    pieces = library.pieces(rows, 2 * rows * w.size)
    numbers = (cell == 'gru', backward, rows, time, hidden, pieces)
    if backward:
        shapes = [x.shape, (rows, hidden), rest[-1].shape]
    else:
        state, memory = rest[1:]
        shapes = [(rows, time + 1, s.shape[-1]) for s in (state, memory)] + [
            (rows, time, 4 * hidden)
        ]
    out = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    target = f'{cell.title()}{"Backward" if backward else "Forward"}'
    return library.call(target, 'RecurrentScratch', numbers, out, x, w, *rest, pieces=pieces)

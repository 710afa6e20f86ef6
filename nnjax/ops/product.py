"""The matrix products of a dense layer: oneDNN's on a CPU where it can be had, XLA's elsewhere."""

import jax
from jax import lax

from nnjax.ops.native import matmul as native


def product(x: jax.Array, w: jax.Array, **options) -> jax.Array:
    """x [..., K], w [K, N] -> [..., N]; options are those of `lax.dot_general`."""
    if _native(x, w, options):
        return native.matmul(x, w)
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), **options)


def row_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a [..., M], b [..., N] -> [M, N], summed over the axes in front: a weight's gradient."""
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    if _native(a, b, {}):
        return native.row_matmul(a, b)
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def _native(a, b, options) -> bool:
    plain = all(option is None for option in options.values())
    return plain and jax.default_backend() == 'cpu' and native.serves(a, b)

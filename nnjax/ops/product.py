"""The matrix product of a dense layer: oneDNN's on a CPU where it can be had, XLA's elsewhere."""

import jax
from jax import lax

from nnjax.ops.native import matmul as native


def product(x: jax.Array, w: jax.Array, **options) -> jax.Array:
    """x [..., K], w [K, N] -> [..., N]; options are those of `lax.dot_general`."""
    plain = all(option is None for option in options.values())
    if plain and jax.default_backend() == 'cpu' and native.serves(x, w):
        return native.matmul(x, w)
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())), **options)

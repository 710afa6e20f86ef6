"""Rows of different lengths in one array: which positions are real, and each row turned round."""

import jax
import jax.numpy as jnp


def real(lengths: jax.Array, time: int) -> jax.Array:
    """lengths [N] -> bool [N, T]: whether a position lies before its row's length."""
    return jnp.arange(time)[None] < lengths[:, None]


def cleaned(x: jax.Array, real: jax.Array | None) -> jax.Array:
    """x [N, T, ...] with zeros where `real` [N, T] is false, whatever stood there, even NaN."""
    if real is None:
        return x
    real = real.reshape(real.shape + (1,) * (x.ndim - 2))
    return jnp.where(real, x, jnp.zeros((), x.dtype))


def last(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """x [N, T, ...] -> [N, ...] at each row's last real position; the first, if it has none."""
    if lengths is None:
        return x[:, -1]
    index = jnp.clip(lengths - 1, 0, x.shape[1] - 1)
    return jnp.take_along_axis(x, _axes(index[:, None], x), 1)[:, 0]


@jax.custom_vjp
def reverse(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """x [N, T, ...] with the real positions of each row in the opposite order; the rest stays.

    Its own inverse, and so its own gradient.
    """
    if lengths is None:
        return x[:, ::-1]
    time = jnp.arange(x.shape[1])[None]
    lengths = lengths[:, None]
    index = jnp.where(time < lengths, jnp.minimum(lengths, x.shape[1]) - 1 - time, time)
    return jnp.take_along_axis(x, _axes(index, x), 1)


reverse.defvjp(
    lambda x, lengths: (reverse(x, lengths), lengths),
    lambda lengths, cotangent: (reverse(cotangent, lengths), None),
)


def asked(ids: jax.Array, real: jax.Array | None = None, end: int = 3) -> jax.Array:
    """ids [N, T] of rows of two parts, such as a question, `end` and a text -> bool [N, T].

    Whether a token stands behind its row's first `end` and an equal one before it: the exact match
    of Chen et al. (2017). Ids up to `end` are signs, which match nothing.
    """
    ids = cleaned(ids, real)
    first = jnp.cumsum(ids == end, 1) == 0
    equal = (ids[:, :, None] == ids[:, None, :]) & first[:, None, :]
    return jnp.any(equal, -1) & ~first & (ids > end)


def starts(segments: jax.Array) -> jax.Array:
    """segments [N, T] of packed rows -> int32 [N, T]: each position counted from its segment's first."""
    time = jnp.broadcast_to(jnp.arange(segments.shape[1])[None], segments.shape)
    before = jnp.pad(segments, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    first = jax.lax.cummax(jnp.where(segments != before, time, 0), axis=1)
    return time - first


def _axes(index: jax.Array, x: jax.Array) -> jax.Array:
    return index.reshape(index.shape + (1,) * (x.ndim - 2))

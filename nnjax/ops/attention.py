"""Attention of queries to keys (Vaswani et al., 2017), and positions by rotation (Su et al., 2021)."""

import functools
import math

import jax
import jax.numpy as jnp

FUSED_TYPES = (jnp.bfloat16, jnp.float16)
FUSED_WIDTH = 128  # of a head, at most


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    lengths: jax.Array | None = None,
    segments: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    """q [B, T, H, D], k, v [B, S, G, D] -> [B, T, H, D]: softmax(q k' / sqrt(D)) v, head by head.

    H is a multiple of G: so many heads share keys and values (Ainslie et al., 2023). The softmax is
    float32. A query that may see no key takes the mean of all values.

    Args:
      q, k, v: queries, keys, values.
      lengths: [B], how many keys are real; None for all.
      segments: [B, T], with S = T: a query sees the keys of its own segment only.
      causal: with S = T, whether a query sees its own position and those before only.
    """
    if jax.default_backend() == 'cpu':
        mask = _mask(q, k, lengths, segments, causal)
        return attend(q, k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3), mask)
    fused = q.dtype in FUSED_TYPES and q.shape[-1] <= FUSED_WIDTH and q.shape[-1] % 8 == 0
    # cuDNN takes lengths and causality, not a mask; a lone query is not worth it
    fused = fused and jax.default_backend() == 'gpu' and segments is None and q.shape[1] > 1
    fused = fused and _cudnn(q.dtype)
    with jax.numpy_dtype_promotion('standard'):
        return jax.nn.dot_product_attention(
            q,
            k,
            v,
            mask=None if segments is None else _same(segments),
            key_value_seq_lengths=lengths,
            is_causal=causal,
            implementation='cudnn' if fused else 'xla',
        )


@functools.cache
def _cudnn(dtype) -> bool:
    """Whether cuDNN's kernel compiles here: not before Ampere, nor on AMD's devices."""
    x = jax.ShapeDtypeStruct((1, 64, 1, 64), dtype)
    fused = functools.partial(jax.nn.dot_product_attention, implementation='cudnn')
    try:
        jax.jit(fused).lower(x, x, x).compile()
    except Exception:  # of many kinds, by what is missing
        return False
    return True


def rotated(x: jax.Array, positions: jax.Array, base: float = 10_000.0) -> jax.Array:
    """x [B, T, H, D], positions [1 or B, T] -> the same, pairs of numbers turned by angles.

    Numbers i and i + D / 2 are turned by position / base^(2 i / D), so that the product of a query
    and a key depends on the distance between them.
    """
    half = x.shape[-1] // 2
    speeds = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * speeds[None, None]
    cos, sin = (f(angles)[:, :, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """q [B, T, H, D], k [B, G, D, S], v [B, G, S, D] -> [B, T, H, D]: `attention` as two products.

    The order that products on a CPU like, and so that of keys and values that are kept. Heads that
    share keys are further queries, and what is divided by the softmax's sum is the result, which is
    smaller than the weights. The mask, bool, is broadcast to [B, T, S].
    """
    (rows, time, heads, width), (groups, keys) = q.shape, v.shape[1:3]
    share = heads // groups
    q = q.reshape(rows, time, groups, share, width).transpose(0, 2, 3, 1, 4)
    q = q.reshape(rows, groups, share * time, width) * (1 / math.sqrt(width))
    scores = jnp.matmul(q, k, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = scores.reshape(rows, groups, share, time, keys)
        scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
        scores = scores.reshape(rows, groups, share * time, keys)
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, -1, keepdims=True)))
    total = jnp.sum(weights, -1, keepdims=True)
    y = (weights.astype(v.dtype) @ v) / total.astype(v.dtype)
    y = y.reshape(rows, groups, share, time, width).transpose(0, 3, 1, 2, 4)
    return y.reshape(rows, time, heads, width)


def _mask(q, k, lengths, segments, causal) -> jax.Array | None:
    """bool [1 or B, 1 or T, S], or None where all is seen."""
    parts = []
    if lengths is not None:
        parts.append(jnp.arange(k.shape[1])[None, None] < lengths[:, None, None])
    if segments is not None:
        parts.append(_same(segments)[:, 0])
    if causal:
        parts.append(jnp.tril(jnp.ones((1, q.shape[1], k.shape[1]), bool)))
    if not parts:
        return None
    mask = parts[0]
    for part in parts[1:]:
        mask = mask & part
    return mask


def _same(segments) -> jax.Array:
    """bool [B, 1, T, T]: whether two positions are of one segment."""
    return segments[:, None, :, None] == segments[:, None, None, :]

"""Normalisation, channels last: by a batch, by an example, by neighbouring channels.

A layer of batch normalisation costs no arithmetic to speak of, only passes over memory. JAX's
derivative of the plain formula makes about twelve; here the statistics are one, the result one, and
the gradient two.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from nnjax.ops.native import normalize as native
from nnjax.ops.pool import max_pool


def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float = 1e-5,
    relu: bool = False,
    axis: str | None = None,
    real: jax.Array | None = None,
    pool: int = 1,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x [..., C], scale, bias [C] -> y like x, mean [C], variance [C] (Ioffe and Szegedy, 2015).

    Mean and variance (that of the population, divided by the count) are float32, over all axes but
    the last, and have no gradient. y = scale (x - mean) / sqrt(variance + epsilon) + bias.

    Args:
      x: inputs.
      scale, bias: parameters, float32.
      epsilon: added to the variance.
      relu: whether y is the positive part of that.
      axis: name of the device axis whose devices share the statistics, or None.
      real: [N], 0 for a row that has no part in the statistics, else 1; None where all have.
      pool: side of the windows, side by side, of which y has the maxima alone.
    """
    if real is None:
        return _whole(x, scale, bias, epsilon, relu, axis, pool)
    each = tuple(range(1, x.ndim - 1))  # few batches have such rows: XLA's own passes will do
    x = jnp.where(_rows(real, x), x, jnp.zeros((), x.dtype))
    wide = x.astype(jnp.float32)
    mean = batch_mean(jnp.mean(wide, each), axis, real)
    offset = wide - mean.reshape((1,) * (x.ndim - 1) + mean.shape)
    variance = batch_mean(jnp.mean(jnp.square(offset), each), axis, real)
    y = apply_norm(x, mean, variance, scale, bias, epsilon, relu, pool)
    return y, lax.stop_gradient(mean), lax.stop_gradient(variance)


def _rows(real, x):
    """Which rows of x [N, ...] are real, bool [N, 1, ...]."""
    return (real > 0).reshape(real.shape + (1,) * (x.ndim - 1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _whole(x, scale, bias, epsilon, relu, axis, pool):
    return _forward(x, scale, bias, epsilon, relu, axis, pool)[0]


def apply_norm(
    x, mean, variance, scale, bias, epsilon: float = 1e-5, relu: bool = False, pool: int = 1
):
    """x [..., C] normalised by given statistics [C], as `batch_norm` does."""
    x = _extreme(x, scale, pool)
    wide = lambda v: v.reshape((1,) * (x.ndim - 1) + v.shape)
    gain = scale * lax.rsqrt(variance + epsilon)
    y = (x.astype(jnp.float32) - wide(mean)) * wide(gain) + wide(bias)
    return (jnp.maximum(y, 0) if relu else y).astype(x.dtype)


def _extreme(x, scale, pool):
    """Of each window the number that becomes its maximum: the least where the scale is negative.

    So the pool comes before the normalisation, and what follows touches a quarter of the numbers.
    """
    if pool == 1:
        return x
    sign = jnp.where(lax.stop_gradient(scale) < 0, -1, 1).astype(x.dtype)
    sign = sign.reshape((1,) * (x.ndim - 1) + sign.shape)
    return sign * max_pool(sign * x, pool)


def _forward(x, scale, bias, epsilon, relu, axis, pool):
    mean, variance = native.moments(x)
    if axis:  # every device has as many rows
        whole = lax.pmean(mean, axis)
        variance = lax.pmean(variance + jnp.square(mean - whole), axis)
        mean = whole
    top = _extreme(x, scale, pool)
    y = apply_norm(top, mean, variance, scale, bias, epsilon, relu)
    return (y, mean, variance), (x, top, mean, variance, scale, bias)


def _backward(epsilon, relu, axis, pool, saved, cotangents):
    x, top, mean, variance, scale, bias = saved
    dy = cotangents[0]
    wide = lambda v: v.reshape((1,) * (x.ndim - 1) + v.shape)
    rstd = lax.rsqrt(variance + epsilon)
    gain = scale * rstd
    # The sums over this device's rows of g and of g (x - mean), g what reaches the line before relu.
    plain, centred = native.sums(dy, top, mean, gain, bias, relu)
    count = x.size // x.shape[-1]
    both = jnp.stack([plain, centred]) / count
    mean_plain, mean_centred = lax.pmean(both, axis) if axis else both
    g = dy
    if relu:
        line = (top.astype(jnp.float32) - wide(mean)) * wide(gain) + wide(bias)
        g = jnp.where(line > 0, g, jnp.zeros((), g.dtype))
    g = jax.vjp(lambda x: _extreme(x, scale, pool), x)[1](g)[0].astype(jnp.float32)
    offset = x.astype(jnp.float32) - wide(mean)
    dx = wide(gain) * (g - wide(mean_plain) - offset * wide(jnp.square(rstd) * mean_centred))
    return dx.astype(x.dtype), centred * rstd, plain


_whole.defvjp(_forward, _backward)


def batch_mean(x: jax.Array, axis: str | None = None, real: jax.Array | None = None) -> jax.Array:
    """x [N, ...] -> its mean [...] over the rows of all devices of the axis `axis`, if any.

    `real` is that of `batch_norm`.
    """
    if real is None:
        mean = jnp.mean(x, 0)
        return lax.pmean(mean, axis) if axis else mean  # every device has as many rows
    total = (
        jnp.sum(jnp.where(_rows(real, x), x, jnp.zeros((), x.dtype)), 0),
        jnp.sum(real.astype(x.dtype)),
    )
    total, count = lax.psum(total, axis) if axis else total
    return total / jnp.maximum(count, 1)


def layer_norm(x, scale, bias, epsilon: float = 1e-5, relu: bool = False):
    """x [..., C], each position normalised over its channels (Ba et al., 2016); scale, bias [C]."""
    return _by_own_statistics(x, (x.ndim - 1,), scale, bias, epsilon, relu)


def group_norm(x, scale, bias, groups: int, epsilon: float = 1e-5, relu: bool = False):
    """x [N, ..., C], each example normalised over its space and each of `groups` groups of
    neighbouring channels (Wu and He, 2018); scale, bias [C]."""
    split, scale, bias = (v.reshape(*v.shape[:-1], groups, -1) for v in (x, scale, bias))
    axes = (*range(1, x.ndim - 1), x.ndim)
    return _by_own_statistics(split, axes, scale, bias, epsilon, relu).reshape(x.shape)


def _by_own_statistics(x, axes, scale, bias, epsilon, relu):
    """x normalised over `axes`; scale and bias have the shape of its last axes."""
    fit = lambda v: v.reshape((1,) * (x.ndim - v.ndim) + v.shape)
    wide = x.astype(jnp.float32)
    offset = wide - jnp.mean(wide, axes, keepdims=True)
    variance = jnp.mean(jnp.square(offset), axes, keepdims=True)
    y = offset * lax.rsqrt(variance + epsilon) * fit(scale) + fit(bias)
    return (jnp.maximum(y, 0) if relu else y).astype(x.dtype)


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> jax.Array:
    """x [..., C] / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta.

    Channels beyond the first and the last count as 0 (Krizhevsky et al., 2012, with alpha divided
    by the size, as Caffe and PyTorch do).
    """
    wide = x.astype(jnp.float32)
    edges = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(wide), edges)
    total = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return (wide * (k + alpha / size * total) ** -beta).astype(x.dtype)

"""The sums over rows of [..., C] that batch normalisation needs, one pass over memory each."""

import functools

import jax
import jax.numpy as jnp

from nnjax.ops.native import library
from nnjax.ops.native.primitive import Kernel


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x [..., C] -> mean and variance (the population's) [C], float32, over all other axes."""
    return _moments(x, static=None)


def sums(dy, x, mean, gain, bias, relu: bool) -> tuple[jax.Array, jax.Array]:
    """dy, x [..., C], mean, gain, bias [C] -> the sums of g and of g (x - mean) [C], float32.

    g is dy, with `relu` only where gain (x - mean) + bias is positive.
    """
    return _sums(dy, x, mean, gain, bias, static=relu)


def _results(x, *rest, static):
    return [(x.shape[-1:], jnp.float32)] * 2


def _moments_stock(x, *, static):
    x = x.astype(jnp.float32).reshape(-1, x.shape[-1])
    mean = jnp.mean(x, 0)
    return [mean, jnp.mean(jnp.square(x - mean[None]), 0)]


def _sums_stock(dy, x, mean, gain, bias, *, static):
    dy, x = (a.astype(jnp.float32).reshape(-1, a.shape[-1]) for a in (dy, x))
    centred = x - mean[None]
    g = jnp.where(centred * gain[None] + bias[None] > 0, dy, 0) if static else dy
    return [jnp.sum(g, 0), jnp.sum(g * centred, 0)]


def _native(target: str, x, *rest, static):
    """The call of the kernel, or None where there is none."""
    if not library.serves(x):
        return None
    channels = x.shape[-1]
    pieces = library.pieces(x.size // channels, library.PASS * x.size)
    out = [jax.ShapeDtypeStruct((channels,), jnp.float32)] * 2
    options = {} if static is None else {'relu': static}
    sums = 4 * 4 * pieces * channels  # bytes: two sums a piece, and as much to work in
    return library.run(target, sums, out, x, *rest, pieces=pieces, **options)


def _kernel(name, stock, target) -> Kernel:
    return Kernel(name, _results, stock, functools.partial(_native, target))


_moments = _kernel('column_moments', _moments_stock, 'ColumnMoments')
_sums = _kernel('column_sums', _sums_stock, 'ColumnSums')

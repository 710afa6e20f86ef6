"""Spectra, mel bands, cepstra and their slopes, as librosa defines them, inside a compiled program.

Sound is float [..., T], features [..., N, F]. Where a `length` is given (int32, one a sound), what
stands behind it means nothing: the results are those of the shorter sound, zeros behind them.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.ops.native import mel
from nnjax.ops.product import product

Scale = Literal['slaney', 'htk']


def real(x: jax.Array, length: jax.Array, axis: int = -1) -> jax.Array:
    """x [..., T, ...], length [...] (the axes before `axis`) -> x with zeros behind the length."""
    after = x.ndim - 1 - axis % x.ndim
    inside = jnp.arange(x.shape[axis]) < jnp.asarray(length)[..., None]
    return jnp.where(inside.reshape(*inside.shape, *(1,) * after), x, jnp.zeros((), x.dtype))


def frame_count(samples, hop: int):
    """Samples -> frames: one about every multiple of `hop` from 0 to the last sample's end."""
    return 1 + samples // hop


def power_spectrum(x: jax.Array, fft: int, window: int, hop: int) -> jax.Array:
    """x [..., T] -> [..., 1 + T // hop, 1 + fft // 2], the squared magnitudes.

    Frame n is centred on sample n * hop, zeros before and behind the sound, under a periodic Hann
    window of `window` samples, filled up with zeros to `fft`.
    """
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    pieces = _frames(x.astype(jnp.float32), fft // 2 - (fft - window) // 2, shape, hop, fft)
    spectrum = jnp.fft.rfft(pieces)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


def _frames(x: jax.Array, before: int, shape: np.ndarray, hop: int, fft: int) -> jax.Array:
    """x [..., T] -> [..., 1 + T // hop, fft]: frames times `shape`, filled up with zeros.

    The first begins `before` samples before the sound. They are made of blocks of `hop` samples
    side by side: plain copies, where a gather would take ten times as long.
    """
    count, blocks = frame_count(x.shape[-1], hop), -(-len(shape) // hop)
    whole = (count + blocks - 1) * hop
    edges = [(0, 0)] * (x.ndim - 1)
    x = jnp.pad(x, [*edges, (before, max(0, whole - before - x.shape[-1]))])[..., :whole]
    x = x.reshape(*x.shape[:-1], whole // hop, hop)
    parts = [shape[n * hop : (n + 1) * hop] for n in range(blocks)]
    parts = [
        x[..., n : n + count, : len(part)] * part.reshape((1,) * (x.ndim - 1) + (-1,))
        for n, part in enumerate(parts)
    ]
    # Zeros that are spread over devices as x is; to pad all parts at once takes four times as long.
    rest = jnp.pad(jnp.zeros_like(parts[0][..., :0]), [*edges, (0, 0), (0, fft - len(shape))])
    return jnp.concatenate([*parts, rest], -1)


def to_mel(hertz, scale: Scale = 'slaney') -> np.ndarray:
    """Hertz -> mel: O'Shaughnessy's formula (htk), or linear up to 1 kHz and logarithmic above."""
    hertz = np.asarray(hertz, np.float64)
    if scale == 'htk':
        return 2595 * np.log10(1 + hertz / 700)
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def from_mel(mel, scale: Scale = 'slaney') -> np.ndarray:
    """`to_mel`'s inverse."""
    mel = np.asarray(mel, np.float64)
    if scale == 'htk':
        return 700 * (10 ** (mel / 2595) - 1)
    above = 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27)
    return np.where(mel < 15, mel * 200 / 3, above)


@functools.cache
def mel_filters(
    rate: int, fft: int, mels: int, low: float, high: float, scale: Scale = 'slaney'
) -> np.ndarray:
    """Triangles evenly spaced in mel between `low` and `high` Hz -> float32 [1 + fft // 2, mels].

    Each has area 1 in Hz (Slaney, Auditory toolbox, 1998), on either scale.
    """
    edges = from_mel(np.linspace(to_mel(low, scale), to_mel(high, scale), mels + 2), scale)
    bins = np.linspace(0, rate / 2, 1 + fft // 2)[:, None]
    up = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(up, down))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def mel_spectrum(
    x: jax.Array,
    rate: int,
    mels: int,
    fft: int,
    window: int,
    hop: int,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = 'slaney',
) -> jax.Array:
    """x [..., T] at `rate` Hz -> power in mel bands, float32 [..., 1 + T // hop, mels]."""
    filters = mel_filters(rate, fft, mels, low, high or rate / 2, scale)
    return band_power(x, jnp.asarray(filters), fft, window, hop)


def band_power(x: jax.Array, filters: jax.Array, fft: int, window: int, hop: int) -> jax.Array:
    """x [..., T], filters [1 + fft // 2, M] -> `power_spectrum` times filters, [..., N, M].

    On a CPU by a kernel, where there is one, that reads of a filter only what lies between its ends.
    """
    sounds = x.astype(jnp.float32).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    (bands,) = _bands(sounds, filters, static=mel.Frames(fft, window, hop))
    return bands.reshape(*x.shape[:-1], *bands.shape[1:])


def _by_product(x: jax.Array, filters: jax.Array, *, static: mel.Frames) -> list[jax.Array]:
    """The same of x [N, T] by XLA."""
    # In full precision on accelerators too: powers of one frame lie many orders apart.
    exact = None if jax.default_backend() == 'cpu' else jax.lax.Precision.HIGHEST
    return [product(power_spectrum(x, *static), filters, precision=exact)]


_bands = mel.kernel(_by_product)


def decibels(power: jax.Array, length: jax.Array | None = None, range: float = 80.0) -> jax.Array:
    """Power [..., N, F] -> 10 log10, at most `range` below the sound's loudest, -100 at least."""
    loud = 10 / np.log(10).astype(np.float32) * jnp.log(jnp.maximum(power, 1e-10))
    own = loud if length is None else _filled(loud, length, -jnp.inf)
    return jnp.maximum(loud, jnp.max(own, (-2, -1), keepdims=True) - range)


def cepstra(bands: jax.Array, count: int) -> jax.Array:
    """Logarithms of bands [..., M] -> the first `count` coefficients of their orthonormal DCT-II."""
    many = bands.shape[-1]
    order, place = np.arange(count)[None, :], np.arange(many)[:, None] + 0.5
    basis = np.cos(np.pi * order * place / many) * np.sqrt(2 / many)
    basis[:, 0] /= np.sqrt(2)
    exact = None if jax.default_backend() == 'cpu' else jax.lax.Precision.HIGHEST
    return product(bands, jnp.asarray(basis.astype(np.float32)), precision=exact)


def slopes(
    x: jax.Array, length: jax.Array | None = None, width: int = 9, order: int = 1
) -> jax.Array:
    """Features [..., N, F] -> their derivative of an order, by frames.

    It is that of the polynomial of this order that is nearest to `width` frames by least squares
    (Savitzky and Golay, 1964), at either end that of the first and the last whole window (librosa's
    'interp'); a sound that is shorter than a window goes on as it ends.
    """
    count, half = x.shape[-2], width // 2
    length = jnp.broadcast_to(count if length is None else length, x.shape[:-2])
    last = jnp.maximum(length, 1)[..., None] - 1
    middle = jnp.clip(
        jnp.broadcast_to(jnp.arange(count), x.shape[:-1]), half, jnp.maximum(last - half, half)
    )
    offsets = np.arange(-half, half + 1)
    # The leading coefficient, as a sum over frames; the derivative is the same all over the window.
    taps = math.factorial(order) * np.linalg.pinv(np.vander(offsets / half, order + 1))[0]
    total = jnp.zeros_like(x)
    for offset, tap in zip(offsets.tolist(), (taps / float(half) ** order).tolist()):
        rows = jnp.minimum(middle + offset, last)[..., None]
        total = total + tap * jnp.take_along_axis(x, rows, -2)
    return real(total, length, -2)


def standardized(
    x: jax.Array, length: jax.Array | None = None, deviation: bool = True, epsilon: float = 1e-5
) -> jax.Array:
    """Features [..., N, F] -> each channel less its mean over the sound, and over its deviation."""
    length = jnp.int32(x.shape[-2]) if length is None else jnp.asarray(length)
    length = jnp.broadcast_to(length, x.shape[:-2])
    count = jnp.maximum(length, 1).astype(x.dtype)[..., None, None]
    inside = lambda x: real(x, length, -2)
    x = x - jnp.sum(inside(x), -2, keepdims=True) / count
    if deviation:
        variance = jnp.sum(jnp.square(inside(x)), -2, keepdims=True) / count
        x = x * jax.lax.rsqrt(variance + epsilon)
    return inside(x)


def _filled(x: jax.Array, length: jax.Array, value: float) -> jax.Array:
    """Features [..., N, F] with `value` behind the length."""
    inside = jnp.arange(x.shape[-2]) < jnp.asarray(length)[..., None]
    return jnp.where(inside[..., None], x, value)

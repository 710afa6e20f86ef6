"""The power of frames of sound in mel bands by a kernel that keeps the spectra in the near caches.

`ops.audio` has the stock form and says what it computes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.ops.native import library
from nnjax.ops.native.primitive import Kernel

LANES = 16  # frames that the kernel takes side by side


class Frames(NamedTuple):
    """Samples: of the transform, of the window, and from one frame to the next."""

    fft: int
    window: int
    hop: int


def kernel(stock: Callable) -> Kernel:
    """(x [N, T], filters [1 + fft // 2, M]) -> [N, 1 + T // hop, M], float32."""

    def results(x, filters, *, static: Frames):
        return [((x.shape[0], 1 + x.shape[1] // static.hop, filters.shape[1]), x.dtype)]

    return Kernel('mel_bands', results, stock, _native, batched=1)


def _native(x, filters, *, static: Frames) -> list[jax.Array] | None:
    """The call of the kernel, or None where there is none or it does not serve these sizes."""
    fft, window, hop = static
    smooth = fft % 2 == 0 and pow(30, 64, fft) == 0  # even, no prime factor above 5
    if not (smooth and window <= fft and x.dtype == jnp.float32 and library.serves(x, filters)):
        return None
    out = jax.ShapeDtypeStruct((len(x), 1 + x.shape[1] // hop, filters.shape[1]), x.dtype)
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    angles = -2 * np.pi * np.arange(fft) / fft
    wheel = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    frames = out.shape[0] * out.shape[1]
    pieces = library.pieces(-(-frames // LANES), library.PASS * frames * fft)
    spare = 4 * pieces * 3 * fft * LANES  # bytes: frames, and two turns of their transform
    arrays = (x, jnp.asarray(shape), jnp.asarray(wheel), filters)
    return library.run('MelBands', spare, [out], *arrays, pieces=pieces, hop=hop)

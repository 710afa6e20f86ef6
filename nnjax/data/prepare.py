"""Host operations on arrays, run once on every split: deterministic, with statistics from train.

An operation with its arguments is a function `fit(train arrays) -> apply(arrays) -> arrays`.
"""

from collections.abc import Callable

import numpy as np

from nnjax.data.source import Arrays
from nnjax.errors import UserError

Apply = Callable[[Arrays], Arrays]
Fit = Callable[[Arrays], Apply]


def scale(high: float = 255.0, field: str = 'image') -> Fit:
    """Divides by `high`, to float32: bytes to [0, 1]."""
    return lambda train: (
        lambda arrays: {
            **arrays,
            field: _field(arrays, field).astype(np.float32) / np.float32(high),
        }
    )


def standardize(field: str = 'image') -> Fit:
    """Subtracts the mean and divides by the standard deviation of each last-axis channel in train."""

    def fit(train: Arrays):
        values = _field(train, field)
        axes = tuple(range(values.ndim - 1))
        mean = values.mean(axes, dtype=np.float64).astype(np.float32)
        deviation = values.std(axes, dtype=np.float64).astype(np.float32)
        deviation = np.where(deviation > 0, deviation, np.float32(1))
        return lambda arrays: {
            **arrays,
            field: (_field(arrays, field).astype(np.float32) - mean) / deviation,
        }

    return fit


def resize(height: int, width: int, field: str = 'image') -> Fit:
    """Bilinear resize of uint8 images [N, H, W, C] to [N, height, width, C]."""

    def apply(arrays: Arrays) -> Arrays:
        from PIL import Image

        def one(image):
            drawn = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            small = np.asarray(drawn.resize((width, height), Image.Resampling.BILINEAR))
            return small.reshape(height, width, image.shape[-1])

        return {**arrays, field: np.stack([one(image) for image in _field(arrays, field)])}

    return lambda train: apply


def _field(arrays: Arrays, field: str) -> np.ndarray:
    if field not in arrays:
        raise UserError(f'no field {field!r} to prepare; the data has: {", ".join(arrays)}')
    return arrays[field]

"""Arrays as PNG pictures that live inside a page."""

import base64
import io
from collections.abc import Sequence

import numpy as np

RIGHT, WRONG = (0, 114, 178), (213, 94, 0)  # the page's two hues (Okabe and Ito), as RGB


def pixels(images: np.ndarray) -> np.ndarray:
    """images [N, H, W, C], uint8 or float -> uint8 [N, H, W, 1 or 3].

    Floats within 0..1 are taken as such; any others (standardized, say) are stretched so that the
    batch's smallest value is black and its largest white. Of two channels the first is shown, of
    four or more the first three.
    """
    images = np.asarray(images)
    images = images[..., : 1 if images.shape[-1] < 3 else 3]
    if images.dtype == np.uint8:
        return images
    images = np.nan_to_num(images.astype(np.float32))
    low, high = (images.min(), images.max()) if images.size else (0.0, 1.0)
    if low < 0 or high > 1:
        images = (images - low) / max(high - low, 1e-12)
    return np.rint(images * 255).astype(np.uint8)


def picture(image: np.ndarray):
    """uint8 [H, W, 1, 3 or 4] -> PIL image."""
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def data_uri(image: np.ndarray, largest: int = 192) -> str:
    """uint8 [H, W, 1, 3 or 4] -> 'data:image/png;base64,...', no side longer than `largest`."""
    drawn = picture(np.ascontiguousarray(image))
    if max(drawn.size) > largest:
        drawn.thumbnail((largest, largest))
    file = io.BytesIO()
    drawn.save(file, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()


def confusion_image(counts: Sequence[Sequence[int]]) -> np.ndarray:
    """counts [true][predicted] -> uint8 [C, C, 4]: the diagram of the same name, a pixel a cell.

    Opacity carries the value, so that it shows on a light and on a dark page.
    """
    counts = np.asarray(counts, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    errors = np.where(diagonal, 0, shares)
    errors = np.sqrt(errors / max(errors.max(), 1e-12))
    image = np.where(diagonal[..., None], [*RIGHT, 0], [*WRONG, 0]).astype(np.uint8)
    image[..., 3] = np.rint(255 * np.where(diagonal, shares, errors))
    return image

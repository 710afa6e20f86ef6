"""Device operations on one training example, vmapped inside the compiled step.

An operation with its arguments is a pure function `(key, example) -> example`; `example['image']`
is float [H, W, C] and keeps its shape and dtype.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import Fraction, Natural, NonNegative

Example = dict[str, jax.Array]
Operation = Callable[[jax.Array, Example], Example]


def _image(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Operation:
    """(key, image) -> image, as an operation on examples."""

    def operation(key: jax.Array, example: Example) -> Example:
        image = example.get('image')
        if image is None:
            raise UserError(f"augment needs the field 'image'; the data has: {', '.join(example)}")
        if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
            raise UserError(
                f'augment needs float images [H, W, C], not {image.dtype} {list(image.shape)}; '
                "see prepare, e.g. prepare='scale'"
            )
        return {**example, 'image': function(key, image)}

    return operation


def pad_crop(pad: Natural = 4) -> Operation:
    """Zero-pads every side by `pad` pixels and cuts the original size out at a random place."""
    return _shifted(pad)


def translate(pixels: Natural = 2) -> Operation:
    """Moves the image by up to `pixels` along each axis; what enters is zero."""
    return _shifted(pixels)


def _shifted(pixels: int) -> Operation:
    def shift(key, image):
        start = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)

    return _image(shift)


def flip(probability: Fraction = 0.5) -> Operation:
    """Mirrors left and right."""
    return _image(
        lambda key, image: jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)
    )


def rotate(degrees: NonNegative = 15.0) -> Operation:
    """Rotates about the centre by a uniform angle in [-degrees, degrees], bilinear, zero outside."""

    def turn(key, image):
        angle = jax.random.uniform(key, (), minval=-degrees, maxval=degrees) * (jnp.pi / 180)
        height, width, _ = image.shape
        y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2
        x = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows = (cos * y + sin * x) + (height - 1) / 2
        columns = (cos * x - sin * y) + (width - 1) / 2
        return _bilinear(image, rows, columns)

    return _image(turn)


def _bilinear(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """image [H, W, C] at the places (rows, columns) [H, W]; beyond its edge is zero."""
    height, width, channels = image.shape
    # A border of zeros on each side: whatever lies beyond it is read from it.
    pixels = jnp.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = jnp.zeros((height, width, channels), jnp.float32)
    for row, down in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, along in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            place = jnp.clip(row + 1, 0, height + 1) * (width + 2) + jnp.clip(
                column + 1, 0, width + 1
            )
            values = pixels[place.astype(jnp.int32)].astype(jnp.float32)
            total += (down * along)[..., None] * values
    return total.astype(image.dtype)


def cutout(size: Natural = 8) -> Operation:
    """Zeros a square of `size` pixels about a random pixel (DeVries and Taylor, 2017)."""

    def cut(key, image):
        height, width, _ = image.shape
        row_key, column_key = jax.random.split(key)
        row = jax.random.randint(row_key, (), 0, height) - size // 2
        column = jax.random.randint(column_key, (), 0, width) - size // 2
        y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
        inside = (y >= row) & (y < row + size) & (x >= column) & (x < column + size)
        return jnp.where(inside, jnp.zeros((), image.dtype), image)

    return _image(cut)


def noise(deviation: NonNegative = 0.1) -> Operation:
    """Adds Gaussian noise of this standard deviation to every value."""
    return _image(
        lambda key, image: (
            image
            + jnp.asarray(deviation, image.dtype) * jax.random.normal(key, image.shape, image.dtype)
        )
    )

"""Device operations on one training example, vmapped inside the compiled step.

An operation with its arguments is a pure function `(key, example) -> example`; `example['image']`
is float [H, W, C] and keeps its shape and dtype.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Example = dict[str, jax.Array]
Operation = Callable[[jax.Array, Example], Example]


def _image(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Operation:
    """(key, image) -> image, as an operation on examples."""
    return lambda key, example: {**example, 'image': function(key, example['image'])}


def pad_crop(pad: int = 4) -> Operation:
    """Zero-pads every side by `pad` pixels and cuts the original size out at a random place."""
    return _shifted(pad)


def translate(pixels: int = 2) -> Operation:
    """Moves the image by up to `pixels` along each axis; what enters is zero."""
    return _shifted(pixels)


def _shifted(pixels: int) -> Operation:
    def shift(key, image):
        start = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)

    return _image(shift)


def flip(probability: float = 0.5) -> Operation:
    """Mirrors left and right."""
    return _image(
        lambda key, image: jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)
    )


def rotate(degrees: float = 15.0) -> Operation:
    """Rotates about the centre by a uniform angle in [-degrees, degrees], bilinear, zero outside."""

    def turn(key, image):
        angle = jax.random.uniform(key, (), minval=-degrees, maxval=degrees) * (jnp.pi / 180)
        height, width, _ = image.shape
        y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2
        x = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows = (cos * y + sin * x) + (height - 1) / 2
        columns = (cos * x - sin * y) + (width - 1) / 2
        sample = lambda channel: jax.scipy.ndimage.map_coordinates(
            channel, [rows, columns], order=1
        )
        return jax.vmap(sample, -1, -1)(image.astype(jnp.float32)).astype(image.dtype)

    return _image(turn)


def cutout(size: int = 8) -> Operation:
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


def noise(deviation: float = 0.1) -> Operation:
    """Adds Gaussian noise of this standard deviation to every value."""
    return _image(
        lambda key, image: (
            image
            + jnp.asarray(deviation, image.dtype) * jax.random.normal(key, image.shape, image.dtype)
        )
    )

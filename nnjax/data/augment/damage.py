"""Operations that take something away: holes, blur, noise."""

from typing import Literal

import jax
import jax.numpy as jnp

from nnjax.data.augment.geometry import ascending, box
from nnjax.data.augment.operation import Operation, on_image
from nnjax.errors import UserError
from nnjax.fields import Count, Fraction, Natural, NonNegative, Positive


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

    return on_image(cut)


def erasing(
    probability: Fraction = 0.5,
    area: tuple[Fraction, Fraction] = (0.02, 0.33),
    ratio: tuple[Positive, Positive] = (0.3, 3.3333),
    fill: Literal['zero', 'noise'] = 'zero',
) -> Operation:
    """Fills a random box with zeros, or each value anew from [0, 1) (Zhong et al., 2020).

    `area` is the range of the box's share of the image, `ratio` that of its width / height. Where
    ten random boxes do not fit, nothing is erased.
    """
    area, ratio = ascending('area', area), ascending('ratio', ratio)

    def erase(key, image):
        chance_key, box_key, fill_key = jax.random.split(key, 3)
        (top, left, tall, wide), fits = box(box_key, image.shape[:2], area, ratio)
        y, x = jnp.arange(image.shape[0])[:, None, None], jnp.arange(image.shape[1])[None, :, None]
        inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
        happens = fits & jax.random.bernoulli(chance_key, probability)
        filling = jnp.zeros_like(image)
        if fill == 'noise':
            filling = jax.random.uniform(fill_key, image.shape, jnp.float32).astype(image.dtype)
        return jnp.where(happens & inside, filling, image)

    return on_image(erase)


def gaussian_blur(
    sigma: tuple[NonNegative, NonNegative] = (0.1, 2.0),
    kernel: Count = 9,
    probability: Fraction = 1.0,
) -> Operation:
    """Blurs with a Gaussian of random deviation, in pixels, cut off to `kernel` x `kernel`.

    `kernel` is odd. The image is mirrored at its edge, without repeating it.
    """
    low, high = ascending('sigma', sigma)
    if kernel % 2 == 0:
        raise UserError(f'kernel={kernel}: expected an odd number')
    reach = kernel // 2

    def blur(key, image):
        sigma_key, chance_key = jax.random.split(key)
        deviation = jax.random.uniform(sigma_key, (), minval=low, maxval=high)
        offsets = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
        weights = jnp.exp(-0.5 * jnp.square(offsets / jnp.maximum(deviation, 1e-3)))
        weights = weights / jnp.sum(weights)
        blurred = image.astype(jnp.float32)
        for axis in (0, 1):
            blurred = _weighted(blurred, weights, axis)
        return jnp.where(
            jax.random.bernoulli(chance_key, probability), blurred.astype(image.dtype), image
        )

    return on_image(blur)


def _weighted(image: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """The image's correlation with weights [K] along an axis, mirrored at the edge."""
    length, reach = image.shape[axis], len(weights) // 2
    padded = jnp.pad(image, [(reach * (a == axis),) * 2 for a in range(3)], mode='reflect')
    parts = [
        weights[n] * jax.lax.slice_in_dim(padded, n, n + length, axis=axis)
        for n in range(len(weights))
    ]
    return sum(parts[1:], parts[0])


def noise(deviation: NonNegative = 0.1) -> Operation:
    """Adds Gaussian noise of this standard deviation to every value."""
    return on_image(
        lambda key, image: (
            image
            + jnp.asarray(deviation, image.dtype) * jax.random.normal(key, image.shape, image.dtype)
        )
    )

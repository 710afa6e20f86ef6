"""Operations that move pixels: shifts, mirrors, turns, crops."""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.data.augment.operation import Operation, moving
from nnjax.errors import UserError
from nnjax.fields import Fraction, Natural, NonNegative, Positive, Range

Share = Annotated[float, Range(0, 1, open_low=True)]
Acute = Annotated[float, Range(0, 90, open_high=True)]
TRIES = 10  # random boxes of which the first that fits is taken


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
        moved = jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)
        size = jnp.array(image.shape[:2], jnp.float32)
        away = (pixels - start).astype(jnp.float32) / size
        return moved, lambda boxes: boxes + jnp.tile(away, 2)[None]

    return moving(shift)


def flip(probability: Fraction = 0.5) -> Operation:
    """Mirrors left and right."""

    def mirror(key, image):
        happens = jax.random.bernoulli(key, probability)

        def follow(boxes):
            top, left, bottom, right = jnp.moveaxis(boxes, -1, 0)
            mirrored = jnp.stack([top, 1 - right, bottom, 1 - left], -1)
            return jnp.where(happens, mirrored, boxes)

        return jnp.where(happens, image[:, ::-1], image), follow

    return moving(mirror)


def rotate(degrees: NonNegative = 15.0) -> Operation:
    """Rotates about the centre by a uniform angle in [-degrees, degrees], bilinear, zero outside."""
    return moving(lambda key, image: warped(image, turned(_angle(key, degrees))))


def affine(
    degrees: NonNegative = 10.0,
    translate: Fraction = 0.1,
    scale: tuple[Positive, Positive] = (0.9, 1.1),
    shear: Acute = 5.0,
) -> Operation:
    """Shears along the rows, rotates and scales about the centre, then moves, each at random.

    `degrees` and `shear` are the largest angles to either side, `translate` the largest move as a
    share of the height and of the width, `scale` the range of the factor. Bilinear, zero outside.
    """
    low, high = ascending('scale', scale)

    def move(key, image):
        turn_key, move_key, scale_key, shear_key = jax.random.split(key, 4)
        factor = jax.random.uniform(scale_key, (), minval=low, maxval=high)
        down, along = jax.random.uniform(move_key, (2,), minval=-translate, maxval=translate)
        linear = inverse(_angle(turn_key, degrees), _angle(shear_key, shear), factor)
        return warped(image, linear, (down * image.shape[0], along * image.shape[1]))

    return moving(move)


def random_resized_crop(
    scale: tuple[Share, Share] = (0.08, 1.0),
    ratio: tuple[Positive, Positive] = (0.75, 1.3333),
) -> Operation:
    """Cuts out a random box and enlarges it to the image's size, bilinear (Szegedy et al., 2015).

    `scale` is the range of the box's share of the area, `ratio` that of its width / height. Where
    ten random boxes do not fit, it is the largest in the centre that has an allowed ratio. No box is
    larger than the image, so there is nothing to antialias.
    """
    scale, ratio = ascending('scale', scale), ascending('ratio', ratio)

    def crop(key, image):
        drawn, fits = box(key, image.shape[:2], scale, ratio)
        central = _central(*image.shape[:2], ratio)
        top, left, tall, wide = (jnp.where(fits, x, y) for x, y in zip(drawn, central, strict=True))
        stretched = _stretched(image.astype(jnp.float32), top, tall, axis=0)
        stretched = _stretched(stretched, left, wide, axis=1).astype(image.dtype)
        height, width = image.shape[:2]
        start = jnp.stack([top / height, left / width] * 2)
        size = jnp.stack([tall / height, wide / width] * 2)
        return stretched, lambda boxes: (boxes - start[None]) / size[None]

    return moving(crop)


def box(key, shape, area, ratio) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """A random box of whole pixels in a (height, width) -> (top, left, height, width), if it fits.

    Its share of the area is uniform in the pair `area`, its width / height log-uniform in `ratio`,
    its place uniform; of ten such boxes the first that fits.
    """
    height, width = shape
    area_key, ratio_key, row_key, column_key = jax.random.split(key, 4)
    pixels = jax.random.uniform(area_key, (TRIES,), minval=area[0], maxval=area[1]) * height * width
    low, high = np.log(ratio)
    root = jnp.exp(0.5 * jax.random.uniform(ratio_key, (TRIES,), minval=low, maxval=high))
    tall = jnp.round(jnp.sqrt(pixels) / root).astype(jnp.int32)
    wide = jnp.round(jnp.sqrt(pixels) * root).astype(jnp.int32)
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    first = jnp.argmax(fits)
    tall, wide = jnp.clip(tall[first], 1, height), jnp.clip(wide[first], 1, width)
    top = jax.random.randint(row_key, (), 0, height - tall + 1)
    left = jax.random.randint(column_key, (), 0, width - wide + 1)
    return (top, left, tall, wide), fits[first]


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest central box whose width / height is in `ratio`."""
    wide = min(width, round(height * ratio[1]))
    tall = min(height, round(width / ratio[0]))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def _stretched(image: jax.Array, start, size, axis: int) -> jax.Array:
    """`size` rows or columns from `start` on, enlarged to as many as the image has, bilinear."""
    length = image.shape[axis]
    start, size = start.astype(jnp.float32), size.astype(jnp.float32)
    places = (jnp.arange(length, dtype=jnp.float32) + 0.5) * size / length - 0.5
    places = start + jnp.clip(places, 0, size - 1)
    low = jnp.floor(places)
    part = jnp.expand_dims(places - low, tuple({0, 1, 2} - {axis}))
    place = low.astype(jnp.int32)
    first, second = jnp.take(image, place, axis), jnp.take(image, place + 1, axis, mode='clip')
    return (1 - part) * first + part * second


def turned(angle: jax.Array):
    """An angle in radians -> what `warp` takes for a rotation by it."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return (cos, sin), (-sin, cos)


def inverse(angle: jax.Array, shear: jax.Array, factor: jax.Array):
    """Radians, radians, a scale -> what `warp` takes for a shear, then a rotation, then a scale."""
    (yy, yx), (xy, xx) = turned(angle)
    lean = jnp.tan(shear)
    return (yy / factor, yx / factor), ((xy + lean * yy) / factor, (xx + lean * yx) / factor)


def warp(image: jax.Array, linear, move=(0.0, 0.0)) -> jax.Array:
    """image [H, W, C] under an affine map that keeps its size; bilinear, zero outside.

    `linear` is the inverse of the map's linear part about the centre, ((yy, yx), (xy, xx)); `move`
    is how far it then moves everything, down and to the right, in pixels.
    """
    height, width, _ = image.shape
    (yy, yx), (xy, xx) = linear
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2 - move[0]
    x = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2 - move[1]
    rows = (yy * y + yx * x) + (height - 1) / 2
    columns = (xx * x + xy * y) + (width - 1) / 2
    return _bilinear(image, rows, columns)


def warped(image: jax.Array, linear, move=(0.0, 0.0)):
    """What `moving` takes of `warp`: a box follows as the upright box about its moved corners."""

    def follow(boxes: jax.Array) -> jax.Array:
        size = jnp.array(image.shape[:2], jnp.float32)[None]
        (yy, yx), (xy, xx) = linear
        forward = jnp.stack([xx, -yx, -xy, yy]) / (yy * xx - yx * xy)
        corners = [(boxes[:, a], boxes[:, b]) for a in (0, 2) for b in (1, 3)]
        away = [(jnp.stack(corner, -1) - 0.5) * size for corner in corners]
        rows = jnp.stack([forward[0] * a[:, 0] + forward[1] * a[:, 1] for a in away])
        columns = jnp.stack([forward[2] * a[:, 0] + forward[3] * a[:, 1] for a in away])
        rows, columns = (
            (x + shift) / extent + 0.5
            for x, shift, extent in zip((rows, columns), move, image.shape[:2])
        )
        lowest, highest = (jnp.stack([f(rows, 0), f(columns, 0)], -1) for f in (jnp.min, jnp.max))
        return jnp.concatenate([lowest, highest], -1)

    return warp(image, linear, move), follow


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


def _angle(key, degrees: float) -> jax.Array:
    """Uniform in [-degrees, degrees], in radians."""
    return jax.random.uniform(key, (), minval=-degrees, maxval=degrees) * (jnp.pi / 180)


def ascending(name: str, pair: tuple[float, float]) -> tuple[float, float]:
    """The pair, or a UserError where the first is the larger."""
    if pair[0] > pair[1]:
        raise UserError(f'{name}={pair}: expected (low, high)')
    return pair

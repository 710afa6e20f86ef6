"""Operations on colour, and the tones they are made of.

A tone is a function (image, amount) -> image of float32 [H, W, C] in [0, 1], as PIL's ImageEnhance
has it: an amount of 1 changes nothing, 0 takes everything away, more than 1 exaggerates.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.data.augment.operation import Always, Operation, image_of, on_image
from nnjax.errors import UserError
from nnjax.fields import Fraction, NonNegative, Positive, Range

HalfTurn = Annotated[float, Range(0, 0.5)]


def color_jitter(
    brightness: NonNegative = 0.4,
    contrast: NonNegative = 0.4,
    saturation: NonNegative = 0.4,
    hue: HalfTurn = 0.1,
) -> Operation:
    """Brightness, contrast, saturation and hue by random amounts, in random order.

    The first three are factors from [max(0, 1 - x), 1 + x], the hue turns by [-x, x] of a circle.
    Grey images have neither saturation nor hue. Values are in [0, 1].
    """
    acts = [
        (tone, max(0.0, 1 - x), 1 + x)
        for tone, x in ((brighten, brightness), (contrasted, contrast), (saturate, saturation))
        if x
    ]
    acts += [(turn_hue, -hue, hue)] if hue else []

    def jitter(key, image):
        if not acts:
            return image
        order_key, *keys = jax.random.split(key, len(acts) + 1)
        chosen = [
            lambda image, tone=tone, x=jax.random.uniform(own, (), minval=low, maxval=high): tone(
                image, x
            )
            for (tone, low, high), own in zip(acts, keys, strict=True)
        ]
        changed = image.astype(jnp.float32)
        for number in jax.random.permutation(order_key, len(acts)):
            changed = jax.lax.switch(number, chosen, changed)
        return changed.astype(image.dtype)

    return on_image(jitter)


def grayscale(probability: Fraction = 0.1) -> Operation:
    """Takes the colours away: every channel becomes the luma (ITU-R BT.601)."""

    def fade(key, image):
        grey = saturate(image.astype(jnp.float32), 0.0).astype(image.dtype)
        return jnp.where(jax.random.bernoulli(key, probability), grey, image)

    return on_image(fade)


def normalize(
    mean: float | tuple[float, ...] = 0.5, std: Positive | tuple[Positive, ...] = 0.5
) -> Always:
    """(image - mean) / std, by numbers or one for each channel; in evaluation too."""

    def change(image):
        shift, scale = (_channels(name, x, image) for name, x in (('mean', mean), ('std', std)))
        return ((image.astype(jnp.float32) - shift) / scale).astype(image.dtype)

    return Always(lambda example: {**example, 'image': change(image_of(example))})


def _channels(name: str, values, image: jax.Array) -> jax.Array:
    """A number or one for each channel -> [1, 1, 1 or C]."""
    values = np.array(values, np.float32).reshape(1, 1, -1)
    if values.size not in (1, image.shape[-1]):
        raise UserError(
            f'normalize: {name} has {values.size} numbers, the images {image.shape[-1]} channels'
        )
    return jnp.asarray(values)


def brighten(image: jax.Array, amount) -> jax.Array:
    """Towards or away from black."""
    return blend(jnp.zeros_like(image), image, amount)


def contrasted(image: jax.Array, amount) -> jax.Array:
    """Towards or away from the image's mean luma."""
    return blend(jnp.full_like(image, jnp.mean(luma(image))), image, amount)


def saturate(image: jax.Array, amount) -> jax.Array:
    """Towards or away from grey; a grey image stays."""
    if image.shape[-1] == 1:
        return image
    return blend(jnp.broadcast_to(luma(image), image.shape), image, amount)


def turn_hue(image: jax.Array, turn) -> jax.Array:
    """The hue of HSV turned by this part of a circle; a grey image stays."""
    if image.shape[-1] == 1:
        return image
    luma(image)  # red, green and blue, or an error
    red, green, blue = jnp.moveaxis(image, -1, 0)
    high, low = jnp.max(image, -1), jnp.min(image, -1)
    chroma = high - low
    some = jnp.where(chroma > 0, chroma, 1)
    sixth = jnp.where(high == green, (blue - red) / some + 2, (red - green) / some + 4)
    sixth = jnp.where(high == red, (green - blue) / some, sixth) + 6 * turn

    def channel(place: int) -> jax.Array:
        distance = (place + sixth) % 6
        return high - chroma * jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], -1)


def blend(degenerate: jax.Array, image: jax.Array, amount) -> jax.Array:
    """degenerate + amount * (image - degenerate), clipped to [0, 1]."""
    return jnp.clip(degenerate + amount * (image - degenerate), 0, 1)


def luma(image: jax.Array) -> jax.Array:
    """[H, W, 1 or 3] -> [H, W, 1]."""
    if image.shape[-1] not in (1, 3):
        raise UserError(f'colour operations take 1 or 3 channels, not {image.shape[-1]}')
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.split(image, 3, -1)
    return 0.299 * red + 0.587 * green + 0.114 * blue

"""RandAugment: several operations drawn from one list, all of one magnitude."""

from typing import Annotated

import jax
import jax.numpy as jnp

from nnjax.data.augment import colour, geometry
from nnjax.data.augment.operation import Operation, moving
from nnjax.fields import Natural, Range

Magnitude = Annotated[float, Range(0, 30)]


def rand_augment(operations: Natural = 2, magnitude: Magnitude = 9.0) -> Operation:
    """So many operations, each drawn evenly from fourteen, at one magnitude (Cubuk et al., 2020).

    At magnitude M of 30, with a random sign where there are two directions: identity; shear along
    rows or columns by 0.3 M/30; a move along either by 0.45 M/30 of its length; a turn by 30 M/30
    degrees; brightness, contrast, colour and sharpness times 1 ± 0.9 M/30; posterize to
    8 - 4 M/30 bits, rounded; solarize above 1 - M/30; autocontrast and equalize, which have no
    magnitude. Moved images are bilinear and zero outside. Values are in [0, 1]; colour leaves a grey
    image as it is.
    """
    share = magnitude / 30

    def act(key, image):
        changed, followers = image.astype(jnp.float32), []
        for own in jax.random.split(key, operations):
            changed, follow = _one(own, changed, share)
            followers.append(follow)

        def follow_all(boxes):
            for follow in followers:
                boxes = follow(boxes)
            return boxes

        return changed.astype(image.dtype), follow_all

    return moving(act)


def _one(key: jax.Array, image: jax.Array, share: float):
    """One of the fourteen at `share` of the full magnitude -> (image, how boxes follow)."""
    choice_key, sign_key = jax.random.split(key)
    signed = jnp.where(jax.random.bernoulli(sign_key), share, -share)
    moves, tones = _moves(signed, image.shape[:2]), _tones(share, signed)
    choice = jax.random.randint(choice_key, (), 0, len(moves) + len(tones) - 1)
    # Both lists begin with the identity: under vmap every branch runs, so that one warp for all
    # moves is cheaper than one for each.
    (yy, yx), (xy, xx), move = jnp.stack([jnp.array(m) for m in moves])[
        jnp.where(choice < len(moves), choice, 0)
    ]
    moved, follow = geometry.warped(image, ((yy, yx), (xy, xx)), move)
    return jax.lax.switch(jnp.maximum(choice - len(moves) + 1, 0), tones, moved), follow


def _moves(signed: jax.Array, shape: tuple[int, int]) -> list:
    """What `geometry.warp` takes, ((yy, yx), (xy, xx), (down, right)), for each move."""
    shear, shift = 0.3 * signed, 0.45 * signed
    one, zero = jnp.float32(1), jnp.float32(0)
    same, here = ((one, zero), (zero, one)), (zero, zero)
    return [
        (*same, here),
        ((one, zero), (shear, one), here),
        ((one, shear), (zero, one), here),
        (*same, (shift * shape[0], zero)),
        (*same, (zero, shift * shape[1])),
        (*geometry.turned(signed * (jnp.pi / 6)), here),
    ]


def _tones(share: float, signed: jax.Array) -> list:
    """Functions image -> image."""
    amount = 1 + 0.9 * signed
    return [
        lambda image: image,
        lambda image: colour.brighten(image, amount),
        lambda image: colour.contrasted(image, amount),
        lambda image: colour.saturate(image, amount),
        lambda image: sharpen(image, amount),
        lambda image: posterize(image, 8 - round(4 * share)),
        lambda image: solarize(image, 1 - share),
        autocontrast,
        equalize,
    ]


def sharpen(image: jax.Array, amount) -> jax.Array:
    """Towards or away from the mean over 3x3 pixels, the middle one counting five; the edge stays."""
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    rows = [
        image[y : height - 2 + y, x : width - 2 + x] * (5 if y == x == 1 else 1)
        for y in range(3)
        for x in range(3)
    ]
    smooth = image.at[1:-1, 1:-1].set(sum(rows[1:], rows[0]) / 13)
    return colour.blend(smooth, image, amount)


def posterize(image: jax.Array, bits: int) -> jax.Array:
    """Keeps the upper `bits` of each byte."""
    step = 2 ** (8 - bits)
    return (_bytes(image) // step * step).astype(jnp.float32) / 255


def solarize(image: jax.Array, threshold: float) -> jax.Array:
    """Inverts what is above the threshold."""
    return jnp.where(image > threshold, 1 - image, image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel's values to [0, 1]; a constant channel stays."""
    low, high = jnp.min(image, (0, 1), keepdims=True), jnp.max(image, (0, 1), keepdims=True)
    return jnp.where(high > low, (image - low) / jnp.where(high > low, high - low, 1), image)


def equalize(image: jax.Array) -> jax.Array:
    """Makes each channel's histogram of 256 bytes as even as a map of values can."""

    def one(channel):
        count = jnp.bincount(channel.reshape(-1), length=256)
        step = (channel.size - count[jnp.max(channel)]) // 255
        table = (step // 2 + jnp.cumsum(count) - count) // jnp.maximum(step, 1)
        return jnp.where(step > 0, jnp.minimum(table, 255)[channel], channel)

    return jax.vmap(one, -1, -1)(_bytes(image)).astype(jnp.float32) / 255


def _bytes(image: jax.Array) -> jax.Array:
    """[0, 1] -> whole numbers 0 to 255."""
    return jnp.clip(jnp.round(image * 255), 0, 255).astype(jnp.int32)

"""What an operation is: one example at a time, a pair of them, or the same in evaluation too."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.errors import UserError

Example = dict[str, jax.Array]
Operation = Callable[[jax.Array, Example], Example]  # (key, example) -> example
Follow = Callable[[jax.Array], jax.Array]  # boxes [N, 4] -> where their pixels went [N, 4]
SEEN = 0.25  # the share of a box that must remain


@dataclasses.dataclass(frozen=True)
class Always:
    """An operation that chance has no part in: what the model learns on, it is asked on.

    Attributes:
      change: example -> example.
      rate: samples a second of the sound that it reads, if it reads any.
      hop: samples from one frame to the next of the features that it makes, if it makes any.
      whole: whether every frame depends on the whole sound.
    """

    change: Callable[[Example], Example]
    rate: int | None = None
    hop: int | None = None
    whole: bool = False

    def __call__(self, key: jax.Array | None, example: Example) -> Example:
        return self.change(example)


@dataclasses.dataclass(frozen=True)
class AtRate:
    """An operation at random on sound of `rate` samples a second."""

    change: Operation
    rate: int

    def __call__(self, key: jax.Array, example: Example) -> Example:
        return self.change(key, example)


@dataclasses.dataclass(frozen=True)
class Pairwise:
    """An operation on two neighbours of the batch, each the other's partner, under one key.

    It gives the example and the share of it that is its own, by which labels are mixed.

    Attributes:
      mix: (key, image, partner's image) -> (image, share). The share must not depend on the
        images: the pair's labels then keep their sum.
    """

    mix: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

    def __call__(
        self, key: jax.Array, example: Example, partner: Example
    ) -> tuple[Example, jax.Array]:
        image, share = self.mix(key, image_of(example), image_of(partner))
        return {**example, 'image': image}, share


def on_image(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Operation:
    """(key, image) -> image, as an operation on examples."""
    return lambda key, example: {**example, 'image': function(key, image_of(example))}


@dataclasses.dataclass(frozen=True)
class Keep:
    """An operation that changes nothing: it adds a field for the task to read in training."""

    def __call__(self, key: jax.Array, example: Example) -> Example:
        return {**example, 'image_clean': image_of(example)}


def keep() -> Operation:
    """Keeps the image as it is now beside what later operations make of it: 'image_clean'."""
    return Keep()


def moving(function: Callable[[jax.Array, jax.Array], tuple[jax.Array, Follow]]) -> Operation:
    """(key, image) -> (image, how boxes follow), as an operation on examples.

    The field 'boxes' [N, 4], where there is one, goes with the pixels: (top, left, bottom, right)
    as shares of the picture, cut off at its edge. A box of which less than a quarter of the area
    remains loses it all, and is no object any more.
    """

    def act(key: jax.Array, example: Example) -> Example:
        image, follow = function(key, image_of(example))
        if 'boxes' not in example:
            return {**example, 'image': image}
        whole = follow(example['boxes'])
        seen = jnp.clip(whole, 0, 1)
        kept = _area(seen) > SEEN * _area(whole)
        return {**example, 'image': image, 'boxes': jnp.where(kept[:, None], seen, 0)}

    return act


def _area(boxes: jax.Array) -> jax.Array:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def image_of(example: Example) -> jax.Array:
    """The example's image.

    Raises:
      UserError: there is none, or it is no float [H, W, C].
    """
    image = example.get('image')
    if image is None:
        raise UserError(f"augment needs the field 'image'; the data has: {', '.join(example)}")
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise UserError(
            f'augment needs float images [H, W, C], not {image.dtype} {list(image.shape)}; '
            "see prepare, e.g. prepare='scale'"
        )
    return image


def sound_of(example: Example, axes: int) -> tuple[jax.Array, jax.Array | None]:
    """The example's sound, samples [T] (1 axis) or features [T, F] (2), and its length or None.

    Whole numbers of 16 bits become real numbers in [-1, 1).

    Raises:
      UserError: there is none, or it is no such array.
    """
    x = example.get('audio')
    if x is None:
        raise UserError(f"augment needs the field 'audio'; the data has: {', '.join(example)}")
    if x.dtype == jnp.int16:
        x = x.astype(jnp.float32) / 32768
    if x.ndim != axes or not jnp.issubdtype(x.dtype, jnp.floating):
        wanted = (
            'samples [T]: it belongs before log_mel or mfcc',
            'features [T, F]: put log_mel or mfcc before it',
        )
        raise UserError(
            f'augment: the operation takes {wanted[axes - 1]}, not {x.dtype} {list(x.shape)}'
        )
    return x, example.get('audio_length')


def with_sound(example: Example, x: jax.Array, length: jax.Array | None) -> Example:
    """The example with another sound, and its length, if it has one."""
    return {**example, 'audio': x, **({} if length is None else {'audio_length': length})}


def without_length(example: Example, x: jax.Array) -> Example:
    """The example with another sound, all of it real."""
    rest = {name: value for name, value in example.items() if name != 'audio_length'}
    return {**rest, 'audio': x}

"""Operations on pairs of examples; labels become distributions."""

import jax
import jax.numpy as jnp

from nnjax.data.augment.operation import Pairwise
from nnjax.fields import Fraction, NonNegative


def mixup(alpha: NonNegative = 0.2, probability: Fraction = 1.0) -> Pairwise:
    """Weighted means of two images, the weight from Beta(alpha, alpha) (Zhang et al., 2018)."""

    def mix(key, image, partner):
        share = _share(key, alpha, probability)
        mixed = share * image.astype(jnp.float32) + (1 - share) * partner.astype(jnp.float32)
        return mixed.astype(image.dtype), share

    return Pairwise(mix)


def cutmix(alpha: NonNegative = 1.0, probability: Fraction = 1.0) -> Pairwise:
    """A box of the partner's image, its area from Beta(alpha, alpha) (Yun et al., 2019).

    The box lies about a random pixel and is cut off at the image's edge; what remains of its area
    is the partner's share.
    """

    def mix(key, image, partner):
        share_key, place_key = jax.random.split(key)
        side = jnp.sqrt(1 - _share(share_key, alpha, probability))
        height, width, _ = image.shape
        inside = jnp.ones((height, width), bool)
        for axis, (length, own) in enumerate(
            zip((height, width), jax.random.split(place_key), strict=True)
        ):
            cut = jnp.floor(side * length).astype(jnp.int32)
            start = jax.random.randint(own, (), 0, length) - cut // 2
            line = jnp.arange(length)
            inside &= jnp.expand_dims((line >= start) & (line < start + cut), 1 - axis)
        mixed = jnp.where(inside[..., None], partner, image)
        return mixed, 1 - jnp.mean(inside.astype(jnp.float32))

    return Pairwise(mix)


def _share(key: jax.Array, alpha: float, probability: float) -> jax.Array:
    """The example's own share of a mixture: 1 without strength, or by chance."""
    if alpha == 0:
        return jnp.float32(1)
    gamma_key, chance_key = jax.random.split(key)
    # X / (X + Y) of two Gamma(alpha) is Beta; from their logarithms, since small ones underflow.
    one, two = jax.random.loggamma(gamma_key, jnp.float32(alpha), (2,))
    return jnp.where(jax.random.bernoulli(chance_key, probability), jax.nn.sigmoid(one - two), 1)

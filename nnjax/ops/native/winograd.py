"""Convolutions with windows of 3x3 by fewer products: for which shapes they are faster."""

import jax.numpy as jnp

# Measured: from narrower layers on the sums around the products take longer than is saved.
NARROWEST, LANES = 32, 16
FEWEST = 128  # tiles, for which weights are transformed once
WIDEST = 2**16  # pairs of channels whose transformed weights stay in cache
SAVED = 1.6  # times that products must be fewer, which are 2.25 times where tiles fit exactly


def serves(dtype, x, w, y, geometry) -> bool:
    """Whether a convolution of these shapes is faster this way."""
    plain = {*geometry.strides, *geometry.dilation, geometry.groups} == {1}
    if not (plain and geometry.window == (3, 3) and max(geometry.low) <= 2):
        return False
    rows, height, width, _ = y
    tiles = rows * -(-height // 2) * -(-width // 2)
    return (
        dtype == jnp.float32
        and all(channels % LANES == 0 and channels >= NARROWEST for channels in w[2:])
        and w[2] * w[3] <= WIDEST
        and tiles >= FEWEST
        and 9 * rows * height * width >= SAVED * 16 * tiles
    )

"""Learning-rate schedules: pure functions of scalars, traced or not, so that none costs a compile.

A schedule is a multiplier of the base learning rate: a linear warmup times the shape of a decay.
"""

import math
import typing
from typing import Literal

import jax
import jax.numpy as jnp

from nnjax.errors import unknown

Decay = Literal['constant', 'cosine', 'linear', 'step', 'one_cycle', 'rsqrt']
Scalar = jax.Array | float

ONE_CYCLE_START = 1 / 25  # PyTorch's div_factor


def factor(
    decay: Decay,
    step: Scalar,
    total: Scalar,
    warmup: Scalar = 0.0,
    final: Scalar = 0.0,
    *,
    boundaries: tuple[float, ...] = (0.5, 0.75),
    drop: Scalar = 0.1,
    peak: Scalar = 0.3,
) -> jax.Array:
    """Steps done, steps in all, steps of warmup -> multiplier of the learning rate, float32 scalar.

    Warmup rises as (step + 1) / (warmup + 1), as in nanoGPT: the first update is not lost, and a
    learning rate of zero, at which Prodigy and D-Adaptation divide by zero, never occurs. The decay
    takes the steps after the warmup; at step 0 without warmup it is 1, except for one_cycle.

    Args:
      decay: constant; cosine and linear fall to `final`; step multiplies by `drop` at each of
        `boundaries`; one_cycle rises from 1/25 to 1 and falls to `final`, by cosines (PyTorch's
        OneCycleLR; momentum stays); rsqrt falls as sqrt((warmup + 1) / (step + 1)) (Vaswani et al.,
        2017).
      step: 0 for the first update; any number type.
      total: the decay has ended at this step.
      warmup: may be 0, or reach beyond the total.
      final: the multiplier at the end; no decay falls below it.
      boundaries: of step, as fractions of the total.
      drop: of step.
      peak: of one_cycle, the fraction of the steps after warmup at which it is highest.

    Raises:
      UserError: an unknown decay.
    """
    step, total, warmup = (jnp.asarray(x).astype(jnp.float32) for x in (step, total, warmup))
    progress = jnp.clip((step - warmup) / jnp.maximum(total - warmup, 1), 0, 1)
    match decay:
        case 'constant':
            shape = jnp.float32(1)
        case 'cosine':
            shape = _half_wave(1.0, final, progress)
        case 'linear':
            shape = 1 - (1 - final) * progress
        case 'step':
            shape = jnp.maximum(_drops(step / total, boundaries, drop), final)
        case 'one_cycle':
            shape = _one_cycle(progress, peak, final)
        case 'rsqrt':
            shape = jnp.sqrt((warmup + 1) / (jnp.maximum(step, warmup) + 1))
            shape = jnp.maximum(shape, final)
        case _:
            raise unknown('decay', decay, typing.get_args(Decay))
    return jnp.minimum((step + 1) / (warmup + 1), 1) * shape


def _half_wave(first: Scalar, last: Scalar, progress: jax.Array) -> jax.Array:
    """From `first` at progress 0 to `last` at 1 along half a cosine wave.

    sin^2 keeps in float32 what (1 + cos) / 2 rounds to zero near the end of a long run.
    """
    return last + (first - last) * jnp.square(jnp.sin(math.pi / 2 * (1 - progress)))


def _drops(progress: jax.Array, boundaries: tuple[float, ...], drop: Scalar) -> jax.Array:
    """`drop` for every boundary reached; the slack is float32's, so that 30% of 10 is step 3."""
    shape = jnp.float32(1)
    for boundary in boundaries:
        shape = shape * jnp.where(progress >= boundary * (1 - 1e-6), drop, 1.0)
    return shape


def _one_cycle(progress: jax.Array, peak: Scalar, final: Scalar) -> jax.Array:
    rising = progress / jnp.maximum(peak, 1e-6)
    falling = (progress - peak) / jnp.maximum(1 - peak, 1e-6)
    up = _half_wave(ONE_CYCLE_START, 1.0, jnp.clip(rising, 0, 1))
    down = _half_wave(1.0, final, jnp.clip(falling, 0, 1))
    return jnp.where(progress < peak, up, down)

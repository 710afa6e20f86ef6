"""Operations on sound: samples [T] of the field 'audio', in [-1, 1], and its features [T, F].

A field 'audio_length', where there is one, says how many of them are real: what stands behind means
nothing and stays zero. Whole numbers of 16 bits become real numbers at the first operation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.data import sounds
from nnjax.data.augment.geometry import ascending
from nnjax.data.augment.operation import AtRate, Example, Operation, sound_of, with_sound
from nnjax.fields import Count, Fraction, Natural, Positive
from nnjax.ops import audio


def time_shift(samples: Natural = 1600) -> Operation:
    """Moves the sound by up to `samples` to either side; what enters is silence.

    A sound with a length only starts later, by no more than its array has room: nothing is cut off.
    """

    def shift(key, x, length):
        back = samples if length is None else 0
        room = samples if length is None else jnp.minimum(samples, len(x) - length)
        move = jax.random.randint(key, (), -back, room + 1)
        padded = jnp.pad(x, (samples, back))
        moved = jax.lax.dynamic_slice(padded, (samples - move,), x.shape)
        return moved, None if length is None else length + move

    return _on_samples(shift)


def gain(low: float = -6.0, high: float = 6.0) -> Operation:
    """Louder or softer by a uniform number of decibels."""
    low, high = ascending('low, high', (low, high))

    def change(key, x, length):
        return x * _ratio(jax.random.uniform(key, (), minval=low, maxval=high)), length

    return _on_samples(change)


def add_noise(low: float = 5.0, high: float = 30.0, probability: Fraction = 1.0) -> Operation:
    """Adds white noise at a signal-to-noise ratio drawn evenly from [low, high] decibels.

    The signal's power is its mean over the whole sound; silence stays silent.
    """
    low, high = ascending('low, high', (low, high))

    def add(key, x, length):
        noise_key, mix_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, x.shape)
        return _mixed(mix_key, x, noise, length, (low, high), probability), length

    return _on_samples(add)


def echo(
    low: Positive = 0.02,
    high: Positive = 0.25,
    loudest: Fraction = 0.8,
    probability: Fraction = 0.5,
    rate: Count = 16000,
) -> AtRate:
    """Adds the sound to itself, later by low to high seconds and up to `loudest` times as loud.

    What of the echo comes behind the sound is cut off.

    Args:
      low: least delay in seconds
      high: greatest delay in seconds
      loudest: greatest amplitude of the echo, of the sound's own
      probability: how often there is one
      rate: samples a second
    """
    low, high = ascending('low, high', (low, high))
    first, last = max(1, round(low * rate)), max(1, round(high * rate))

    def add(key, x, length):
        delay_key, loud_key, chance_key = jax.random.split(key, 3)
        delay = jax.random.randint(delay_key, (), first, last + 1)
        later = jax.lax.dynamic_slice(jnp.pad(x, (last, 0)), (last - delay,), x.shape)
        share = jax.random.uniform(loud_key, (), maxval=loudest)
        there = jax.random.bernoulli(chance_key, probability)
        return jnp.where(there, x + share * later, x), length

    return AtRate(_on_samples(add), rate)


def background(
    path: str,
    low: float = 0.0,
    high: float = 20.0,
    probability: Fraction = 0.5,
    rate: Count = 16000,
    seconds: Positive = 60.0,
) -> AtRate:
    """Mixes in a random piece of the sound files in a folder, at a drawn signal-to-noise ratio.

    The files are read where training needs them: what is predicted and evaluated does without.

    Args:
      path: a folder of wav, flac or ogg files, or one of them
      low: least ratio in decibels
      high: greatest ratio in decibels
      probability: how often anything is mixed in
      rate: samples a second of the data; the files are converted to it
      seconds: of the files, one after another, that are kept in the compiled program at most
    """
    low, high = ascending('low, high', (low, high))

    def add(key, x, length):
        place_key, mix_key = jax.random.split(key)
        noise = jnp.asarray(sounds.background(path, rate, int(seconds * rate)))
        if len(noise) < len(x):
            noise = jnp.tile(noise, -(-len(x) // len(noise)))
        start = jax.random.randint(place_key, (), 0, len(noise) - len(x) + 1)
        piece = jax.lax.dynamic_slice(noise, (start,), x.shape)
        return _mixed(mix_key, x, piece, length, (low, high), probability), length

    return AtRate(_on_samples(add), rate)


def speed(low: Positive = 0.9, high: Positive = 1.1) -> Operation:
    """Plays the sound faster or slower, pitch and all, by a uniform factor; linear interpolation.

    A sound with a length becomes no longer than its array (Ko et al., 2015, use 0.9, 1 and 1.1);
    one without is stretched about its middle, with silence at its ends or its ends cut off.
    """
    low, high = ascending('low, high', (low, high))

    def change(key, x, length):
        factor = jax.random.uniform(key, (), minval=low, maxval=high)
        size = jnp.float32(len(x))
        if length is None:
            start = 0.5 * (size - 1) * (1 - factor)
            last, after = len(x) - 1, None
        else:
            real = length.astype(jnp.float32)
            factor, start = jnp.maximum(factor, real / size), jnp.float32(0)
            last = length - 1
            after = jnp.minimum(jnp.ceil(real / factor).astype(jnp.int32), len(x))
        place = start + factor * jnp.arange(len(x), dtype=jnp.float32)
        left = jnp.floor(place)
        share = place - left
        index = left.astype(jnp.int32)
        inside = (index >= 0) & (index <= last)
        low_side = x[jnp.clip(index, 0, len(x) - 1)]
        high_side = x[jnp.clip(jnp.minimum(index + 1, last), 0, len(x) - 1)]
        return jnp.where(inside, low_side + share * (high_side - low_side), 0), after

    return _on_samples(change)


def spec_augment(
    times: Natural = 2, width: Natural = 25, bands: Natural = 2, height: Natural = 8
) -> Operation:
    """Masks stretches of time and bands of frequency by the sound's mean (Park et al., 2019).

    Behind `log_mel` or `mfcc`. No warping of time; one stretch hides at most a fifth of the sound.

    Args:
      times: stretches of time
      width: frames of a stretch, at most
      bands: bands of frequency
      height: channels of a band, at most
    """

    def mask(key, x, length):
        frames, channels = x.shape
        real = jnp.int32(frames) if length is None else length
        time_key, band_key = jax.random.split(key)
        hidden = _stretches(time_key, times, frames, real, jnp.minimum(width, real // 5))[:, None]
        hidden |= _stretches(band_key, bands, channels, jnp.int32(channels), height)[None]
        total = jnp.sum(audio.real(x, real, -2))
        mean = total / jnp.maximum(real * channels, 1).astype(x.dtype)
        masked = jnp.where(hidden, mean, x)
        return masked if length is None else audio.real(masked, real, -2), length

    def act(key: jax.Array, example: Example) -> Example:
        x, length = sound_of(example, 2)
        return with_sound(example, *mask(key, x, length))

    return act


def _stretches(key: jax.Array, count: int, size: int, end: jax.Array, longest) -> jax.Array:
    """bool [size]: the union of `count` random stretches below `end`, each of 0 ... longest."""
    long_key, start_key = jax.random.split(key)
    longs = _below(long_key, count, jnp.int32(longest) + 1)
    starts = _below(start_key, count, jnp.maximum(end - longs, 0) + 1)
    line = jnp.arange(size)[None]
    return jnp.any((line >= starts[:, None]) & (line < (starts + longs)[:, None]), 0)


def _below(key: jax.Array, count: int, bound: jax.Array) -> jax.Array:
    """int32 [count], each from 0 to bound - 1; `randint` takes three times as long to compile."""
    share = jax.random.uniform(key, (count,))
    return jnp.minimum(jnp.floor(share * bound.astype(share.dtype)).astype(jnp.int32), bound - 1)


def _on_samples(function: Callable) -> Operation:
    """(key, samples [T], length or None) -> (samples, length), as an operation on examples."""

    def act(key: jax.Array, example: Example) -> Example:
        x, length = sound_of(example, 1)
        x = x if length is None else audio.real(x, length)
        x, after = function(key, x, length)
        return with_sound(example, x if after is None else audio.real(x, after), after)

    return act


def _mixed(key, x, noise, length, decibels, probability) -> jax.Array:
    """x and noise [T] of any power, mixed at a drawn ratio."""
    ratio_key, chance_key = jax.random.split(key)
    ratio = _ratio(jax.random.uniform(ratio_key, (), minval=decibels[0], maxval=decibels[1]))
    noise = noise if length is None else audio.real(noise, length)
    # Both sums run over the same samples, so that their number does not matter.
    signal, other = jnp.sum(jnp.square(x)), jnp.sum(jnp.square(noise))
    factor = jnp.sqrt(signal / jnp.maximum(other, 1e-20)) / ratio
    return jnp.where(jax.random.bernoulli(chance_key, probability), x + factor * noise, x)


def _ratio(decibels: jax.Array) -> jax.Array:
    """Decibels of power -> factor of amplitude."""
    return jnp.float32(10) ** (decibels / 20)

"""Features of sound, for training and evaluation alike: 'log_mel(40) | cmvn'.

They are operations and not layers of a model: what changes samples stands before them in one text,
what changes features behind them, and every model of pictures or sequences takes what they give.
"""

from typing import Annotated

import jax.numpy as jnp

from nnjax.data.augment.operation import Always, sound_of, with_sound, without_length
from nnjax.errors import UserError
from nnjax.fields import Count, NonNegative, Positive, Range
from nnjax.ops import audio

Odd = Annotated[int, Range(3)]


def log_mel(
    mels: Count = 40,
    rate: Count = 16000,
    window: Count = 400,
    hop: Count = 160,
    fft: Count = 512,
    low: NonNegative = 20.0,
    high: Positive | None = None,
    scale: audio.Scale = 'slaney',
    floor: Positive = 1e-6,
    mean: float = 0.0,
    deviation: Positive = 1.0,
) -> Always:
    """Samples [T] -> natural logarithms of the power in mel bands [1 + T // hop, mels].

    Args:
      mels: bands
      rate: samples a second
      window: samples of the Hann window
      hop: samples from one frame to the next
      fft: samples of the Fourier transform, the window's and zeros
      low: lowest frequency in Hz
      high: highest frequency in Hz; default is half the rate
      scale: mel of Slaney or of HTK
      floor: least power
      mean: taken from the logarithms, for networks that want numbers about zero without `cmvn`
      deviation: by which they are then divided
    """
    spectrum = _mel(mels, rate, window, hop, fft, low, high, scale)

    def logarithms(x, frames):
        return (jnp.log(jnp.maximum(spectrum(x), floor)) - mean) / deviation

    return _on_samples(logarithms, hop, rate)


def mfcc(
    coefficients: Count = 13,
    mels: Count = 40,
    rate: Count = 16000,
    window: Count = 400,
    hop: Count = 160,
    fft: Count = 512,
    low: NonNegative = 0.0,
    high: Positive | None = None,
    scale: audio.Scale = 'slaney',
) -> Always:
    """Samples [T] -> cepstral coefficients of mel bands in decibels [1 + T // hop, coefficients].

    librosa's, with silence before and behind the sound, and no band more than 80 dB below its
    loudest; the arguments are those of `log_mel`.
    """
    if coefficients > mels:
        raise UserError(f'coefficients={coefficients}: at most mels={mels}')
    spectrum = _mel(mels, rate, window, hop, fft, low, high, scale)
    return _on_samples(
        lambda x, frames: audio.cepstra(audio.decibels(spectrum(x), frames), coefficients),
        hop,
        rate,
        whole=True,  # its loudest bounds every frame
    )


def deltas(orders: Count = 1, width: Odd = 9) -> Always:
    """Features [N, F] -> [N, (1 + orders) F]: with their derivatives, the first, second ...

    Each is that of a polynomial of its own order over `width` frames (librosa's delta).
    """
    if width % 2 == 0:
        raise UserError(f'width={width}: expected an odd number')
    if orders >= width:
        raise UserError(f'orders={orders}: fewer than width={width} frames')

    def change(x, length):
        slopes = [audio.slopes(x, length, width, order) for order in range(1, orders + 1)]
        return jnp.concatenate([x, *slopes], -1)

    return _on_features(change)


def cmvn(deviation: bool = True) -> Always:
    """Takes each channel's mean over the sound away, and divides by its standard deviation.

    Cepstral mean and variance normalisation: a microphone's colour and distance vanish.
    """
    return _on_features(lambda x, length: audio.standardized(x, length, deviation), whole=True)


def centered(frames: Count = 60) -> Always:
    """Features of logarithms [N, F] -> [frames, F] about the middle of what is loud.

    The middle is the mean place of the power above its mean. Beyond the sound its first and last
    frames go on; the length is left out. It spares a network that knows no shift, such as an MLP.
    """

    def change(example):
        x, length = sound_of(example, 2)
        last = len(x) - 1 if length is None else jnp.maximum(length, 1) - 1
        line = jnp.arange(len(x))
        power = jnp.where(line <= last, jnp.sum(jnp.exp(x), -1), 0)
        mean = jnp.sum(power) / (jnp.asarray(last).astype(x.dtype) + 1)
        loud = jnp.maximum(power - mean, 0)
        middle = jnp.sum(loud * line.astype(x.dtype)) / jnp.maximum(jnp.sum(loud), 1e-20)
        first = jnp.round(middle).astype(jnp.int32) - frames // 2
        rows = jnp.clip(first + jnp.arange(frames), 0, last)
        return without_length(example, x[rows])

    return Always(change, whole=True)


def picture() -> Always:
    """Features [N, F] -> a picture [N, F, 1], for models of images; the length is left out.

    What stood behind the length is zero.
    """

    def change(example):
        x, length = sound_of(example, 2)
        x = x if length is None else audio.real(x, length, -2)
        return without_length(example, x[..., None])

    return Always(change, whole=True)


def _mel(mels, rate, window, hop, fft, low, high, scale):
    """samples [T] -> power in bands."""
    top = high or rate / 2
    if not low < top <= rate / 2:
        raise UserError(
            f'low={low:g}, high={top:g}: expected low < high <= rate / 2 = {rate / 2:g}'
        )
    if fft % 2:
        raise UserError(f'fft={fft}: expected an even number')
    if window > fft:
        raise UserError(f'window={window} is longer than fft={fft}')
    empty = (audio.mel_filters(rate, fft, mels, low, top, scale).max(0) == 0).sum()
    if empty:
        raise UserError(f'mels={mels}: {empty} bands lie between two bins; fewer, or a longer fft')
    return lambda x: audio.mel_spectrum(x, rate, mels, fft, window, hop, low, top, scale)


def _on_samples(function, hop: int, rate: int, whole: bool = False) -> Always:
    """(samples [T], frames or None) -> features [N, F], as an operation on examples."""

    def change(example):
        x, length = sound_of(example, 1)
        if length is None:
            return with_sound(example, function(x, None), None)
        frames = audio.frame_count(length, hop)
        features = function(audio.real(x, length), frames)
        return with_sound(example, audio.real(features, frames, -2), frames)

    return Always(change, rate, hop, whole)


def _on_features(function, whole: bool = False) -> Always:
    """(features [N, F], length or None) -> features [N, F'], as an operation on examples."""

    def change(example):
        x, length = sound_of(example, 2)
        return with_sound(example, function(x, length), length)

    return Always(change, whole=whole)

"""Encoded sounds -> int16 samples of one channel at one rate, through soundfile.

What comes out is a pure function of the file and the rate.
"""

import functools
import importlib
import math
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from nnjax.data import images
from nnjax.errors import UserError

SUFFIXES = ('.wav', '.flac', '.ogg')
EXTRA = "pip install 'nnjax[speech]'"
UNKNOWN = (0, 0xFFFFFFFF)  # lengths that a program writes which does not know yet
OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the longest


class Header(NamedTuple):
    """Samples of a channel, samples a second, channels."""

    samples: int
    rate: int
    channels: int


def below(folder: Path) -> list[str]:
    """The path of every sound in a folder and its subfolders, in order; hidden ones are not.

    Raises:
      UserError: there is none.
    """
    return images.below(folder, SUFFIXES, 'sounds')


def header(path: str | Path) -> Header:
    """What a file says of itself.

    Raises:
      UserError: no sound, an empty one, or only a part of one, naming the file.
    """
    cut = _truncated(path)
    try:
        info = library().info(str(path))
    except RuntimeError as error:
        raise UserError(f'{path} is no sound: {_reason(error)}') from None
    if not info.frames:
        raise UserError(f'{path} holds no samples')
    if cut:
        raise UserError(f'{path} is cut off: it ends before its own length')
    return Header(info.frames, info.samplerate, info.channels)


def decode(path: str | Path, rate: int) -> np.ndarray:
    """A file -> int16 [T], the mean of its channels, at `rate` samples a second.

    Raises:
      UserError: what `header` refuses, or what cannot be decoded.
    """
    expected = header(path)
    try:
        x, own = library().read(str(path), dtype='float32', always_2d=True)
    except RuntimeError as error:
        raise UserError(f'{path} cannot be decoded: {_reason(error)}') from None
    if len(x) < expected.samples:
        raise UserError(f'{path} is cut off: {len(x)} of {expected.samples} samples are there')
    return to_int16(resampled(x.mean(1), own, rate))


def resampled(x: np.ndarray, own: int, rate: int) -> np.ndarray:
    """x [T] at `own` samples a second -> at `rate`, by a polyphase filter."""
    if own == rate:
        return x
    from scipy.signal import resample_poly

    common = math.gcd(own, rate)
    up, down = rate // common, own // common
    return resample_poly(x, up, down, window=_low_pass(up, down).astype(x.dtype))


@functools.cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """The taps that resample_poly would design anew for every sound."""
    from scipy.signal import firwin

    slower = max(up, down)
    return firwin(20 * slower + 1, 1 / slower, window=('kaiser', 5.0))


def to_int16(x: np.ndarray) -> np.ndarray:
    """Real samples in [-1, 1] -> whole numbers of 16 bits; louder ones are clipped."""
    return np.clip(np.round(x * 32768), -32768, 32767).astype(np.int16)


def fitted(x: np.ndarray, length: int) -> np.ndarray:
    """Samples [T] -> [length]: zeros behind, or the middle of a longer sound."""
    if len(x) > length:
        start = (len(x) - length) // 2
        return x[start : start + length]
    return np.pad(x, (0, length - len(x)))


@functools.lru_cache(maxsize=8)
def background(path: str, rate: int, most: int) -> np.ndarray:
    """A file or a folder of them -> float32 [at most `most`], one after another, in [-1, 1)."""
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f'no file or folder {place}')
    files = below(place) if place.is_dir() else [str(place)]
    parts, total = [], 0
    for file in files:
        if total < most:
            parts.append(decode(file, rate)[: most - total])
            total += len(parts[-1])
    return np.concatenate(parts).astype(np.float32) / 32768


def library():
    """The package that reads sounds.

    Raises:
      UserError: it is not there.
    """
    try:
        return importlib.import_module('soundfile')
    except (ImportError, OSError):
        raise UserError(f'sounds need the package soundfile: {EXTRA}') from None


def _truncated(path: str | Path) -> bool:
    """Whether a wav's data end before their length, or an ogg has no last page; reads no samples.

    Raises:
      UserError: the file cannot be read, or is empty.
    """
    try:
        size = os.path.getsize(path)
        if not size:
            raise UserError(f'{path} is empty')
        with open(path, 'rb') as file:
            head = file.read(12)
            if head[:4] == b'RIFF' and head[8:] == b'WAVE':
                return _data_end(file, size) > size
            if head[:4] == b'OggS':
                file.seek(max(0, size - OGG_PAGE))
                tail = file.read()
                last = tail.rfind(b'OggS')
                return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from None
    return False


def _data_end(file: BinaryIO, size: int) -> float:
    """Where the data of a wav of so many bytes end by its own length; infinite where it has none."""
    while len(chunk := file.read(8)) == 8:
        long = int.from_bytes(chunk[4:], 'little')
        if chunk[:4] == b'data':
            return size if long in UNKNOWN else file.tell() + long
        file.seek(long + long % 2, os.SEEK_CUR)
    return math.inf


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rpartition(': ')[2].rstrip('.')

"""Speech by espeak-ng: synthetic, bit for bit the same each time, in a process of its own.

espeak-ng's licence is the GPL; it only makes data, and no file of it is here. Its noise comes from
libc's rand, which is seeded before each utterance; what else it carries over from one utterance to
the next is the same as long as a process speaks the same list.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnjax.data import sounds
from nnjax.errors import UserError

ACCENTS = (
    'en-us', 'en', 'en-gb-scotland', 'en-gb-x-rp', 'en-gb-x-gbclan', 'en-gb-x-gbcwmd', 'en-029',
    'en-us-nyc',
)  # fmt: skip
# Variants of the voice that do not repeat bit for bit, and machines that nobody would understand.
UNSTEADY = {'Alicia', 'Demonic', 'f2', 'f3', 'f5', 'sandro', 'victor', 'whisper', 'whisperf'}
MACHINES = {
    'AnxiousAndy', 'Storm', 'Tweaky', 'UniRobot', 'anikaRobot', 'croak', 'fast', 'robosoft',
    *(f'robosoft{n}' for n in range(2, 9)),
}  # fmt: skip
SPLITS = {'train': (0, 0.7), 'valid': (0.7, 0.85), 'test': (0.85, 1)}  # shares of the variants


class Request(NamedTuple):
    """What to say and how: words a minute, pitch and its range of 0 to 99."""

    text: str
    voice: str
    rate: int
    pitch: int
    range: int


def rng(split: str) -> np.random.RandomState:
    """The random numbers of a split: NumPy's old generator, whose streams never change."""
    return np.random.RandomState(list(SPLITS).index(split))


def voices(split: str) -> list[str]:
    """The voices of a split; no variant, a speaker so to speak, is in two of them."""
    folder = Path(_package().get_data_path()) / 'voices' / '!v'
    names = sorted({p.name for p in folder.iterdir()} - UNSTEADY - MACHINES)
    names = [names[n] for n in np.random.RandomState(0).permutation(len(names))]
    low, high = (round(share * len(names)) for share in SPLITS[split])
    return [f'{accent}+{variant}' for variant in names[low:high] for accent in ACCENTS]


def request(random: np.random.RandomState, text: str, among: Sequence[str]) -> Request:
    """A text in a random voice, at a random rate and pitch."""
    voice = among[random.randint(len(among))]
    rate, pitch, range = (int(random.randint(*ends)) for ends in ((120, 211), (25, 76), (20, 81)))
    return Request(text, voice, rate, pitch, range)


def speak(requests: Sequence[Request], rate: int) -> Iterator[np.ndarray]:
    """Yields each utterance: real samples at `rate` a second, silence before and behind cut off.

    Raises:
      UserError: espeak-ng is missing or fails.
    """
    _package()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / 'made.npz'
        done = subprocess.run(
            [sys.executable, '-m', __name__, str(made)],
            input=json.dumps(requests),
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ['no reason given'])[-1]
            raise UserError(f'espeak-ng failed: {reason}')
        with np.load(made) as found:
            own, samples, ends = int(found['rate']), found['samples'], found['ends']
    for start, end in zip(np.concatenate([[0], ends]), ends):
        loud = np.flatnonzero(np.abs(samples[start:end].astype(np.int32)) > 50)
        piece = samples[start:end][loud[0] : loud[-1] + 1] if loud.size else samples[start:end]
        yield sounds.resampled(piece.astype(np.float64) / 32768, own, rate)


def placed(
    random: np.random.RandomState, x: np.ndarray, length: int, start: int, snr: tuple[float, float]
) -> np.ndarray:
    """Speech [T] at a random loudness from `start` on -> int16 [length] with white noise."""
    x = x[:length] * 10 ** (random.uniform(-12, 0) / 20)
    found = np.zeros(length)
    found[start : start + len(x)] = x
    level = np.sqrt(np.mean(x**2)) * 10 ** (-random.uniform(*snr) / 20)
    return sounds.to_int16(found + level * random.standard_normal(length))


def _package():
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            f'synthetic speech cannot be prepared without espeak-ng: {sounds.EXTRA}'
        ) from None
    return espeakng_loader


def _main(made: str) -> None:
    """Speaks the requests on standard input into a file."""
    package = _package()
    library = ctypes.CDLL(str(package.get_library_path()))
    libc = ctypes.CDLL(None)
    own = library.espeak_Initialize(2, 0, str(package.get_data_path()).encode(), 0)  # synchronous
    if own <= 0:
        sys.exit('it does not start')
    parts: list[np.ndarray] = []
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def receive(samples, count, _):
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = kind(receive)
    library.espeak_SetSynthCallback(callback)
    ends, whole = [], []
    for number, item in enumerate(json.load(sys.stdin)):
        wanted = Request(*item)
        libc.srand(number + 1)
        if library.espeak_SetVoiceByName(wanted.voice.encode()):
            sys.exit(f'it has no voice {wanted.voice!r}')
        for parameter, value in ((1, wanted.rate), (2, 100), (3, wanted.pitch), (4, wanted.range)):
            library.espeak_SetParameter(parameter, value, 0)
        text = wanted.text.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, 1, None, None)
        library.espeak_Synchronize()
        whole += parts
        ends.append(sum(map(len, parts)) + (ends[-1] if ends else 0))
        parts.clear()
    samples = np.concatenate(whole) if whole else np.zeros(0, np.int16)
    np.savez(made, rate=own, samples=samples, ends=np.array(ends, np.int64))


if __name__ == '__main__':
    _main(sys.argv[1])

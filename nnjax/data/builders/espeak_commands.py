"""Twenty command words spoken by espeak-ng, as a TFDS data set: synthetic speech."""

import functools
from collections.abc import Iterator

import numpy as np

from nnjax.data.builders import espeak, made

RATE = 16000
WORDS = (
    'yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go', 'zero', 'one', 'two',
    'three', 'four', 'five', 'six', 'seven', 'eight', 'nine',
)  # fmt: skip
SIZES = {'train': 8000, 'valid': 1600, 'test': 1600}
SNR = (5.0, 30.0)  # decibels


def builder(source: str | None = None):
    """-> the builder class; espeak-ng speaks, so `source` has no meaning."""
    return made.builder(
        'espeak_commands',
        'Synthetic speech: a word somewhere in a second of noise, 16 kHz; no voice is in two splits.',
        {'audio': RATE, 'label': WORDS},
        {split: functools.partial(_fields, split, size) for split, size in SIZES.items()},
    )


def _fields(split: str, count: int):
    for audio, label in examples(split, count):
        yield {'audio': audio, 'label': label}


def examples(split: str, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (int16 [16000], class) for the first `count` examples of a split."""
    random, voices = espeak.rng(split), espeak.voices(split)
    labels = [n % len(WORDS) for n in range(count)]
    requests = [espeak.request(random, WORDS[label], voices) for label in labels]
    for label, x in zip(labels, espeak.speak(requests, RATE), strict=True):
        start = random.randint(max(0, RATE - len(x)) + 1)
        yield espeak.placed(random, x, RATE, start, SNR), label

"""Connected digits with their transcripts, spoken by espeak-ng, as a TFDS data set: synthetic."""

import functools
from collections.abc import Iterator

import numpy as np

from nnjax.data.builders import espeak, made

RATE = 8000
LENGTH = 4 * RATE
WORDS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
DIGITS = (2, 6)  # of an utterance
SIZES = {'train': 6000, 'valid': 600, 'test': 1000}
SNR = (10.0, 30.0)  # decibels
MARGIN = RATE // 5  # of silence before the first digit and behind the last, at most


def builder(source: str | None = None):
    """-> the builder class; espeak-ng speaks, so `source` has no meaning."""
    return made.builder(
        'espeak_digits',
        'Synthetic speech: two to six digits in one breath, 8 kHz; no voice is in two splits.',
        {'audio': LENGTH, 'audio_length': int, 'text': str},
        {split: functools.partial(_fields, split, size) for split, size in SIZES.items()},
    )


def _fields(split: str, count: int):
    for audio, length, text in examples(split, count):
        yield {'audio': audio, 'audio_length': length, 'text': text}


def examples(split: str, count: int) -> Iterator[tuple[np.ndarray, int, str]]:
    """Yields (int16 [32000], samples that are real, text) for the first examples of a split."""
    random, voices = espeak.rng(split), espeak.voices(split)
    texts = [_text(random) for _ in range(count)]
    requests = [espeak.request(random, text, voices) for text in texts]
    for text, x in zip(texts, espeak.speak(requests, RATE), strict=True):
        start, behind = random.randint(MARGIN, size=2)
        length = min(LENGTH, start + len(x) + behind)
        audio = espeak.placed(random, x[: length - start], length, start, SNR)
        yield np.pad(audio, (0, LENGTH - length)), length, text


def _text(random: np.random.RandomState) -> str:
    digits = random.randint(len(WORDS), size=random.randint(DIGITS[0], DIGITS[1] + 1))
    return ' '.join(WORDS[digit] for digit in digits)

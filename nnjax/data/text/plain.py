"""Vocabularies that need no library: bytes, characters, words."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from nnjax.data.text.vocabulary import FIRST, SPECIAL, UNKNOWN

Encoded = list[tuple[np.ndarray, np.ndarray]]

_WORD = re.compile(r'\w+|[^\w\s]')
# What stands without a space before it, after it, or on both sides.
_TIGHT = ((re.compile(r' (?=[.,;:!?%)\]}])'), ''), (re.compile(r"(?<=[(\[{]) | ?([-'’]) ?"), r'\1'))


class Bytes:
    """UTF-8's bytes."""

    size = FIRST + 256

    def __init__(self, vocabulary: str = ''):
        pass

    def encode(self, texts: Sequence[str]) -> Encoded:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        raw = np.frombuffer(text.encode(), np.uint8)
        place = np.cumsum((raw & 0xC0) != 0x80) - 1  # of the character that a byte belongs to
        return raw.astype(np.int32) + FIRST, np.stack([place, place + 1], 1)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        raw = (bytes(n - FIRST if n >= FIRST else 0xFF for n in row) for row in rows)
        return [found.decode(errors='replace') for found in raw]


class Characters:
    """Characters, in the order of the vocabulary."""

    def __init__(self, vocabulary: str):
        self.size = FIRST + len(vocabulary)
        self._names = [*SPECIAL, *vocabulary]
        codes = _codes(vocabulary)
        self._order = np.argsort(codes)
        self._codes = codes[self._order]

    def encode(self, texts: Sequence[str]) -> Encoded:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        codes, place = _codes(text), np.arange(len(text))
        ids = np.full(len(text), UNKNOWN, np.int32)
        if len(self._codes):
            found = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
            known = self._codes[found] == codes
            ids[known] = self._order[found[known]] + FIRST
        return ids, np.stack([place, place + 1], 1)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [''.join(self._names[n] for n in row) for row in rows]


class Words:
    """Words and single marks; decoding sets spaces by rule, so it keeps words, not all spaces."""

    def __init__(self, vocabulary: str):
        self._names = [*SPECIAL, *vocabulary.split()]
        self.size = len(self._names)
        self._number = {word: n for n, word in enumerate(self._names) if n >= FIRST}

    def encode(self, texts: Sequence[str]) -> Encoded:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        found = list(_WORD.finditer(text))
        ids = np.array([self._number.get(match[0], UNKNOWN) for match in found], np.int32)
        return ids, np.array([match.span() for match in found], np.int64).reshape(-1, 2)

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self._joined(' '.join(self._names[n] for n in row)) for row in rows]

    def _joined(self, text: str) -> str:
        for pattern, replacement in _TIGHT:
            text = pattern.sub(replacement, text)
        return text


def frequent_characters(texts: Iterable[str], size: int) -> str:
    """Texts -> their most frequent characters, so that there are at most `size` ids."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return ''.join(_most(counts, size))


def frequent_words(texts: Iterable[str], size: int) -> str:
    """Texts -> their most frequent words, with spaces between, so that there are at most `size` ids."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text))
    return ' '.join(_most(counts, size))


def _most(counts: Counter[str], size: int) -> list[str]:
    """The most frequent; of equally frequent ones the first in order."""
    return sorted(counts, key=lambda token: (-counts[token], token))[: max(0, size - FIRST)]


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)

"""Vocabularies that need no library: bytes, characters, words."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from nnjax.data.text.vocabulary import FIRST, SPECIAL, UNKNOWN, Rows

_WORD = re.compile(r'\w+|[^\w\s]')
# Marks that stand without a space before, after, on both sides.
_TIGHT = ((r' (?=[.,;:!?%)\]}])', ''), (r'(?<=[(\[{]) ', ''), (r" ?([-'’]) ?", r'\1'))


class Bytes:
    """UTF-8's bytes."""

    size = FIRST + 256

    def __init__(self, vocabulary: str = ''):
        pass

    def encode(self, texts: Sequence[str]) -> Rows:
        encoded = [text.encode() for text in texts]
        raw = np.frombuffer(b''.join(encoded), np.uint8)
        counts = np.array([len(one) for one in encoded], np.int64)
        character = np.cumsum((raw & 0xC0) != 0x80) - 1  # that a byte belongs to, in all texts
        before = np.cumsum([0, *map(len, texts)])[:-1]
        place = character - np.repeat(before, counts)
        return Rows(raw.astype(np.int32) + FIRST, counts, np.stack([place, place + 1], 1))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        raw = (bytes(n - FIRST if n >= FIRST else 0xFF for n in row) for row in rows)
        return [found.decode(errors='replace') for found in raw]


class Characters:
    """Characters, in the order of the vocabulary."""

    def __init__(self, vocabulary: str):
        self.size = FIRST + len(vocabulary)
        self._names = [*SPECIAL, *vocabulary]
        codes = _codes(vocabulary)
        self._order = np.argsort(codes).astype(np.int32)
        self._codes = codes[self._order]

    def encode(self, texts: Sequence[str]) -> Rows:
        codes = _codes(''.join(texts))
        counts = np.array([len(text) for text in texts], np.int64)
        ids = np.full(len(codes), UNKNOWN, np.int32)
        if len(self._codes):
            found = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
            ids = np.where(self._codes[found] == codes, self._order[found] + np.int32(FIRST), ids)
        place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        return Rows(ids, counts, np.stack([place, place + 1], 1))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [''.join(self._names[n] for n in row) for row in rows]


class Words:
    """Words and single marks. Decoding sets spaces by rule: it keeps the words, not every space."""

    def __init__(self, vocabulary: str):
        self._names = [*SPECIAL, *vocabulary.split()]
        self.size = len(self._names)
        self._number = {word: n for n, word in enumerate(self._names) if n >= FIRST}

    def encode(self, texts: Sequence[str]) -> Rows:
        found = [list(_WORD.finditer(text)) for text in texts]
        ids = [self._number.get(match[0], UNKNOWN) for row in found for match in row]
        places = [match.span() for row in found for match in row]
        counts = np.array([len(row) for row in found], np.int64)
        return Rows(np.array(ids, np.int32), counts, np.array(places, np.int64).reshape(-1, 2))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self._joined(' '.join(self._names[n] for n in row)) for row in rows]

    def _joined(self, text: str) -> str:
        for pattern, replacement in _TIGHT:
            text = re.sub(pattern, replacement, text)
        return text


def frequent_characters(texts: Iterable[str], size: int) -> str:
    """Texts -> their most frequent characters, so that there are at most `size` ids."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return ''.join(_most(counts, size))


def frequent_words(texts: Iterable[str], size: int) -> str:
    """Texts -> their most frequent words, spaces between, so that there are at most `size` ids."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_WORD.findall(text))
    return ' '.join(_most(counts, size))


def _most(counts: Counter[str], size: int) -> list[str]:
    """The most frequent; of equally frequent ones the first in order."""
    return sorted(counts, key=lambda token: (-counts[token], token))[: max(0, size - FIRST)]


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)

"""Tokenizers: each is a kind and one text that holds its vocabulary, which a run saves.

Ids 0 to 3 are no text's: padding, unknown, begin and end. Real tokens start at 4.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nnjax.data.text import plain, subword
from nnjax.data.text.vocabulary import END, SPECIAL, UNKNOWN
from nnjax.errors import UserError


class Tokenizer(Protocol):
    """Attributes: size, ids are below it. Neither method sees an id of padding, begin or end."""

    size: int

    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Texts -> for each its ids [n] and the places of their characters, [n, 2] from and to."""

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Rows of ids -> texts."""


class Kind(NamedTuple):
    """A way to cut texts: (texts, at most so many tokens) -> vocabulary; vocabulary -> tokenizer."""

    learn: Callable[[Iterable[str], int], str]
    tokenizer: Callable[[str], Tokenizer]


KINDS = {
    'bytes': Kind(lambda texts, size: '', plain.Bytes),
    'characters': Kind(plain.frequent_characters, plain.Characters),
    'words': Kind(plain.frequent_words, plain.Words),
    'bpe': Kind(subword.learn_bpe, subword.Subword),
    'unigram': Kind(subword.learn_unigram, subword.Subword),
}


@functools.lru_cache(maxsize=16)  # batches come one by one, and a vocabulary may be long
def tokenizer(kind: str, vocabulary: str) -> Tokenizer:
    """Of what a run has saved -> its tokenizer."""
    return KINDS[kind].tokenizer(vocabulary)


def decode(made: Tokenizer, ids: np.ndarray) -> list[str]:
    """Ids [N, T] -> N texts: each up to its end, without padding and begin.

    Raises:
      UserError: ids that the vocabulary does not have.
    """
    ids = np.asarray(ids)
    if ids.size and not 0 <= ids.min() <= ids.max() < made.size:
        raise UserError(
            f'ids from {ids.min()} to {ids.max()} are not of this vocabulary of {made.size} tokens'
        )
    ends = np.where((ids == END).any(1), (ids == END).argmax(1), ids.shape[1])
    real = (np.arange(ids.shape[1]) < ends[:, None]) & ((ids == UNKNOWN) | (ids >= len(SPECIAL)))
    return made.decode([row[keep].tolist() for row, keep in zip(ids, real)])

"""Tokenizers: each is a kind and one text that holds its vocabulary, which a run saves."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from nnjax.data.text import plain, subword
from nnjax.data.text.vocabulary import END, FIRST, UNKNOWN, Rows
from nnjax.errors import UserError

Name = Literal['bytes', 'characters', 'words', 'bpe', 'unigram']


class Tokenizer(Protocol):
    """Texts -> rows of ids, rows of ids -> texts; without padding, begin and end.

    `size` is how many ids there are, with the four that are no text's.
    """

    size: int

    def encode(self, texts: Sequence[str]) -> Rows: ...

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]: ...


class Kind(NamedTuple):
    """A way to cut texts: (texts, number of ids at most) -> vocabulary; vocabulary -> tokenizer."""

    learn: Callable[[Iterable[str], int], str]
    tokenizer: Callable[[str], Tokenizer]
    least: int = FIRST + 1


KINDS: dict[str, Kind] = {
    'bytes': Kind(lambda texts, size: '', plain.Bytes, plain.Bytes.size),
    'characters': Kind(plain.frequent_characters, plain.Characters),
    'words': Kind(plain.frequent_words, plain.Words),
    'bpe': Kind(subword.learn_bpe, subword.Subword, subword.LEAST),
    'unigram': Kind(subword.learn_unigram, subword.Subword, subword.LEAST),
}


@functools.lru_cache(maxsize=16)  # batches come one by one, and a vocabulary may be long
def tokenizer(kind: str, vocabulary: str) -> Tokenizer:
    """What a run has saved -> its tokenizer."""
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
    over = np.cumsum(ids == END, 1) > 0
    real = ~over & ((ids == UNKNOWN) | (ids >= FIRST))
    return made.decode([row[keep].tolist() for row, keep in zip(ids, real)])

"""Vocabularies of parts of words, learned by the library `tokenizers`.

Both work on UTF-8's bytes, as GPT-2's does, so that no text has an unknown token and decoding gives
back what was encoded.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from nnjax.data.text.vocabulary import FIRST, SPECIAL, UNKNOWN
from nnjax.errors import UserError

LEAST = FIRST + 256  # the special ids and every byte


class Subword:
    """What `learn_bpe` or `learn_unigram` made; the library's ids follow the special ones."""

    def __init__(self, vocabulary: str):
        self._made = _library().Tokenizer.from_str(vocabulary)
        self.size = FIRST + self._made.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (
                np.array(found.ids, np.int32) + np.int32(FIRST),
                np.array(found.offsets, np.int64).reshape(-1, 2),
            )
            for found in self._made.encode_batch(list(texts))
        ]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self._one(list(row)) for row in rows]

    def _one(self, row: list[int]) -> str:
        if UNKNOWN not in row:
            return self._made.decode([n - FIRST for n in row])
        place = row.index(UNKNOWN)
        return self._one(row[:place]) + SPECIAL[UNKNOWN] + self._one(row[place + 1 :])


def learn_bpe(texts: Iterable[str], size: int) -> str:
    """Texts -> byte pair encoding (Sennrich et al., 2016) of at most `size` ids."""
    library = _library()
    trainer = library.trainers.BpeTrainer(**_options(size))
    return _learned(library.models.BPE(), trainer, texts)


def learn_unigram(texts: Iterable[str], size: int) -> str:
    """Texts -> unigram language model of pieces (Kudo, 2018) of at most `size` ids."""
    library = _library()
    trainer = library.trainers.UnigramTrainer(**_options(size))
    return _learned(library.models.Unigram(), trainer, texts)


def _options(size: int) -> dict:
    if size < LEAST:
        raise UserError(f'size={size}: expected at least {LEAST}, for every byte has an id')
    return {
        'vocab_size': size - FIRST,
        'initial_alphabet': _library().pre_tokenizers.ByteLevel.alphabet(),
        'show_progress': False,
    }


def _learned(model, trainer, texts: Iterable[str]) -> str:
    library = _library()
    made = library.Tokenizer(model)
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = library.processors.ByteLevel(trim_offsets=True)
    made.decoder = library.decoders.ByteLevel()
    made.train_from_iterator(texts, trainer)
    return made.to_str()


def _library():
    try:
        import tokenizers

        return tokenizers
    except ImportError:
        raise UserError(
            "prepare: bpe and unigram need tokenizers: pip install 'nnjax[text]'"
        ) from None

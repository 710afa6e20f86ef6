"""Vocabularies of parts of words, learned by the library `tokenizers`.

Both work on UTF-8's bytes, as GPT-2's does, so that no text has an unknown token and decoding gives
back what was encoded.
"""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from nnjax.data.text.vocabulary import FIRST, SPECIAL, UNKNOWN, Rows
from nnjax.errors import UserError

LEAST = FIRST + 256  # the special ids and every byte


class Subword:
    """What `learn_bpe` or `learn_unigram` made; the library's ids follow the special ones."""

    def __init__(self, vocabulary: str):
        self._made = _library().Tokenizer.from_str(vocabulary)
        self.size = FIRST + self._made.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> Rows:
        found = self._made.encode_batch(list(texts))
        ids = np.array([n for one in found for n in one.ids], np.int32) + np.int32(FIRST)
        places = np.array([place for one in found for place in one.offsets], np.int64)
        return Rows(ids, np.array([len(one.ids) for one in found]), places.reshape(-1, 2))

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
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - FIRST, initial_alphabet=sorted(_alphabet()), show_progress=False
    )
    made = _tokenizer(library.models.BPE())
    made.train_from_iterator(texts, trainer)
    return made.to_str()


def learn_unigram(texts: Iterable[str], size: int) -> str:
    """Texts -> unigram language model of pieces (Kudo, 2018) of at most `size` ids."""
    library = _library()
    texts = [text for text in texts if text] or [' ']  # of nothing the library makes NaN
    unseen = 256 - len(set(b''.join(text.encode() for text in texts)))
    trainer = library.trainers.UnigramTrainer(vocab_size=size - FIRST - unseen, show_progress=False)
    made = _tokenizer(library.models.Unigram())
    made.train_from_iterator(texts, trainer)
    pieces = json.loads(made.to_str())['model']['vocab']
    # The library's sums run in an order of their own in each process. What they leave open is
    # settled here: the last digits, and the scores of bytes for which longer pieces leave no use,
    # which it sets apart by ten-thousandths from the least score on.
    scores = {piece: float(f'{score:.6g}') for piece, score in pieces}
    least = min((score for piece, score in scores.items() if len(piece) > 1), default=0.0)
    unused = {byte for byte in _alphabet() if scores.get(byte, least) < least + 256e-4}
    scores |= dict.fromkeys(unused, least - 1)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return _tokenizer(library.models.Unigram(ordered)).to_str()


def _alphabet() -> set[str]:
    """The library's names of the 256 bytes."""
    return set(_library().pre_tokenizers.ByteLevel.alphabet())


def _tokenizer(model):
    library = _library()
    made = library.Tokenizer(model)
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = library.processors.ByteLevel(trim_offsets=True)
    made.decoder = library.decoders.ByteLevel()
    return made


def _library():
    try:
        import tokenizers

        return tokenizers
    except ImportError:
        raise UserError("bpe and unigram need tokenizers: pip install 'nnjax[text]'") from None

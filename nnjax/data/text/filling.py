"""Rows of tokens -> arrays of a fixed length, with begin and end."""

import sys
from typing import Literal

import numpy as np

from nnjax.data import said
from nnjax.data.preparation import Spelled
from nnjax.data.text.vocabulary import BEGIN, END, UNKNOWN, Rows
from nnjax.errors import UserError

Over = Literal['cut', 'refuse']


class Filling:
    """What happens to rows that are shorter or longer than `length`.

    Shorter ones are filled up with 0. Of longer ones the last tokens are left out, which is said
    with their number, once in a split, or they are refused. A row of no token is one unknown token,
    so that no length is 0. `begin` and `end` are counted in `length`.
    """

    def __init__(self, length: int, over: Over, begin: bool = False, end: bool = False):
        self._room = length - begin - end
        if self._room < 1:
            raise UserError(f'length={length} leaves no room for a token')
        self._length, self._over, self._begin, self._end = length, over, begin, end

    def __call__(
        self, rows: Rows, what: str, texts: list[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, what they are, their texts -> ids int32 [N, T], lengths int32 [N], places [N, T, 2].

        Raises:
          UserError: over='refuse' and a row is too long.
        """
        self._look(rows.counts, what, texts)
        kept = np.minimum(rows.counts, self._room)
        column = np.arange(self._room)
        real = column < kept[:, None]
        from_ = (np.cumsum(rows.counts) - rows.counts)[:, None] + column
        ids = np.zeros((len(kept), self._length), np.int32)
        places = np.zeros((*ids.shape, 2), np.int32)
        inside = slice(int(self._begin), int(self._begin) + self._room)
        ids[:, inside][real] = rows.ids[from_[real]]
        places[:, inside][real] = rows.places[from_[real]]
        lengths = kept.astype(np.int32) + np.int32(self._begin)
        if self._begin:
            ids[:, 0] = BEGIN
        if self._end:
            ids[np.arange(len(ids)), lengths] = END
            lengths += np.int32(1)
        ids[lengths == 0, 0] = UNKNOWN
        return ids, np.maximum(lengths, 1), places

    def spelled(self, rows: Rows, texts: list[str]) -> Spelled:
        """Rows and their texts -> what their tokens spell."""
        starts = np.cumsum(rows.counts) - rows.counts
        owner = np.repeat(np.arange(len(texts)), rows.counts)
        some = rows.counts > 0
        first = np.zeros(len(texts), np.int64)  # characters that are given, not predicted
        if not self._begin:
            first[some] = rows.places[starts[some], 1]
        rest = [text[n:] * bool(own) for text, n, own in zip(texts, first, some)]
        return Spelled(
            rows.counts > self._room,
            np.bincount(owner[rows.ids == UNKNOWN], minlength=len(texts)) > 0,
            np.array([len(text) for text in rest]),
            np.array([len(text.encode()) for text in rest]),
        )

    def _look(self, counts: np.ndarray, what: str, texts: list[str]) -> None:
        long = np.flatnonzero(counts > self._room)
        extra = self._length - self._room
        if long.size and self._over == 'refuse':
            row = int(long[0])
            raise UserError(
                f'prepare: {what}, {texts[row][:40]!r} ... has {counts[row] + extra} tokens, '
                f"length={self._length}; over='cut' cuts such rows"
            )
        split = said.now() or said.Split('', len(counts))
        before = split.read.get(what, 0)
        if before is None:  # it was said
            return
        read = before + len(counts)
        split.read[what] = None if long.size else read
        if long.size:
            rows = f'{"" if read == split.size else "first "}{read:,} rows of {what}'
            print(
                f'prepare: cut {long.size:,} of the {rows}{split.name and f" in {split.name}"} to '
                f'{self._length} tokens (the longest has {counts.max() + extra:,})',
                file=sys.stderr,
            )

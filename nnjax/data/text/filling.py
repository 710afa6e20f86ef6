"""Rows of tokens -> arrays of a fixed length, with begin and end."""

import sys
from typing import Literal

import numpy as np

from nnjax.data.text.vocabulary import BEGIN, END, UNKNOWN, Rows
from nnjax.errors import UserError

Over = Literal['cut', 'refuse']


class Filling:
    """What happens to rows that are shorter or longer than `length`.

    Shorter ones are filled up with 0. Of longer ones the last tokens are left out, which is said
    once with their number, or they are refused. A row of no token is one unknown token, so that no
    length is 0. `begin` and `end` are counted in `length`.
    """

    def __init__(self, length: int, over: Over, begin: bool = False, end: bool = False):
        self._room = length - begin - end
        if self._room < 1:
            raise UserError(f'length={length} leaves no room for a token')
        self._length, self._over, self._begin, self._end = length, over, begin, end
        self._said = False

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

    def cuts(self, counts: np.ndarray) -> np.ndarray:
        """Tokens of rows [N] -> which rows are too long."""
        return counts > self._room

    def _look(self, counts: np.ndarray, what: str, texts: list[str]) -> None:
        long = np.flatnonzero(self.cuts(counts))
        if not long.size or (self._over == 'cut' and self._said):
            return
        extra = self._length - self._room
        if self._over == 'refuse':
            row = int(long[0])
            raise UserError(
                f'prepare: {what}, {texts[row][:40]!r} ... has {counts[row] + extra} tokens, '
                f"length={self._length}; over='cut' cuts such rows"
            )
        self._said = True
        print(
            f'prepare: cut {long.size:,} of {len(counts):,} rows of {what} to {self._length} '
            f'tokens (the longest has {counts.max() + extra:,}; said once)',
            file=sys.stderr,
        )

"""What every vocabulary shares: the first ids, and texts as rows of ids."""

from typing import NamedTuple

import numpy as np

SPECIAL = ('<pad>', '<unk>', '<bos>', '<eos>')
PAD, UNKNOWN, BEGIN, END = range(len(SPECIAL))
FIRST = len(SPECIAL)  # the first id of a real token


class Rows(NamedTuple):
    """Rows of tokens, one after another.

    Attributes:
      ids: int32 [total].
      counts: int [N], how many of them each row has.
      places: int [total, 2], from and to, the characters of the row's text that a token stands for.
    """

    ids: np.ndarray
    counts: np.ndarray
    places: np.ndarray

"""How much each swept field matters to the ranking of the configurations."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnjax.report.axis import number

MOST_LEVELS = 8  # values of a numeric field up to which each is a level of its own


@dataclasses.dataclass(frozen=True)
class Importance:
    """One field's.

    Attributes:
      share: of the variance of the ranks that the field's levels explain, from 0 to 1; NaN where
        there are too few configurations for its levels.
      best: the values of the level whose mean rank is the best.
    """

    share: float
    best: tuple[Any, ...]


def importance(values: Sequence[Any], ranks: Sequence[float]) -> Importance:
    """A field's values and the ranks (1 is the best) of the configurations -> its Importance.

    The share is a one-way analysis of variance of the ranks (Kruskal and Wallis, 1952), corrected
    for the number of levels (epsilon squared, Kelley, 1935), so that a field of no influence has
    about 0 however many levels it has. Numbers of many values are cut into up to four levels of
    equal counts.
    """
    ranks = np.asarray(ranks, np.float64)
    levels = _levels(values)
    split = [ranks[levels == level] for level in range(levels.max() + 1)]
    first = int(np.argmin([part.mean() for part in split]))
    best = tuple(value for value, level in zip(values, levels) if level == first)
    count, total = len(ranks), float(((ranks - ranks.mean()) ** 2).sum())
    if not total or not 1 < len(split) <= count - 2:
        return Importance(math.nan, best)
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in split)
    share = 1 - within / total * (count - 1) / (count - len(split))
    return Importance(min(max(share, 0.0), 1.0), best)


def _levels(values: Sequence[Any]) -> np.ndarray:
    """Each value's level, from 0."""
    names = [repr(value) for value in values]
    distinct = {name: index for index, name in enumerate(dict.fromkeys(names))}
    most = min(MOST_LEVELS, len(values) // 2)
    if not all(map(number, values)) or len(distinct) <= most:
        return np.array([distinct[name] for name in names], int)
    sample = np.asarray(values, np.float64)
    cuts = np.quantile(sample, np.linspace(0, 1, min(4, max(2, len(values) // 4)) + 1)[1:-1])
    return np.unique(np.searchsorted(cuts, sample, side='right'), return_inverse=True)[1]


def ranked(values: Sequence[float]) -> list[float]:
    """Scores, the lower the better -> ranks from 1, the mean rank for equal ones."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place].tolist()

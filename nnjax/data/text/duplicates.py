"""Near-duplicates among texts, so that no split holds what another has learned by heart."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nnjax.data.order import permutation

RUN = 4  # words
COMMON = 500  # a run in so many texts is hardly a sign of a common origin


def groups(texts: Sequence[str], share: float = 0.5) -> np.ndarray:
    """Texts -> int [N]: a number for each group of texts that are linked by near-duplicates.

    Two texts are near-duplicates where they have the same words, or where those runs of four words
    that both have are at least `share` of those that one has. A run links the first texts
    that have it, at most COMMON: of those behind them it says nothing.
    """
    parent = list(range(len(texts)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = n = parent[parent[n]]
        return n

    words = [re.findall(r'\w+', text.lower()) for text in texts]
    runs = [{tuple(own[n : n + RUN]) for n in range(max(1, len(own) - RUN + 1))} for own in words]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    first: dict[tuple[str, ...], int] = {}
    for number, own in enumerate(runs):
        parent[number] = root(first.setdefault(tuple(words[number]), number))
        shared: dict[int, int] = defaultdict(int)
        for run in own:
            if len(found := holders[run]) < COMMON:
                for other in found:
                    shared[other] += 1
                found.append(number)
        for other, count in shared.items():
            if count >= share * (len(own) + len(runs[other]) - count):
                parent[root(number)] = root(other)
    return np.unique([root(n) for n in range(len(texts))], return_inverse=True)[1]


def apart(groups: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """A group for each of N rows -> the rows of a part for each size, and of the rest.

    Whole groups, by a permutation of seed 0, until a part has its size.
    """
    places = np.arange(groups.max() + 1)
    order = permutation(0, np.zeros_like(places), places, len(places))[groups]
    ranked = np.argsort(order, kind='stable')
    ends = np.searchsorted(order[ranked], order[ranked[np.cumsum(sizes)]], side='right')
    return [np.sort(rows) for rows in np.split(ranked, ends)]

"""The lanes' batches, each a function of (seed, step): lanes of one seed see the same data."""

from collections.abc import Iterable

import numpy as np

from nnjax.sweep import seats
from nnjax.training import feed
from nnjax.training.setup import Setup

Batches = dict[str, np.ndarray]  # of all seeds, one after another in front


class Rows:
    """Batches of a group's lanes, from step `start` on.

    Attributes:
      seeds: each of the lanes' seeds, once.
    """

    def __init__(self, made: Setup, seeds: Iterable[int], start: int):
        self._made, self.seeds = made, sorted(set(seeds))
        self._streams = None
        if not made.resident:
            self._streams = [feed.stream(made, start, seed) for seed in self.seeds]

    def one(self, number: int) -> Batches:
        """The batches of step `number` [S, B, ...]; streamed ones come in order."""
        if self._streams is not None:
            return seats.stack([next(stream) for stream in self._streams])
        return {name: array[:, 0] for name, array in self.many(number, 1, 1).items()}

    def many(self, start: int, count: int, length: int) -> Batches:
        """The row numbers of `count` steps [S, length, B], see `feed.table`."""
        return seats.stack([feed.table(self._made, start, count, length, s) for s in self.seeds])

"""The lanes' batches, each a function of (seed, step): lanes of one seed see the same data."""

from collections.abc import Iterable

import numpy as np

from nnjax.training import feed
from nnjax.training.setup import Setup

Batches = dict[int, dict[str, np.ndarray]]  # seed -> a batch, or a table of them


class Rows:
    """Batches of a group's lanes, from step `start` on."""

    def __init__(self, made: Setup, seeds: Iterable[int], start: int):
        self._made, self.streamed = made, not made.resident
        self._streams = {}
        if self.streamed:
            self._streams = {seed: feed.stream(made, start, seed) for seed in set(seeds)}

    def one(self, seeds: Iterable[int], number: int) -> Batches:
        """The batches of step `number`; streamed ones come in order."""
        if self.streamed:
            return {seed: next(self._streams[seed]) for seed in set(seeds)}
        tables = self.many(seeds, number, 1, 1)
        return {seed: {n: a[0] for n, a in table.items()} for seed, table in tables.items()}

    def many(self, seeds: Iterable[int], start: int, count: int, length: int) -> Batches:
        """The row numbers of `count` steps, see `feed.table`."""
        return {seed: feed.table(self._made, start, count, length, seed) for seed in set(seeds)}

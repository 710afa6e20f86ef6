"""Sequences of many lengths: fields filled up to one length, batches cut to what they hold.

A field NAME [N, T, ...] is a sequence where there is NAME_length [N] beside it: so many positions
are real, and what stands behind them means nothing.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from nnjax.data.order import permutation
from nnjax.data.source import Arrays, Source, columns

LENGTH, SEGMENT = '_length', '_segment'
Cut = tuple[tuple[str, int], ...]  # (field, its longest length) of every sequence


def fields(names: Mapping | Sequence[str]) -> list[str]:
    """The fields that are sequences."""
    return [name for name in names if name + LENGTH in names]


def cuts(spec: Mapping[str, tuple], edges: Sequence[int]) -> tuple[Cut, ...]:
    """Fields' (shape, dtype), edges -> how each bucket's batches are cut, the longest uncut.

    A sequence is cut to an edge, or not at all where it is never longer.
    """
    longest = {name: spec[name][0][0] for name in fields(spec)}
    inner = sorted({edge for edge in edges if edge < max(longest.values(), default=0)})
    return tuple(
        tuple((name, min(edge, most)) for name, most in longest.items())
        for edge in [*inner, max(longest.values(), default=0)]
    )


def cut(arrays: Arrays, lengths: Cut) -> Arrays:
    """Arrays [N, T, ...] without the positions that no row of theirs needs."""
    return {**arrays, **{name: arrays[name][:, :length] for name, length in lengths}}


def read(source: Source) -> Arrays:
    """{field: lengths [N]} of a prepared source; every row is prepared once, a few at a time."""
    names = fields(source.spec)
    found = columns(source, (name + LENGTH for name in names))
    return {name: found[name + LENGTH] for name in names}


def members(lengths: Arrays, buckets: Sequence[Cut]) -> list[np.ndarray]:
    """Lengths [N] of every sequence -> the rows of each bucket, the first that holds all of a row."""
    count = len(next(iter(lengths.values())))
    bucket = np.full(count, len(buckets) - 1)
    for number, lengths_cut in reversed(list(enumerate(buckets))):
        fits = [lengths[name] <= most for name, most in lengths_cut]
        bucket[np.logical_and.reduce(fits)] = number
    return [np.flatnonzero(bucket == number) for number in range(len(buckets))]


def padding(lengths: Arrays, buckets: Sequence[Cut], rows: Sequence[np.ndarray]) -> float:
    """The share of positions in the cut batches that holds nothing."""
    held = sum(int(lengths[name].sum()) for name in lengths)
    room = sum(len(own) * most for own, one in zip(rows, buckets) for _, most in one)
    return 1 - held / room


@dataclasses.dataclass(frozen=True)
class Bucketed:
    """Every batch from one bucket; the batches of all buckets in one shuffled order.

    An epoch takes every row once. A bucket's last batch of an epoch may be short.

    Attributes:
      rows: the row numbers of each bucket.
      batch: rows in a full batch.
    """

    rows: tuple[np.ndarray, ...]
    batch: int

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([-(-len(rows) // self.batch) for rows in self.rows])

    @property
    def epoch(self) -> int:
        return int(self._ends[-1])

    def __call__(self, seed: int, steps: np.ndarray) -> dict[str, np.ndarray]:
        epochs, places = np.divmod(np.asarray(steps, np.int64), self.epoch)
        numbers = permutation(seed, epochs, places, self.epoch)
        buckets = np.searchsorted(self._ends, numbers, side='right')
        shape = (len(numbers), self.batch)
        index, mask = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for bucket in np.unique(buckets):
            rows, here = self.rows[bucket], np.flatnonzero(buckets == bucket)
            first = numbers[here] - (self._ends[bucket] - -(-len(rows) // self.batch))
            positions = first[:, None] * self.batch + np.arange(self.batch)
            real = positions < len(rows)
            own = np.broadcast_to(epochs[here][:, None], positions.shape)
            # Not the order of the batches again: the bucket's rows have a seed of their own.
            shuffled = permutation(
                seed + ((int(bucket) + 1) << 32),
                own,
                np.minimum(positions, len(rows) - 1),
                len(rows),
            )
            index[here] = np.where(real, rows[shuffled], 0)
            mask[here] = real
        return {'index': index, 'mask': mask, 'bucket': np.broadcast_to(buckets[:, None], shape)}

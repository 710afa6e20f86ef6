"""The order of examples: a pure function of (seed, step), so that nothing about position is saved.

Position p of the stream of examples belongs to epoch p // size and takes row
permutation(seed, epoch)(p % size). The permutation is a keyed bijection (a Feistel network, values
beyond the size walked round again), evaluated only where it is asked: any step costs the same.
"""

import dataclasses
from typing import Protocol

import numpy as np

ROUNDS = 8  # even
CHUNK = 1 << 14  # values at a time: they stay in cache


class Order(Protocol):
    """Which rows make the batch of which step.

    Called with a seed and step numbers [K] it gives {'index', 'mask'} [K, batch], where a mask of 0
    marks a place that no row fills; of rows by length also their 'bucket', the same in all of a
    batch.

    Attributes:
      epoch: steps in an epoch.
    """

    epoch: float

    def __call__(self, seed: int, steps: np.ndarray) -> dict[str, np.ndarray]: ...


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """All rows in one order."""

    size: int
    batch: int

    @property
    def epoch(self) -> float:
        return self.size / self.batch

    def __call__(self, seed: int, steps: np.ndarray) -> dict[str, np.ndarray]:
        index = order(seed, steps, self.size, self.batch)
        return {'index': index, 'mask': np.ones(index.shape, np.float32)}


@dataclasses.dataclass(frozen=True)
class Grouped:
    """Rows of one class side by side, `group` of them; classes [N] are whole numbers.

    Every epoch puts each class's rows into groups anew and the groups into an order; rows that fill
    no group wait for another epoch. A batch that is a multiple of the group holds whole ones.
    """

    classes: np.ndarray
    group: int
    batch: int

    @property
    def epoch(self) -> float:
        return int(np.sum(np.unique_counts(self.classes).counts // self.group)) * (
            self.group / self.batch
        )

    def __call__(self, seed: int, steps: np.ndarray) -> dict[str, np.ndarray]:
        size = round(self.epoch * self.batch)
        positions = np.asarray(steps, np.int64)[:, None] * self.batch + np.arange(self.batch)
        index = np.empty_like(positions)
        for epoch in np.unique(positions // size):
            here = positions // size == epoch
            index[here] = self._rows(seed, epoch)[positions[here] % size]
        return {'index': index, 'mask': np.ones(index.shape, np.float32)}

    def _rows(self, seed: int, epoch: int) -> np.ndarray:
        """An epoch's rows, group after group."""

        def shuffled(count: int) -> np.ndarray:
            return permutation(seed, np.full(count, epoch), np.arange(count), count)

        rows = shuffled(len(self.classes))
        rows = rows[np.argsort(self.classes[rows], kind='stable')]  # by class, there at random
        counts = np.unique_counts(self.classes).counts
        place = np.concatenate([np.arange(count) for count in counts])
        whole = np.repeat(counts - counts % self.group, counts)
        groups = rows[place < whole].reshape(-1, self.group)
        return groups[shuffled(len(groups))].reshape(-1)


def order(seed: int, steps: np.ndarray, size: int, batch: int) -> np.ndarray:
    """Seed, step numbers [K], examples, batch -> row numbers [K, batch], int64.

    Every epoch is an exact permutation; batches run on across its end and none is short. A single
    step is an array of one; there may be up to 2^32 examples.
    """
    positions = np.asarray(steps, np.int64)[:, None] * batch + np.arange(batch)
    return permutation(seed, positions // size, positions % size, size)


def permutation(seed: int, epochs: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """values in [0, size) -> their images under each epoch's permutation, int64; same shape."""
    found = np.empty(values.shape, np.int64)
    flat, epochs, values = found.reshape(-1), epochs.reshape(-1), values.reshape(-1)
    for start in range(0, values.size, CHUNK):
        part = slice(start, start + CHUNK)
        flat[part] = _bijection(_keys(seed, epochs[part]), values[part].astype(np.uint32), size)
    return found


def _bijection(keys: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Keys [ROUNDS, N or 1], uint32 values [N] below `size` -> a keyed permutation of them."""
    low = max(1, (size - 1).bit_length() // 2)
    high = max(1, (size - 1).bit_length() - low)
    found = _feistel(keys, values, high, low)
    beyond = np.flatnonzero(found >= size)  # the domain is less than twice the size (or 4)
    while beyond.size:
        own = keys if keys.shape[1] == 1 else keys[:, beyond]
        found[beyond] = again = _feistel(own, found[beyond], high, low)
        beyond = beyond[again >= size]
    return found


def _feistel(keys: np.ndarray, values: np.ndarray, high: int, low: int) -> np.ndarray:
    """An even number of rounds on the two parts of high + low bits; parts may differ in width."""
    left, right = values >> np.uint32(low), values & np.uint32(2**low - 1)
    for number, key in enumerate(keys):
        if number % 2:
            right ^= _scramble(left, key) & np.uint32(2**low - 1)
        else:
            left ^= _scramble(right, key) & np.uint32(2**high - 1)
    return (left << np.uint32(low)) | right


def _scramble(x: np.ndarray, key: np.ndarray) -> np.ndarray:
    """32 bits to 32 bits: MurmurHash3's finalizer without its first shift."""
    x = x ^ key
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def _keys(seed: int, epochs: np.ndarray) -> np.ndarray:
    """Round keys of epochs [N] -> uint32 [ROUNDS, N], or [ROUNDS, 1] where all are one epoch."""
    if epochs[0] == epochs[-1] and (epochs == epochs[0]).all():
        epochs = epochs[:1]
    start = _splitmix(np.array([seed % 2**64], np.uint64))
    base = _splitmix(start + epochs.astype(np.uint64))
    rounds = np.arange(ROUNDS, dtype=np.uint64)[:, None]
    return (_splitmix(base + rounds) >> np.uint64(32)).astype(np.uint32)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """uint64 -> uint64: SplitMix64 (Steele et al., 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

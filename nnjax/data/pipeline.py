"""From a source to batches: whole splits for the device, streams through grain, padded evaluation."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from nnjax.data.order import order
from nnjax.data.source import Arrays, Source

Apply = Callable[[Arrays], Arrays]

BLOCK = 64  # steps whose row numbers are made together
AHEAD = 4  # batches that are read ahead: two being made, two waiting


def resident(source: Source, apply: Apply) -> Arrays:
    """A whole split, prepared."""
    return apply(source[np.arange(len(source))])


def stream(
    source: Source,
    apply: Apply,
    seed: int,
    batch: int,
    start: int,
    stop: int,
    part: slice = slice(None),
) -> Iterator[Arrays]:
    """Prepared training batches of steps start .. stop - 1, `part` of their rows, read ahead."""

    @functools.lru_cache(maxsize=4)
    def block(number: int) -> np.ndarray:  # many steps cost little more than one
        return order(seed, np.arange(number * BLOCK, (number + 1) * BLOCK), len(source), batch)

    def make(offset: int) -> Arrays:
        number, place = divmod(start + offset, BLOCK)
        rows = block(number)[place]
        real = rows[part]
        arrays = apply(source[real if len(real) else rows[:1]])  # an empty batch has no shapes
        arrays = {name: array[: len(real)] for name, array in arrays.items()}
        return {**arrays, 'mask': np.ones(len(real), np.float32)}

    return _ahead(make, stop - start)


def evaluation_batches(
    source: Source, apply: Apply, rows: int, ahead: bool = False, part: slice = slice(None)
) -> Iterator[Arrays]:
    """Every example once, in order, in batches of `rows`; the last is filled up with row 0.

    'mask' is 1 for real rows; 'index' is their place in the split. `ahead` reads ahead; `part` is
    which rows of a batch are wanted.
    """

    def make(number: int) -> Arrays:
        index = np.arange(number * rows, (number + 1) * rows)[part]
        mask = (index < len(source)).astype(np.float32)
        index = np.where(index < len(source), index, 0)
        return {**apply(source[index]), 'mask': mask, 'index': index}

    count = -(-len(source) // rows)
    return _ahead(make, count) if ahead else map(make, range(count))


def _ahead(make: Callable[[int], Arrays], count: int) -> Iterator[Arrays]:
    """make(0) ... make(count - 1), a few of them ahead by grain's threads.

    The element grain sees is a whole batch, a pure function of its number: any start costs the
    same, and nothing about position is saved.
    """
    import grain

    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=AHEAD)
    return iter(grain.MapDataset.range(count).map(make).to_iter_dataset(options))

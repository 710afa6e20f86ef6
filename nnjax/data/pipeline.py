"""From prepared sources to batches: streams through grain, padded evaluation."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nnjax.data import lengths
from nnjax.data.lengths import Cut
from nnjax.data.order import Order
from nnjax.data.source import Arrays, Source

BLOCK = 64  # steps whose row numbers are made together
AHEAD = 4  # batches that are read ahead: two being made, two waiting


def stream(
    source: Source,
    order: Order,
    seed: int,
    start: int,
    stop: int,
    part: slice = slice(None),
    cuts: Sequence[Cut] = (),
) -> Iterator[Arrays]:
    """Training batches of steps start .. stop - 1, `part` of their rows, read ahead.

    Sequences are cut by the `cuts` of the batch's bucket.
    """

    @functools.lru_cache(maxsize=4)
    def block(number: int) -> dict[str, np.ndarray]:  # many steps cost little more than one
        return order(seed, np.arange(number * BLOCK, (number + 1) * BLOCK))

    def make(offset: int) -> Arrays:
        number, place = divmod(start + offset, BLOCK)
        found = {name: array[place] for name, array in block(number).items()}
        mine = found['index'][part]
        arrays = source[mine if len(mine) else found['index'][:1]]  # no batch, no shapes
        arrays = {name: array[: len(mine)] for name, array in arrays.items()}
        if cuts:
            arrays = lengths.cut(arrays, cuts[found['bucket'][0]])
        return {**arrays, 'mask': found['mask'][part]}

    return _ahead(make, stop - start)


def evaluation_batches(
    source: Source, rows: int, ahead: bool = False, part: slice = slice(None)
) -> Iterator[Arrays]:
    """Every example once, in order, in batches of `rows`; the last is filled up with row 0.

    'mask' is 1 for real rows; 'index' is their place in the split. `ahead` reads ahead; `part` is
    which rows of a batch are wanted.
    """

    def make(number: int) -> Arrays:
        index = np.arange(number * rows, (number + 1) * rows)[part]
        mask = (index < len(source)).astype(np.float32)
        index = np.where(index < len(source), index, 0)
        return {**source[index], 'mask': mask, 'index': index}

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

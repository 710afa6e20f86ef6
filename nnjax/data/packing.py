"""Packing: several examples in one row, so that little of it is padding."""

import numpy as np

from nnjax.data import lengths
from nnjax.data.lengths import LENGTH, SEGMENT
from nnjax.data.source import Arrays, Source
from nnjax.errors import UserError

OPEN = 64  # rows that still take examples


class Packed:
    """Rows of several examples each; NAME_segment [N, T] counts them from 1 and is 0 behind them.

    Examples go, in the source's order, into the first open row where all their sequences fit; of
    too many open rows the fullest is closed. Fields that are no sequences are left out.
    """

    def __init__(self, source: Source):
        self._source, self._fields = source, _required(source)
        self.spec = _with_segments(source)
        self.fingerprint = source.fingerprint
        found = lengths.read(source)
        room = np.array([source.spec[name][0][0] for name in self._fields])
        self._rows = _rows(np.stack([found[name] for name in self._fields], -1), room)
        #: the share of positions that holds nothing
        self.padding = 1 - sum(int(own.sum()) for own in found.values()) / (
            len(self._rows) * int(room.sum())
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        rows = [self._rows[int(index)] for index in indices]
        examples = self._source[np.concatenate(rows)]
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        found = {n: np.zeros((len(rows), *shape), dtype) for n, (shape, dtype) in self.spec.items()}
        for name in self._fields:
            end, segment = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
            for row, values, length in zip(owner, examples[name], examples[name + LENGTH]):
                place = slice(end[row], end[row] + length)
                segment[row] += 1
                found[name][row, place] = values[:length]
                found[name + SEGMENT][row, place] = segment[row]
                end[row] += length
            found[name + LENGTH] = end
        return found


class Apart:
    """Each example a row of its own, with the fields that packed rows have."""

    def __init__(self, source: Source):
        self._source, self._fields = source, _required(source)
        self.spec = _with_segments(source)
        self.fingerprint = source.fingerprint

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        arrays = self._source[indices]
        found = {n: arrays[n] for name in self._fields for n in (name, name + LENGTH)}
        for name in self._fields:
            real = np.arange(arrays[name].shape[1]) < arrays[name + LENGTH][:, None]
            found[name + SEGMENT] = real.astype(np.int32)
        return found


def _required(source: Source) -> list[str]:
    names = lengths.fields(source.spec)
    if not names:
        raise UserError(
            f'pack=True: the data has no sequences with lengths (it has: {", ".join(source.spec)})'
        )
    return names


def _with_segments(source: Source) -> dict:
    spec = {}
    for name in lengths.fields(source.spec):
        shape, dtype = source.spec[name]
        spec |= {
            name: (shape, dtype),
            name + LENGTH: ((), np.dtype(np.int32)),
            name + SEGMENT: (shape[:1], np.dtype(np.int32)),
        }
    return spec


def _rows(taken: np.ndarray, room: np.ndarray) -> list[np.ndarray]:
    """Lengths [N, F] of every example's F sequences, room [F] -> the examples of each row."""
    rows: list[list[int]] = []
    numbers, left = np.zeros(0, np.int64), np.zeros((0, len(room)), np.int64)  # the open rows
    for example, own in enumerate(taken):
        fits = np.flatnonzero((left >= own).all(1))
        if fits.size:
            place = fits[0]
        else:
            if len(numbers) == OPEN:
                fullest = left.sum(1).argmin()
                numbers, left = np.delete(numbers, fullest), np.delete(left, fullest, 0)
            numbers, left = np.append(numbers, len(rows)), np.vstack([left, room])
            rows.append([])
            place = len(numbers) - 1
        rows[numbers[place]].append(example)
        left[place] -= own
    return [np.array(row) for row in rows]

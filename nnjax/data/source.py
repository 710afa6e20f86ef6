"""The values that the data layer hands on: a source of examples, and a dataset of three of them."""

import dataclasses
import zlib
from typing import Protocol

import numpy as np

from nnjax.data.order import permutation
from nnjax.errors import UserError

Arrays = dict[str, np.ndarray]  # field name -> [N, ...], one row an example


class Source(Protocol):
    """Random access to examples, a batch at a time.

    `spec` gives each field's (shape, dtype) without the batch axis; `fingerprint` identifies the
    content, so that a run is not resumed on other data.
    """

    spec: dict[str, tuple[tuple[int, ...], np.dtype]]
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Arrays: ...


class Rows:
    """Examples in memory."""

    def __init__(self, arrays: Arrays):
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(f'fields differ in length: {lengths}' if lengths else 'no fields')
        self._arrays = arrays
        self.spec = {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}

    @property
    def fingerprint(self) -> str:
        check = 0
        for name in sorted(self._arrays):
            array = np.ascontiguousarray(self._arrays[name])
            check = zlib.crc32(array.tobytes(), zlib.crc32(f'{name}{array.shape}'.encode(), check))
        return f'{check:08x}'

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return {name: array[indices] for name, array in self._arrays.items()}


class Slice:
    """Some rows of another source."""

    def __init__(self, source: Source, rows: np.ndarray):
        self._source, self._rows = source, rows
        self.spec = source.spec

    @property
    def fingerprint(self) -> str:
        return f'{self._source.fingerprint}-{zlib.crc32(self._rows.tobytes()):08x}'

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return self._source[self._rows[indices]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Train, validation and test sources of one spec; `labels` are the class names, if known."""

    train: Source
    valid: Source | None = None
    test: Source | None = None
    labels: tuple[str, ...] = ()


def share(text: str, size: int, what: str) -> int | None:
    """'10%' or '5000' of `size` examples -> how many; None where the text is neither.

    Raises:
      UserError: a share that leaves nothing on either side.
    """
    number = text.strip().removesuffix('%')
    if not number.replace('.', '', 1).isdigit():
        return None
    count = round(float(number) * size / 100) if '%' in text else round(float(number))
    if not 0 < count < size:
        raise UserError(f'data.{what}={text!r} of {size} examples leaves nothing on one side')
    return count


def hold_out(source: Source, text: str, what: str) -> tuple[Source, Source]:
    """A source, '10%' or '5000' -> (the rest, that many examples), fixed once and for all.

    The examples held out are those that a permutation with seed 0 puts last.
    """
    count = share(text, len(source), what)
    if count is None:
        raise UserError(
            f"data.{what}={text!r}: expected a share such as '10%' or a number such as '500'"
        )
    places = np.arange(len(source))
    shuffled = permutation(0, np.zeros_like(places), places, len(source))
    kept, held = np.sort(shuffled[:-count]), np.sort(shuffled[-count:])
    return Slice(source, kept), Slice(source, held)

"""The values that the data layer hands on: a source of examples, and a dataset of three of them."""

import dataclasses
import functools
import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from nnjax import texts
from nnjax.data.order import permutation
from nnjax.errors import UserError

Arrays = dict[str, np.ndarray]  # field name -> [N, ...], one row an example

ROWS = 1024  # examples that are read at a time where only some fields are wanted


class Source(Protocol):
    """Random access to examples, a batch at a time.

    `spec` gives each field's (shape, dtype) without the batch axis; `fingerprint` identifies the
    content, so that a run is not resumed on other data. A source of files also has `names`, one an
    example, which stay when other files go.
    """

    spec: dict[str, tuple[tuple[int, ...], np.dtype]]
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Arrays: ...


class Rows:
    """Examples in memory."""

    def __init__(self, arrays: Arrays, names: Sequence[str] = ()):
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise UserError(f'fields differ in length: {lengths}' if lengths else 'no fields')
        self._arrays, self.names = arrays, names
        self.spec = {name: (a.shape[1:], a.dtype) for name, a in arrays.items()}

    @functools.cached_property
    def fingerprint(self) -> str:
        check = 0
        for name, array in sorted(texts.to_file(self._arrays).items()):
            array = np.ascontiguousarray(array)
            head = f'{name}{array.shape}{array.dtype}'.encode()
            check = zlib.crc32(array.reshape(-1).view(np.uint8), zlib.crc32(head, check))
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
        names = _names(source)
        self.names = [names[row] for row in rows] if names else ()

    @property
    def fingerprint(self) -> str:
        return f'{self._source.fingerprint}-{zlib.crc32(self._rows.tobytes()):08x}'

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return self._source[self._rows[indices]]


class Joined:
    """Sources of one spec, one after another."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])
        self.spec = sources[0].spec

    @property
    def fingerprint(self) -> str:
        return '+'.join(source.fingerprint for source in self._sources)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        indices = np.asarray(indices)
        owner = np.searchsorted(self._ends, indices, side='right')
        found = {n: np.empty((len(indices), *s), d) for n, (s, d) in self.spec.items()}
        for number, source in enumerate(self._sources):
            here = np.flatnonzero(owner == number)
            if here.size:
                part = source[indices[here] - (self._ends[number] - len(source))]
                for name, array in part.items():
                    found[name][here] = array
        return found


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Train, validation and test sources of one spec.

    `labels` are the class names; of sounds, `rate` is how many samples a second has, where that is
    known; of a table, `columns` are the names of the columns of 'features',
    `categories` those of 'features_categories', with the texts that are numbered from 1.
    """

    train: Source
    valid: Source | None = None
    test: Source | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    rate: int | None = None


def columns(source: Source, names: Iterable[str]) -> Arrays:
    """Some fields of all examples, which are read a few at a time."""
    names = list(names)
    parts = []
    for start in range(0, len(source), ROWS):
        read = source[np.arange(start, min(start + ROWS, len(source)))]
        parts.append({name: read[name] for name in names})  # and nothing else of them is held
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def is_share(text: str) -> bool:
    """Whether a text is a share ('10%', '2.5%') or a number ('5000') of examples."""
    return re.fullmatch(r'\d+(\.\d+)?%|\d+', text.strip()) is not None


def share(text: str, size: int) -> int:
    """A share ('10%') of so many, or a number ('5000') -> how many; see `is_share`."""
    number = float(text.strip().removesuffix('%'))
    return round(number * size / 100) if '%' in text else int(number)


def hold_out(source: Source, text: str, what: str, seed: int = 0) -> tuple[Source, Source]:
    """A source, '10%' or '5000' -> (the rest, that many examples), fixed once and for all.

    The examples held out are those that the seed's permutation puts last; of a source of files those
    whose names have the last hashes, so that taking files away moves hardly any other.

    Raises:
      UserError: no share or number, or one that leaves nothing on either side.
    """
    if not is_share(text):
        raise UserError(
            f"data.{what}={text!r}: expected a share such as '10%' or a number such as '500'"
        )
    size, count = len(source), share(text, len(source))
    if not 0 < count < size:
        raise UserError(f'data.{what}={text!r} of {size} examples leaves nothing on one side')
    if names := _names(source):
        shuffled = np.array(sorted(range(size), key=lambda row: _hash(names[row])))
    else:
        places = np.arange(size)
        shuffled = permutation(seed, np.zeros_like(places), places, size)
    kept, held = np.sort(shuffled[:-count]), np.sort(shuffled[-count:])
    return Slice(source, kept), Slice(source, held)


def _names(source: Source) -> Sequence[str]:
    return getattr(source, 'names', ())


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors='surrogateescape')).digest()


def dataset(
    train: Source,
    valid: Source | str | None,
    test: Source | str | None,
    labels,
    seed: int = 0,
    rate: int | None = None,
) -> Dataset:
    """Holds out what are shares, test first, so that it does not depend on the validation split."""
    if isinstance(test, str):
        train, test = hold_out(train, test, 'test', seed)
    if isinstance(valid, str):
        train, valid = hold_out(train, valid, 'valid', seed)
    for what, source in (('valid', valid), ('test', test)):
        if source is not None and source.spec != train.spec:
            raise UserError(
                f'the {what} split {_describe(source.spec)} is not like the training '
                f'split {_describe(train.spec)}'
            )
        if source is not None and not len(source):
            raise UserError(f'the {what} split is empty')
    return Dataset(train, valid, test, tuple(labels), rate=rate)


def _describe(spec) -> str:
    return '(' + ', '.join(f'{n} {d} {list(s)}' for n, (s, d) in spec.items()) + ')'

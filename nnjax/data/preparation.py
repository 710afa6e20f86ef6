"""Host operations one after another, with what they learned from the training split."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnjax import texts
from nnjax.data import said
from nnjax.data.source import Arrays, Rows, Source
from nnjax.errors import UserError

FIT_BYTES = 1 << 28  # statistics of a larger split come from so much of it, evenly spaced
TEXT_BYTES = 256  # of a text, about: what it holds is not in its dtype


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a field's token ids mean.

    Attributes:
      size: ids are below it.
      decode: ids [N, T], filled up with 0 -> texts [N].
    """

    size: int
    decode: Callable[[np.ndarray], np.ndarray]

    @property
    def names(self) -> list[str]:
        """Each id's text, '' of one that means nothing."""
        return self.decode(np.arange(self.size, dtype=np.int32)[:, None]).tolist()


class Spelled(NamedTuple):
    """What rows of tokens say of their texts [N].

    Attributes:
      cut: whose ends are lost.
      unknown: which have symbols that the vocabulary lacks.
      characters, bytes: of the text behind the first token, or of all of it behind <bos>: what the
        other tokens spell, where neither of the above; 0 without a token.
    """

    cut: np.ndarray
    unknown: np.ndarray
    characters: np.ndarray
    bytes: np.ndarray


def by_words(names: Sequence[str]) -> bool:
    """Whether a vocabulary's `names` are words, with spaces between them, and not single letters."""
    return any(len(name) > 1 for name in names)


@dataclasses.dataclass(frozen=True)
class Operation:
    """A host operation on raw arrays, row by row; the shapes of its results depend on its arguments.

    Attributes:
      apply: (statistics, arrays) -> arrays.
      learn: arrays of the training split -> statistics, a JSON value; None where nothing is learned.
      vocabularies: statistics -> {field: its Vocabulary}; None for an operation that makes no ids.
      check: raw arrays -> (row, what is wrong with it) of the first row that the operation cannot
        take, or None; None for an operation that takes all.
      spelled: (statistics, arrays) -> {field: Spelled}, of those of its fields that there are; None
        for an operation that makes no tokens of texts.
    """

    apply: Callable[[Any, Arrays], Arrays]
    learn: Callable[[Arrays], Any] | None = None
    vocabularies: Callable[[Any], Mapping[str, Vocabulary]] | None = None
    spelled: Callable[[Any, Arrays], Mapping[str, Spelled]] | None = None
    check: Callable[[Arrays], tuple[int, str] | None] | None = None


class Preparation:
    """Raw arrays -> prepared arrays, without the texts that no operation made numbers of."""

    def __init__(
        self, operations: Sequence[Operation], train: Source, statistics: list | None = None
    ):
        """Statistics are those given; where they are None, learned from `train` when first needed.

        Raises:
          UserError: statistics of other operations.
        """
        if statistics is not None and len(statistics) != len(operations):
            raise UserError(
                f'the statistics are those of {len(statistics)} operations, prepare has '
                f'{len(operations)}'
            )
        self._operations, self._train = operations, train
        self._given = statistics or [None] * len(operations)

    @functools.cached_property
    def statistics(self) -> list[Any]:
        """A JSON value for each operation."""
        if all(o.learn is None or own is not None for o, own in zip(self._operations, self._given)):
            return self._given
        return _learned(self._operations, _sample(self._train), self._given)[0]

    @functools.cached_property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """{field: its Vocabulary} of the fields that hold token ids."""
        found = {}
        if any(operation.vocabularies for operation in self._operations):
            for operation, own in zip(self._operations, self.statistics):
                found |= operation.vocabularies(own) if operation.vocabularies else {}
        return found

    def __call__(self, arrays: Arrays) -> Arrays:
        for operation, own in zip(self._operations, self.statistics):
            arrays = operation.apply(own, arrays)
        return {name: array for name, array in arrays.items() if not texts.is_text(array)}

    def spelled(self, arrays: Arrays) -> dict[str, Spelled]:
        """Raw arrays -> {field: Spelled} of the fields of texts that become tokens."""
        found, waiting = {}, []
        for operation, own in zip(self._operations, self.statistics):
            if operation.spelled:
                for before, its in waiting:
                    arrays = before.apply(its, arrays)
                found |= operation.spelled(own, arrays)
                waiting = []
            waiting.append((operation, own))  # applied only where a later one has texts
        return found

    @functools.cached_property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """{field: (shape, dtype)} of a prepared example; reads no data."""
        nothing = [None] * len(self._operations)
        made = _learned(self._operations, empty(self._train.spec, 2), nothing)[1]
        return {n: (a.shape[1:], a.dtype) for n, a in made.items() if not texts.is_text(a)}


class Prepared:
    """A source's examples, prepared as they are asked for, or once and `kept`."""

    def __init__(self, source: Source, preparation: Preparation, name: str = ''):
        self.source, self._preparation = source, preparation
        self._split = said.Split(name, len(source))
        self._kept: Rows | None = None
        self.spec = preparation.spec
        self.fingerprint = source.fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        if self._kept:
            return self._kept[indices]
        arrays = self.source[indices]
        with said.reading(self._split):
            return self._preparation(arrays)

    def keep(self) -> None:
        """Prepares all examples now."""
        self._kept = Rows(self[np.arange(len(self))])


def empty(spec: Mapping[str, tuple], count: int) -> Arrays:
    """{field: (shape, dtype)} -> so many raw examples of ones and empty texts."""
    # Ones, for their logarithms are finite too; empty texts, in which no symbol is unknown.
    return {
        name: np.full((count, *shape), '' if np.dtype(dtype).kind == 'T' else 1, dtype)
        for name, (shape, dtype) in spec.items()
    }


def digest(statistics: Any) -> str:
    """A short name of what operations have learned."""
    return hashlib.sha256(json.dumps(statistics, sort_keys=True).encode()).hexdigest()[:12]


def _learned(
    operations: Sequence[Operation], arrays: Arrays, given: Sequence[Any]
) -> tuple[list[Any], Arrays]:
    """Each operation's statistics, those given or of what is before it, and the result."""
    statistics = []
    for operation, own in zip(operations, given):
        learns = operation.learn and own is None
        statistics.append(operation.learn(arrays) if learns else own)
        arrays = operation.apply(statistics[-1], arrays)
    return statistics, arrays


def _sample(train: Source) -> Arrays:
    size = lambda dtype: TEXT_BYTES if dtype.kind == 'T' else dtype.itemsize
    row = sum(int(np.prod(shape)) * size(np.dtype(dtype)) for shape, dtype in train.spec.values())
    count = min(len(train), max(1, FIT_BYTES // max(1, row)))
    return train[np.arange(count) * len(train) // count]

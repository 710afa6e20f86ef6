"""Splits by identity: whoever is in one split is in no other."""

import numpy as np

from nnjax.data.order import permutation
from nnjax.data.source import Arrays, Dataset, Joined, Slice, Source, columns, is_share, share
from nnjax.errors import UserError


class Relabelled:
    """A source whose labels are replaced, row by row."""

    def __init__(self, source: Source, label: str, numbers: np.ndarray):
        self._source, self._label, self._numbers = source, label, numbers
        self.spec = {**source.spec, label: ((), np.dtype(np.int32))}

    @property
    def fingerprint(self) -> str:
        return f'{self._source.fingerprint}-{self._label}'

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return {**self._source[indices], self._label: self._numbers[indices]}


def split(data: Dataset, valid: str | None, test: str | None, label: str) -> Dataset:
    """All examples of a dataset -> its splits by identity, labels numbered from 0 on.

    The training identities come first, in the order of their labels; those of validation and of
    test have numbers behind them. Which identities are held out is fixed once and for all.

    Raises:
      UserError: no such field, no identities, a split with fewer than two.
    """
    given = [source for source in (data.train, data.valid, data.test) if source]
    source = given[0] if len(given) == 1 else Joined(given)
    if label not in source.spec or source.spec[label][0]:
        raise UserError(f'no label {label!r} of one identity; the data has: {_shapes(source)}')
    found = columns(source, [label])[label]
    values, numbers = np.unique(found, return_inverse=True)
    count = len(values)
    order = permutation(0, np.zeros(count, np.int64), np.arange(count), count)
    tests, valids = _count(test, count, 'test'), _count(valid, count, 'valid')
    sizes = {'train': count - tests - valids, 'valid': valids, 'test': tests}
    for name, size in sizes.items():
        if size == 1 or (name == 'train' and size < 2):
            raise UserError(
                f'the {name} split would have {max(size, 0)} of {count} identities; telling two '
                'apart takes at least two in every split: change data.valid or data.test'
            )
    # Test is at the end, so that it does not depend on what validation takes.
    train, held, tested = np.split(order, [count - tests - valids, count - tests])
    parts = {'train': np.sort(train), 'valid': np.sort(held), 'test': np.sort(tested)}
    sources = {}
    place = np.empty(count, np.int32)
    place[np.concatenate(list(parts.values()))] = np.arange(count)
    for name, own in parts.items():
        rows = np.flatnonzero(np.isin(numbers, own))
        sources[name] = Relabelled(Slice(source, rows), label, place[numbers[rows]])
    names = tuple(
        data.labels[int(value)] if data.labels else str(value) for value in values[parts['train']]
    )
    return Dataset(
        sources['train'],
        sources['valid'] if len(parts['valid']) else None,
        sources['test'] if len(parts['test']) else None,
        names,
        rate=data.rate,
    )


def _count(text: str | None, size: int, what: str) -> int:
    """'10%' or '50' of so many identities -> how many."""
    if text is None:
        return 0
    if not is_share(text):
        raise UserError(f"data.{what}={text!r}: expected identities such as '10%' or '50'")
    return share(text, size)


def _shapes(source: Source) -> str:
    return ', '.join(f'{name} {list(shape)}' for name, (shape, _) in source.spec.items())

"""Configurations against each other: which differences of a test metric are more than noise."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnjax.analysis import sides, statistics
from nnjax.analysis.sides import Side
from nnjax.analysis.statistics import Test
from nnjax.errors import UserError

LEVEL = 0.05  # a corrected p below it is called evidence


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sides and the test of their difference.

    Attributes:
      a: one side.
      b: the other.
      test: a minus b.
      tried: configurations that the better-searched side was chosen from.
      corrected: p times `tried` (Bonferroni), then over all pairs (Holm).
      changes: {config path: (a's value, b's value)} where they differ.
    """

    a: Side
    b: Side
    test: Test
    tried: int
    corrected: float
    changes: dict[str, tuple[Any, Any]]

    @property
    def holds(self) -> bool:
        return self.corrected < LEVEL


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All sides and every pair of them."""

    metric: str
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]


def compare(folders: Sequence[str], metric: str | None = None) -> Comparison:
    """Folders (see `sides.read`), a test metric (None: the one that chose their best) -> Comparison.

    The best of m configurations tried was chosen on validation, but with the very seeds that are
    tested, so its luck is partly chosen too: p is multiplied by the larger m of the two sides.

    Raises:
      UserError: fewer than two folders, one named twice, not finished, on other data, or without
        the metric; losses of different tasks.
    """
    if len(folders) < 2:
        raise UserError('name two folders or more: nnjax compare RUN RUN')
    _distinct(folders)
    found = [sides.read(text) for text in folders]
    first = found[0]
    for side in found[1:]:
        if side.data != first.data:
            raise UserError(f'{first.name} and {side.name} were trained on different data')
        if not metric and side.best[1] != first.best[1]:
            raise UserError(
                f'{first.name} is judged by {first.best[1]}, {side.name} by {side.best[1]}: '
                'choose with --metric=NAME'
            )
    metric = metric or first.best[1]
    if metric == 'loss':
        _same_task(found)
    couples = list(itertools.combinations(found, 2))
    tests = [test(a, b, metric) for a, b in couples]
    tried = [max(a.tried, b.tried) for a, b in couples]
    corrected = statistics.holm([statistics.bonferroni(t.p, m) for t, m in zip(tests, tried)])
    pairs = (
        Pair(a, b, t, m, p, _changes(a, b))
        for (a, b), t, m, p in zip(couples, tests, tried, corrected)
    )
    return Comparison(metric, tuple(found), tuple(pairs))


def _distinct(folders: Sequence[str]) -> None:
    seen = set()
    for text in folders:
        for part in [text] if Path(text).exists() else text.split(','):
            if (path := Path(part).resolve()) in seen:
                raise UserError(f'{part} is named twice')
            seen.add(path)


def _same_task(found: Sequence[Side]) -> None:
    """Raises a UserError where a loss is not another's: its task, smoothing, class weights ..."""
    for side in found[1:]:
        changes = _changes(found[0], side)
        paths = sorted(path for path in changes if path.startswith('task.'))
        if paths:
            path = 'task.fn' if 'task.fn' in paths else paths[0]
            a, b = changes[path]
            raise UserError(
                f'the losses of {found[0].name} and {side.name} are not of one task '
                f'({path}: {a}, {b}): choose another metric with --metric=NAME'
            )


def test(a: Side, b: Side, metric: str) -> Test:
    """The test that fits: over seeds where either side has several, else over test examples.

    Seeds are paired where both sides have the same ones.
    """
    if len(a.scores) == len(b.scores) == 1:
        return _over_examples(a, b, metric)
    if a.scores.keys() == b.scores.keys():
        return statistics.paired(*([s.value(seed, metric) for seed in a.scores] for s in (a, b)))
    return statistics.welch(a.estimate(metric).values, b.estimate(metric).values)


def _over_examples(a: Side, b: Side, metric: str) -> Test:
    one, other = (sides.examples(side, metric) for side in (a, b))
    for name in ('index', 'label'):
        if not np.array_equal(one[name], other[name]):
            raise UserError(f'{a.name} and {b.name} were tested on different examples')
    values = one['value'], other['value']
    if all(np.isin(v, (0, 1)).all() for v in values):
        return statistics.mcnemar(*(v > 0 for v in values))
    return statistics.paired(*values, over='test examples')


def _changes(a: Side, b: Side) -> dict[str, tuple[Any, Any]]:
    return {
        path: (a.fields.get(path), b.fields.get(path))
        for path in {**a.fields, **b.fields}
        if a.fields.get(path) != b.fields.get(path)
    }

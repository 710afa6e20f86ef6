"""Sweeps as lists of points: a point is {config path: value}, 'seed' among them or not.

Combinators take and give such lists, so they nest: `product(zip_({...}), random({...}, points=8))`.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnjax.errors import UserError

Point = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Numbers between two limits: 'uniform', 'log' (uniform in the logarithm) or 'integer'."""

    kind: str
    low: float
    high: float

    def __post_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(f'{self}: the first limit must be less than the second')
        if self.kind == 'log' and self.low <= 0:
            raise UserError(f'{self}: a logarithm needs limits above 0')

    def at(self, quantile: float) -> float | int:
        """Quantile in [0, 1) -> the number there."""
        if self.kind == 'integer':
            return int(self.low + quantile * (self.high - self.low + 1) // 1)
        if self.kind == 'log':
            return float(self.low * (self.high / self.low) ** quantile)
        return float(self.low + quantile * (self.high - self.low))

    def __str__(self):
        return f'{self.kind}({self.low:g}, {self.high:g})'


def uniform(low: float, high: float) -> Distribution:
    """Any number from low to high, for `random`."""
    return Distribution('uniform', low, high)


def log(low: float, high: float) -> Distribution:
    """Numbers whose logarithm is uniform: for learning rates and the like."""
    return Distribution('log', low, high)


def integer(low: int, high: int) -> Distribution:
    """Whole numbers from low to high, both among them."""
    return Distribution('integer', low, high)


def product(*parts: Mapping[str, Sequence] | Iterable[Point]) -> list[Point]:
    """Every combination: of the values of each field in a mapping, of the points in a list."""
    lists = []
    for part in parts:
        if isinstance(part, Mapping):
            lists += [[{path: value} for value in _values(path, part[path])] for path in part]
        else:
            lists.append(list(part))
    return [_merged(points) for points in itertools.product(*lists)]


def zip_(axes: Mapping[str, Sequence]) -> list[Point]:
    """The first values of all fields together, then the second ...

    Raises:
      UserError: the fields have different numbers of values.
    """
    axes = {path: _values(path, values) for path, values in axes.items()}
    lengths = {path: len(values) for path, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f'zip_: as many values of each field, got {lengths}')
    return [dict(zip(axes, values)) for values in zip(*axes.values())]


def chain(*parts: Iterable[Point]) -> list[Point]:
    """The points of one part after another."""
    return [point for part in parts for point in part]


def random(axes: Mapping[str, Distribution | Sequence], points: int, seed: int = 0) -> list[Point]:
    """So many points that fill the space evenly: a scrambled Halton sequence (Owen, 2017).

    Better than independent draws at the same number, see Bousquet et al., 2017 (arXiv 1706.03200);
    the first points of a longer list are those of a shorter one.

    Args:
      axes: {path: a distribution, or values to choose from}.
      points: how many.
      seed: another one gives other points.
    """
    from scipy.stats import qmc

    if points < 1:
        raise UserError(f'random: points={points}, expected at least 1')
    quantiles = qmc.Halton(len(axes), rng=np.random.default_rng(seed)).random(points)
    return [
        {path: _at(path, axis, q) for (path, axis), q in zip(axes.items(), row)}
        for row in quantiles
    ]


def seeds(points: Iterable[Point], count: int) -> list[Point]:
    """Every point with every seed 0 ... count - 1: what differs between them is chance."""
    if count < 1:
        raise UserError(f'seeds={count}: expected at least 1')
    return [{**point, 'seed': seed} for point in points for seed in range(count)]


def configuration(point: Point) -> str:
    """A name for what the seeds of a point have in common."""
    rest = {path: value for path, value in point.items() if path != 'seed'}
    return json.dumps(rest, sort_keys=True, default=str)


def _at(path: str, axis: Distribution | Sequence, quantile: float):
    if isinstance(axis, Distribution):
        return axis.at(quantile)
    values = _values(path, axis)
    return values[int(quantile * len(values))]


def _values(path: str, values: Sequence) -> list:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UserError(f'{path}: expected a list of values, got {values!r}')
    values = list(values)
    if not values:
        raise UserError(f'{path}: no values')
    return values


def _merged(points: Iterable[Point]) -> Point:
    whole: Point = {}
    for point in points:
        for path in point:
            if path in whole:
                raise UserError(f'product: {path!r} is in two parts')
        whole |= point
    return whole

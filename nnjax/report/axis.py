"""An axis over a config field's or a metric's values: numbers, powers of ten, or levels."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from nnjax.report.svg import domain, tick_label, ticks, wants_log
from nnjax.sweep.table import words

SPREAD = 9.99  # largest over smallest from which numbers are shown by powers of ten
MOST_MARKS = 7  # values up to which each is marked itself


@dataclasses.dataclass(frozen=True)
class Axis:
    """From values to places between 0 and 1.

    Attributes:
      marks: (place, label) of the ticks.
      log: whether numbers lie by their logarithm.
      low: the value at 0, of numbers.
      high: the value at 1.
      levels: the values that have a place each, where they are no plain numbers; else empty.
    """

    marks: tuple[tuple[float, str], ...]
    log: bool = False
    low: float = 0.0
    high: float = 1.0
    levels: tuple[Any, ...] = ()

    def place(self, value: Any) -> float:
        if self.levels:
            return (self.levels.index(value) + 0.5) / len(self.levels)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def number(value: Any) -> bool:
    """Whether a field's value is a finite number."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def of(values: Sequence[Any]) -> Axis:
    """A field's values, at least one -> their axis.

    Numbers that span a decade lie by their logarithm, also two of them; with a zero among them
    they are levels, as texts and tuples are: sorted and evenly spaced.
    """
    distinct = ordered(values)
    if not all(map(number, distinct)) or len(distinct) == 1 or _uneven(distinct):
        count = len(distinct)
        marks = (((index + 0.5) / count, words(v)) for index, v in enumerate(distinct))
        return Axis(tuple(marks), levels=tuple(distinct))
    log = wants_log([*distinct, distinct[-1]], SPREAD)
    low, high = domain(distinct, log) if log else _padded(distinct)
    found = Axis((), log, low, high)
    chosen = distinct
    places = [found.place(value) for value in distinct]
    if len(distinct) > MOST_MARKS or min(b - a for a, b in itertools.pairwise(places)) < 0.09:
        chosen = ticks(low, high, log)
    marks = tuple((found.place(value), tick_label(value)) for value in chosen)
    return dataclasses.replace(found, marks=marks)


def metric(values: Sequence[float], spread: float = math.inf) -> Axis:
    """A metric's finite values -> an axis with round ticks."""
    log = wants_log(values, spread)
    low, high = domain(values, log)
    found = Axis((), log, low, high)
    marks = tuple((found.place(value), tick_label(value)) for value in ticks(low, high, log))
    return dataclasses.replace(found, marks=marks)


def ordered(values: Sequence[Any]) -> list[Any]:
    """The distinct values: numbers by size, then the others by their text."""
    found = list({repr(value): value for value in values}.values())
    return sorted(found, key=lambda v: (not number(v), v if number(v) else 0, str(v)))


def _uneven(distinct: Sequence[float]) -> bool:
    """Whether the numbers but zero span a decade, and there are few."""
    rest = [value for value in distinct if value]
    spans = rest and min(rest) > 0 and max(rest) > SPREAD * min(rest)
    return bool(spans and len(rest) < len(distinct) and len(distinct) <= 12)


def _padded(distinct: Sequence[float]) -> tuple[float, float]:
    room = (distinct[-1] - distinct[0]) * 0.06
    return distinct[0] - room, distinct[-1] + room

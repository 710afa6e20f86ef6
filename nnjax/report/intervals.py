"""Means with their intervals on a common axis: small in a table's cell, large with every value."""

import dataclasses
import math
from collections.abc import Sequence

from nnjax.report import axis
from nnjax.report.axis import Axis
from nnjax.report.charts import drawing
from nnjax.report.svg import Markup, score, tag, tick_label, ticks
from nnjax.sweep.estimate import Estimate
from nnjax.sweep.table import interval

CELL = (150, 16)
WIDTH, LINE, LEFT, RIGHT = 520, 34, 16, 16  # of a large one


def common(estimates: Sequence[Estimate]) -> Axis:
    """The axis that holds the means, and the intervals as far as they are no longer than it thrice.

    Two seeds that differ have an interval so long that all else would become a point.
    """
    means = [e.mean for e in estimates if math.isfinite(e.mean)]
    room = 3 * (max(means) - min(means)) or math.inf
    ends = [x for e in estimates if e.half <= room for x in (e.low, e.high)]
    return axis.metric([*means, *ends])


def cell(estimate: Estimate, scale: Axis, kind: str = '') -> Markup:
    """One estimate on the scale, as a cell's little picture."""
    width, height = CELL
    at = lambda value: 5 + min(max(scale.place(value), 0), 1) * (width - 10)
    y, parts = height / 2, []
    if math.isfinite(estimate.half):
        ends = {'x1': at(estimate.low), 'x2': at(estimate.high)}
        parts.append(tag('line', y1=y, y2=y, class_='span', **ends))
    parts.append(tag('circle', cx=at(estimate.mean), cy=y, r=3.6))
    label = interval(estimate)
    return drawing(label, width, height, *parts, class_=f'estimate {kind}')


@dataclasses.dataclass(frozen=True)
class Span:
    """A mean, the ends of its interval (NaN where it has none), and the values behind it."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...] = ()


def rows(spans: Sequence[Span], label: str, zero: bool = False) -> list[Markup]:
    """Spans -> one <svg> each with every value, and one of the axis that they share.

    A vertical line marks zero where `zero` is set.
    """
    values = [v for span in spans for v in (*span.values, span.low, span.high, span.mean)]
    values = [v for v in values if math.isfinite(v)] + ([0.0] if zero else [])
    room = (max(values) - min(values)) * 0.06 or 1.0
    scale = Axis((), False, min(values) - room, max(values) + room)
    at = lambda value: LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT)
    marks = ticks(scale.low, scale.high, False)
    drawn = [_row(span, label, [at(mark) for mark in marks], at, zero) for span in spans]
    parts = [tag('line', x1=LEFT, x2=WIDTH - RIGHT, y1=1, y2=1, class_='axis')]
    for value in marks:
        parts.append(tag('line', x1=at(value), x2=at(value), y1=1, y2=5, class_='axis'))
        words = tick_label(round(value, 12)).replace('-', '−')
        parts.append(tag('text', words, x=at(value), y=18, class_='middle'))
    return [*drawn, drawing(f'{label}: the axis', WIDTH, 22, *parts, class_='estimate')]


def _row(span: Span, label: str, marks: list[float], at, zero: bool) -> Markup:
    y = LINE / 2
    parts = [tag('line', x1=x, x2=x, y1=0, y2=LINE, class_='grid') for x in marks]
    if zero:
        parts.append(tag('line', x1=at(0), x2=at(0), y1=0, y2=LINE, class_='zero'))
    said = f'{label}: {score(span.mean)}'
    if math.isfinite(span.low):
        ends = {'x1': at(span.low), 'x2': at(span.high)}
        parts.append(tag('line', y1=y, y2=y, class_='span', **ends))
        said += f', interval {score(span.low)} to {score(span.high)}'
    for value in span.values:
        parts.append(
            tag('circle', tag('title', f'{value:.4f}'), cx=at(value), cy=y, r=3.2, class_='seed')
        )
    parts.append(tag('circle', cx=at(span.mean), cy=y, r=5.5, class_='mean'))
    return drawing(said, WIDTH, LINE, *parts, class_='estimate')

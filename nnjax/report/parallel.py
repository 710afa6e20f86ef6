"""Parallel coordinates: a line a configuration, an axis a field, the metric the last."""

import itertools
import math

from nnjax.report import axis
from nnjax.report.axis import Axis
from nnjax.report.charts import drawing
from nnjax.report.shade import Scale
from nnjax.report.svg import Markup, join, score, tag
from nnjax.report.sweep_folder import Sweep
from nnjax.sweep.table import Row, words

TOP, BOTTOM, HEIGHT = 44, 30, 380
SIDE, GAP = 70, 190  # before the first and behind the last axis; between two, the more the fewer
MOST_FIELDS, MOST_LINES = 10, 1000


def coordinates(sweep: Sweep, fields: list[str], scale: Scale) -> Markup:
    """The sweep's lines over `fields` (the most important first), coloured by `scale`.

    The best is always up. A configuration that diverged ends below the metric's axis.
    """
    fields = fields[:MOST_FIELDS]
    axes = [axis.of([sweep.value(row, path) for row in sweep.rows]) for path in fields]
    last = axis.metric([row.valid.mean for row in sweep.scored()])
    width = 2 * SIDE + GAP * len(fields) + 250 // len(fields)
    across = [SIDE + (width - 2 * SIDE) * i / len(fields) for i in range(len(fields) + 1)]
    names = [sweep.names[path] for path in fields]
    parts = []
    for row in reversed(sweep.rows[:MOST_LINES]):  # the best on top
        places = [a.place(sweep.value(row, path)) for a, path in zip(axes, fields)]
        heights = [_up(place) for place in places]
        if math.isfinite(row.valid.mean) and row.state != 'diverged':
            place = last.place(row.valid.mean)
            heights.append(_up(place if sweep.higher else 1 - place))
        elif row.state == 'diverged':
            heights.append(HEIGHT - 12)
        parts.append(_line(sweep, row, fields, list(zip(across, heights)), scale))
    parts += [_axis(a, x, name) for a, x, name in zip(axes, across, names)]
    parts.append(_axis(last, across[-1], f'valid {sweep.metric}', sweep.higher, end=True))
    if any(row.diverged for row in sweep.rows):
        parts.append(tag('text', 'diverged', x=across[-1] + 9, y=HEIGHT - 8))
    label = f'Parallel coordinates of {len(sweep.rows)} configurations: ' + ', '.join(names)
    style = f'--least:{0.72 * width:.0f}px;max-width:{1.3 * width:.0f}px'
    return tag('div', drawing(label, width, HEIGHT, *parts), class_='paths', style=style)


def _up(place: float) -> float:
    return HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)


def _axis(found: Axis, x: float, name: str, upward: bool = True, end: bool = False) -> Markup:
    parts = [tag('line', x1=x, x2=x, y1=_up(0), y2=_up(1), class_='axis')]
    parts.append(tag('text', name, x=x, y=16, class_='middle name'))
    if found.log:
        parts.append(tag('text', 'log scale', x=x, y=30, class_='middle'))
    for place, text in found.marks:
        y = _up(place if upward else 1 - place)
        parts.append(tag('line', x1=x - 3, x2=x + 3, y1=y, y2=y, class_='axis'))
        at = {'x': x + 9} if end else {'x': x - 8, 'class_': 'end'}
        shown = text if len(text) <= 16 else text[:15] + '…'
        parts.append(tag('text', shown, y=y + 4, **at))
    return join(parts)


def _line(sweep: Sweep, row: Row, fields: list[str], points: list, scale: Scale) -> Markup:
    """A smooth line through the points, with an unseen wide one over it to be pointed at."""
    path = f'M{points[0][0]:.1f},{points[0][1]:.1f}'
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        bend = (x1 - x0) * 0.42
        path += f'C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}'
    kind = 'first' if row is sweep.rows[0] and row.state != 'diverged' else row.state
    style = scale.style(row.valid.mean) if math.isfinite(row.valid.mean) else None
    parts = [tag('path', d=path, class_='shown', style=style), tag('path', d=path, class_='hit')]
    if row.state == 'diverged':
        x, y = points[-1]
        parts.append(tag('text', '×', x=x, y=y + 5, class_='middle cross'))
    return tag('g', tag('title', describe(sweep, row, fields)), *parts, class_=f'path {kind}')


def describe(sweep: Sweep, row: Row, fields: list[str]) -> str:
    """'lr 0.01 · width 64 · valid accuracy 0.93'."""
    parts = [f'{sweep.names[path]} {words(sweep.value(row, path))}' for path in fields]
    if math.isfinite(row.valid.mean):
        parts.append(f'valid {sweep.metric} {score(row.valid.mean)}')
    return ' · '.join([*parts, *([row.status] if row.state != 'finished' else [])])

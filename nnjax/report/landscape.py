"""The metric over swept fields: a heat map over two, a row of dots over one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnjax.report import axis
from nnjax.report.charts import BOTTOM, LEFT, RIGHT, TOP, drawing
from nnjax.report.parallel import describe
from nnjax.report.shade import Scale
from nnjax.report.svg import Markup, score, tag, tick_label
from nnjax.report.sweep_folder import Sweep

CELLS = 8  # a side has of a field with more values; these are binned
DOTS = (400, 235)


def heat_map(sweep: Sweep, across: str, down: str, scale: Scale) -> Markup:
    """The mean validation metric of the configurations in each cell, over two numeric fields.

    A cell where every configuration diverged has a cross, one without any is empty.
    """
    columns, column_of = _cells([sweep.value(row, across) for row in sweep.rows])
    lines, line_of = _cells([sweep.value(row, down) for row in sweep.rows])
    edge, head, wide, high = 92, 8, 520 / len(columns), min(44, max(26, 340 / len(lines)))
    parts = []
    for y, name in enumerate(reversed(lines)):
        at = {'x': edge - 8, 'y': head + (y + 0.5) * high + 4, 'class_': 'end'}
        parts.append(tag('text', name, **at))
    bottom = head + len(lines) * high
    for x, name in enumerate(columns):
        at = {'x': edge + (x + 0.5) * wide, 'y': bottom + 17, 'class_': 'middle'}
        parts.append(tag('text', name, **at))
    cells: dict[tuple[int, int], list] = {}
    for row, x, y in zip(sweep.rows, column_of, line_of):
        cells.setdefault((x, y), []).append(row)
    for (x, y), rows in sorted(cells.items()):
        at = (edge + x * wide, head + (len(lines) - 1 - y) * high, wide, high)
        parts.append(_cell(sweep, rows, f'{columns[x]}, {lines[y]}', at, scale))
    width, height = edge + 520, bottom + 42
    parts.append(tag('text', sweep.names[across], x=width, y=height - 4, class_='end name'))
    turn = f'translate(12 {head + len(lines) * high / 2:g}) rotate(-90)'
    parts.append(tag('text', sweep.names[down], transform=turn, class_='middle name'))
    label = f'valid {sweep.metric} by {sweep.names[across]} and {sweep.names[down]}'
    return drawing(label, width, height, *parts, class_='heat')


def _cells(values: Sequence[float]) -> tuple[list[str], list[int]]:
    """Numbers -> the names of the cells, and each number's cell: a value, or a bin of many."""
    distinct = axis.ordered(values)
    if len(distinct) <= CELLS:
        return [tick_label(value) for value in distinct], [distinct.index(v) for v in values]
    scale = axis.of(values)
    places = [
        scale.levels.index(v) / len(distinct) if scale.levels else scale.place(v) for v in values
    ]
    low, high = min(places), max(places)
    cell = [min(int((p - low) / (high - low) * CELLS), CELLS - 1) for p in places]
    names = []
    for index in range(CELLS):
        inside = [value for value, c in zip(values, cell) if c == index]
        names.append(f'{float(f"{np.median(inside):.2g}"):.4g}' if inside else '')
    return names, cell


def _cell(sweep: Sweep, rows: list, name: str, at: tuple, scale: Scale) -> Markup:
    x, y, wide, high = at
    box = {'x': x, 'y': y, 'width': wide - 2, 'height': high - 2, 'rx': 3}
    middle = {'x': x + wide / 2 - 1, 'y': y + high / 2 + 3}
    scores = [r.valid.mean for r in rows if r.state != 'diverged' and math.isfinite(r.valid.mean)]
    lost = sum(row.state == 'diverged' for row in rows)
    count = f'{len(rows)} configuration' + ('s' if len(rows) != 1 else '')
    said = f'{name}: {count}' + (f', {lost} diverged' if lost else '')
    if not scores:
        cross = [tag('text', '×', class_='middle cross', **middle)] if lost else []
        return tag('g', tag('rect', class_='cell', **box), *cross, tag('title', said))
    mean = math.fsum(scores) / len(scores)
    parts = [tag('rect', class_='shade', style=scale.style(mean), **box)]
    text = score(mean)
    size = min(11.5, wide / len(text) * 1.5)
    if size >= 8:
        ink = 'middle strong' if scale.share(mean) > 0.55 else 'middle ink'
        parts.append(tag('text', text, class_=ink, style=f'font-size:{size:.3g}px', **middle))
    if lost:
        at = {'x': x + wide - 10, 'y': y + 12, 'class_': 'middle cross small'}
        parts.append(tag('text', '×', **at))
    return tag('g', *parts, tag('title', f'{said}, mean {text}'))


def dots(sweep: Sweep, path: str, scale: Scale) -> Markup:
    """A field's values against the validation metric: a dot a configuration, the winner's ringed."""
    width, height = DOTS
    right, bottom = width - RIGHT, height - BOTTOM
    values = axis.of([sweep.value(row, path) for row in sweep.rows])
    goal = axis.metric([row.valid.mean for row in sweep.scored()])
    parts = []
    for place, text in goal.marks:
        y = bottom - place * (bottom - TOP)
        parts.append(tag('line', x1=LEFT, x2=right, y1=y, y2=y, class_='grid'))
        parts.append(tag('text', text, x=LEFT - 7, y=y + 4, class_='end'))
    marks = values.marks
    for place, text in marks:
        x = LEFT + place * (right - LEFT)
        shown = (
            text if len(text) * 7 * len(marks) < right - LEFT else text[: max(3, 44 // len(marks))]
        )
        parts.append(tag('line', x1=x, x2=x, y1=bottom, y2=bottom + 4, class_='axis'))
        parts.append(tag('text', shown, x=x, y=bottom + 17, class_='middle'))
    parts.append(tag('line', x1=LEFT, x2=right, y1=bottom, y2=bottom, class_='axis'))
    if values.log:
        parts.append(tag('text', 'log scale', x=LEFT, y=height - 3))
    for row in reversed(sweep.rows):
        x = LEFT + values.place(sweep.value(row, path)) * (right - LEFT)
        title = tag('title', describe(sweep, row, sweep.fields))
        if row.state == 'diverged':
            at = {'x': x, 'y': bottom - 4, 'class_': 'middle cross'}
            parts.append(tag('text', '×', title, **at))
        elif math.isfinite(row.valid.mean):
            y = bottom - goal.place(row.valid.mean) * (bottom - TOP)
            first = row is sweep.rows[0]
            at = {'cx': x, 'cy': y, 'r': 5.5 if first else 3.6}
            kind = 'dot first' if first else f'dot {row.state}'
            style = scale.style(row.valid.mean)
            parts.append(tag('circle', title, class_=kind, style=style, **at))
    label = f'valid {sweep.metric} by {sweep.names[path]}'
    return drawing(label, width, height, *parts)


def two_fields(sweep: Sweep, ordered: Sequence[str]) -> tuple[str, str] | None:
    """The learning rate and the weight decay where both were swept, else the first two numeric."""
    found: list[Any] = [path for path in ordered if sweep.numeric(path)]
    usual = [p for end in ('lr', 'weight_decay') for p in found if p.rpartition('.')[2] == end]
    chosen = usual if len(usual) == 2 else found[:2]
    return (chosen[0], chosen[1]) if len(chosen) == 2 else None

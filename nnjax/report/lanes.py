"""The learning curves of every lane of a sweep in one chart."""

import math

from nnjax.report import axis
from nnjax.report.charts import BOTTOM, EXTREME, LEFT, RIGHT, TOP, drawing, frame
from nnjax.report.parallel import describe
from nnjax.report.svg import Markup, join, tag, ticks
from nnjax.report.sweep_folder import Sweep

MOST_LANES, MOST_POINTS = 400, 160
SIZE = (560, 320)


def curves(sweep: Sweep, split: str, metric: str, unit: str, spread: float) -> Markup | None:
    """Every lane's metric on a split over 'step' or 'epoch', the winner's seeds bold, on top.

    None where no lane was scored on it. A cross marks where a lane diverged, a bar where it was
    dropped, a dot where it went on from another's copy. The y axis is logarithmic if the largest value is over `spread` times the smallest.
    """
    lanes = [(row, lane) for row in sweep.rows for lane in row.lanes][:MOST_LANES]
    found = [(row, lane, sweep.curve(lane.index, split, metric, unit)) for row, lane in lanes]
    plain = lambda y: math.isfinite(y) and abs(y) < EXTREME
    values = [y for _, _, curve in found for y in curve.y if plain(y)]
    if not values:
        return None
    ends = [x for _, _, curve in found for x in curve.x]
    first, last = min(ends), max(ends)
    if first == last:
        first, last = first - 0.5, last + 0.5
    scale = axis.metric(values, spread)
    width, height = SIZE
    right, bottom = width - RIGHT, height - BOTTOM
    across = lambda x: LEFT + (x - first) / (last - first) * (right - LEFT)
    up = lambda y: bottom - scale.place(y) * (bottom - TOP)
    marks = ticks(scale.low, scale.high, scale.log)
    parts = [frame(ticks(first, last, False), marks, across, up, right, bottom)]
    parts.append(tag('text', unit, x=right, y=height - 3, class_='end'))
    if scale.log:
        parts.append(tag('text', 'log scale', x=LEFT, y=height - 3))
    for row, lane, curve in reversed(found):
        winner = row is sweep.rows[0] and row.state != 'diverged'
        points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if plain(y)]
        stride = max(1, -(-len(points) // MOST_POINTS))
        points = points[:-1:stride] + points[-1:]
        if not points:
            continue
        drawn = ' '.join(f'{across(x):.1f},{up(y):.1f}' for x, y in points)
        shape = [tag('polyline', points=drawn)]
        x, y = across(points[-1][0]), up(points[-1][1])
        if lane.state == 'diverged':
            shape.append(tag('text', '×', x=x, y=y + 5, class_='middle cross'))
        elif lane.state == 'dropped':
            shape.append(tag('line', x1=x, x2=x, y1=y - 4, y2=y + 4))
        elif len(points) == 1:
            shape.append(tag('circle', cx=x, cy=y, r=2.6))
        copied = set(sweep.copies(lane.index, unit))
        shape += [tag('circle', cx=across(x), cy=up(y), r=2) for x, y in points if x in copied]
        title = f'{describe(sweep, row, sweep.fields)} · seed {sweep.seeds[lane.index]}'
        kind = 'first' if winner else lane.state
        parts.append(tag('g', tag('title', title), *shape, class_=f'lane {kind}'))
    return drawing(f'{split} {metric} of {len(lanes)} lanes by {unit}', *SIZE, join(parts))

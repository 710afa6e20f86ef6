"""Charts as inline SVG: numbers in, one <svg> element out, coloured by the page's style.

No script: over each point lies an unseen strip that shows the values there when it is hovered.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from nnjax.report.svg import Markup, domain, join, short, tag, tick_label, ticks, wants_log

MOST_POINTS = 1000  # of one curve; a longer one is thinned to its extremes
MOST_STRIPS = 120
TREND = 100  # points of the line drawn through a long curve
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 40  # the plot's margins
EXTREME = 1e300  # beyond it, sums of float64 values may overflow: drawn as not finite


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values y over x, by rising x; `name` is shown and is the style class."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def lines(
    curves: Sequence[Curve],
    label: str,
    unit: str,
    size: tuple[int, int],
    spread: float = math.inf,
) -> Markup:
    """Curves over one x axis, `unit` its title -> <svg> of `size` (width, height), described by `label`.

    The y axis is logarithmic if the largest value is over `spread` times the smallest.

    Values that are not finite leave a gap, marked with a cross on the plot's upper edge.
    """
    trends = [_trend(curve) for curve in curves]
    curves = [Curve(curve.name, *_thin(curve.x, curve.y)) for curve in curves]
    values = [y for curve in curves for y in curve.y if _plain(y)]
    width, height = size
    right, bottom = width - RIGHT, height - BOTTOM
    if not values:
        words = tag('text', 'no finite value', x=width / 2, y=height / 2, class_='middle')
        return drawing(label, width, height, words)
    log = wants_log(values, spread)
    low, high = domain(values, log)
    all_x = sorted({x for curve in curves for x in curve.x})
    first, last = (all_x[0], all_x[-1]) if len(all_x) > 1 else (all_x[0] - 0.5, all_x[0] + 0.5)

    def across(x: float) -> float:
        return LEFT + (x - first) / (last - first) * (right - LEFT)

    def up(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if log else (y - low) / (high - low)
        return bottom - share * (bottom - TOP)

    parts = [frame(ticks(first, last, False), ticks(low, high, log), across, up, right, bottom)]
    parts.append(tag('text', unit, x=right, y=height - 3, class_='end'))
    if log:
        parts.append(tag('text', 'log scale', x=LEFT, y=height - 3))
    parts += [_curve(*pair, across, up) for pair in zip(curves, trends, strict=True)]
    return drawing(
        label, width, height, *parts, _strips(curves, all_x, unit, across, up, right, bottom)
    )


def _plain(value: float) -> bool:
    return math.isfinite(value) and abs(value) < EXTREME


def drawing(label: str, width: float, height: float, *parts: Markup, class_: str = '') -> Markup:
    box = f'0 0 {width:g} {height:g}'
    return tag('svg', *parts, viewBox=box, role='img', aria_label=label, class_=class_ or None)


def frame(x_ticks, y_ticks, across, up, right, bottom) -> Markup:
    parts = []
    for value in y_ticks:
        y = up(value)
        parts.append(tag('line', x1=LEFT, x2=right, y1=y, y2=y, class_='grid'))
        parts.append(tag('text', tick_label(value), x=LEFT - 7, y=y + 4, class_='end'))
    for value in x_ticks:
        x = across(value)
        parts.append(tag('line', x1=x, x2=x, y1=bottom, y2=bottom + 4, class_='axis'))
        parts.append(tag('text', tick_label(value), x=x, y=bottom + 17, class_='middle'))
    parts.append(tag('line', x1=LEFT, x2=right, y1=bottom, y2=bottom, class_='axis'))
    return join(parts)


def _curve(curve: Curve, trend: Curve, across, up) -> Markup:
    path, dots, crosses, pen_down = [], [], [], False
    for x, y in zip(curve.x, curve.y, strict=True):
        if not _plain(y):
            crosses.append(tag('text', '×', x=across(x), y=TOP + 6, class_='middle cross'))
            pen_down = False
            continue
        path.append(f'{"L" if pen_down else "M"}{across(x):.1f},{up(y):.1f}')
        dots.append(tag('circle', cx=across(x), cy=up(y), r=2.6))
        pen_down = True
    if len(dots) > 40:  # so dense a curve needs none, but a lone value shows as nothing else
        dots = dots[-1:]
    parts = [tag('path', d=''.join(path), class_='raw' if trend.x else None)] if path else []
    if trend.x:
        points = (f'{across(x):.1f},{up(y):.1f}' for x, y in zip(trend.x, trend.y, strict=True))
        parts.append(tag('polyline', points=' '.join(points)))
    return tag('g', *parts, *dots, *crosses[:20], class_=f'curve {curve.name}')


def _strips(curves, all_x, unit, across, up, right, bottom) -> Markup:
    chosen = set(all_x[:: math.ceil(len(all_x) / MOST_STRIPS)])
    chosen = sorted(chosen.union(*(c.x for c in curves if len(c.x) <= MOST_STRIPS)))
    values = {curve.name: dict(zip(curve.x, curve.y, strict=True)) for curve in curves}
    edges = [LEFT, *(across((a + b) / 2) for a, b in itertools.pairwise(chosen)), right]
    strips = []
    for x, (start, end) in zip(chosen, itertools.pairwise(edges), strict=True):
        here = {name: at[x] for name, at in values.items() if x in at}
        words = ' · '.join([f'{unit} {short(x)}', *(f'{n} {short(y)}' for n, y in here.items())])
        at = across(x)
        dots = [
            tag('circle', cx=at, cy=up(y), r=4, class_=name)
            for name, y in here.items()
            if _plain(y)
        ]
        strips.append(
            tag(
                'g',
                tag('rect', x=start, y=TOP, width=end - start, height=bottom - TOP),
                tag('line', x1=at, x2=at, y1=TOP, y2=bottom),
                *dots,
                tag('text', words, x=(LEFT + right) / 2, y=bottom + BOTTOM - 3, class_='middle'),
                class_='strip',
            )
        )
    return join(strips)


def _trend(curve: Curve) -> Curve:
    """The means of TREND buckets of a long, noisy curve's finite values; empty for a short one."""
    points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if _plain(y)]
    if len(points) < 3 * TREND:
        return Curve(curve.name, [], [])
    edges = [index * len(points) // TREND for index in range(TREND + 1)]
    buckets = [points[start:end] for start, end in itertools.pairwise(edges)]
    x, y = ([math.fsum(p[axis] for p in b) / len(b) for b in buckets] for axis in (0, 1))
    return Curve(curve.name, x, y)


def _thin(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points that keep the first, the last, and each bucket's extremes."""
    count = len(x)
    if count <= MOST_POINTS:
        return list(x), list(y)
    kept = {0, count - 1}
    buckets = MOST_POINTS // 2 - 1
    for bucket in range(buckets):
        rows = range(bucket * count // buckets, (bucket + 1) * count // buckets)
        ranked = [(math.inf if math.isnan(y[row]) else y[row], row) for row in rows]
        kept |= {min(ranked)[1], max(ranked)[1]}
    rows = sorted(kept)
    return [x[row] for row in rows], [y[row] for row in rows]

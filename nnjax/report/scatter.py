"""Points in a plane, and two curves against the ideal, as inline SVG."""

from collections.abc import Sequence

import numpy as np

from nnjax.report.charts import LEFT, RIGHT, TOP, drawing, frame
from nnjax.report.svg import Markup, domain, join, tag, ticks

MOST = 2000  # points drawn; more are thinned evenly
SIZE, BOTTOM = (460, 400), 40
HUES = 10  # colours of classes; further ones begin anew


def thinned(count: int, most: int = MOST) -> np.ndarray:
    """Row numbers of at most `most` of `count` points, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def points(
    x: np.ndarray,
    y: np.ndarray,
    names: tuple[str, str],
    classes: np.ndarray | None = None,
    bands: tuple[np.ndarray, np.ndarray] | None = None,
    ideal: bool = False,
) -> Markup:
    """x [N], y [N], all finite -> <svg>; `classes` [N] colour them.

    Args:
      x: across.
      y: up.
      names: of the two axes.
      classes: whole numbers, or None for one colour.
      bands: low [N] and high [N] of a line up through each point.
      ideal: whether the line x = y is drawn, and both axes are alike.
    """
    kept = thinned(len(x))
    x, y = x[kept], y[kept]
    lows, highs = (band[kept] for band in bands) if bands else (y, y)
    spans = [x, lows, highs, y] if ideal else [lows, highs, y]
    rise = domain([float(f(s)) for s in spans for f in (np.min, np.max)], False)
    run = rise if ideal else domain([float(x.min()), float(x.max())], False)
    (width, height), right, bottom = SIZE, SIZE[0] - RIGHT, SIZE[1] - BOTTOM
    across = lambda value: LEFT + (value - run[0]) / (run[1] - run[0]) * (right - LEFT)
    up = lambda value: bottom - (value - rise[0]) / (rise[1] - rise[0]) * (bottom - TOP)
    parts = [frame(ticks(*run, False), ticks(*rise, False), across, up, right, bottom)]
    if bands:
        ends = zip(x, lows, highs, strict=True)
        parts.append(
            join(
                tag('line', x1=across(a), x2=across(a), y1=up(low), y2=up(high), class_='band')
                for a, low, high in ends
            )
        )
    hues = np.zeros(len(x), int) if classes is None else classes[kept] % HUES
    parts += [
        tag(
            'circle',
            cx=across(float(a)),
            cy=up(float(b)),
            r=1.9,
            class_='point' if classes is None else f'point hue{hue}',
        )
        for a, b, hue in zip(x, y, hues, strict=True)
    ]
    if ideal:
        ends = {'x1': across(run[0]), 'y1': up(rise[0]), 'x2': across(run[1]), 'y2': up(rise[1])}
        parts.append(tag('line', class_='ideal', **ends))
    parts += _names(names, width, height)
    return drawing(f'{names[1]} by {names[0]}, {len(x)} points', width, height, *parts)


def shares(wanted: Sequence[float], found: Sequence[float], names: tuple[str, str]) -> Markup:
    """Shares wanted and found, both in [0, 1] -> <svg> of a line beside the diagonal."""
    (width, height), right, bottom = SIZE, SIZE[0] - RIGHT, SIZE[1] - BOTTOM
    across = lambda share: LEFT + share * (right - LEFT)
    up = lambda share: bottom - share * (bottom - TOP)
    marks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    parts = [frame(marks, marks, across, up, right, bottom)]
    ends = {'x1': across(0), 'y1': up(0), 'x2': across(1), 'y2': up(1)}
    parts.append(tag('line', class_='ideal', **ends))
    corners = ' '.join(f'{across(a):.1f},{up(b):.1f}' for a, b in zip(wanted, found))
    dots = [
        tag('circle', tag('title', f'{a:.1%} wanted, {b:.1%} found'), cx=across(a), cy=up(b), r=3)
        for a, b in zip(wanted, found)
    ]
    parts.append(tag('g', tag('polyline', points=corners), *dots, class_='curve train'))
    parts += _names(names, width, height)
    return drawing(f'{names[1]} by {names[0]}', width, height, *parts)


def _names(names: tuple[str, str], width: float, height: float) -> list[Markup]:
    turn = f'translate(12 {(height - BOTTOM + TOP) / 2:g}) rotate(-90)'
    return [
        tag('text', names[0], x=width - RIGHT, y=height - 3, class_='end'),
        tag('text', names[1], transform=turn, class_='middle name'),
    ]

"""Diagrams of a classifier's answers as inline SVG: confusion matrix, reliability."""

import math
from collections.abc import Sequence

from nnjax.report.charts import LEFT, RIGHT, TOP, drawing, frame
from nnjax.report.svg import Markup, tag, tick_label


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Markup:
    """counts [true][predicted], class names -> <svg>: right answers in one hue, errors in another.

    The diagonal is shaded by its share of the true class, errors by their share of the worst
    error: in a good model they would not be seen on the same scale.
    """
    size = len(names)
    cell = min(46, max(26, 520 // size))
    written = [name if len(name) <= 14 else name[:13] + '…' for name in names]
    longest = max(map(len, written))
    edge = 30 + 7 * longest if longest > 2 else 44
    slanted = longest * 7.5 > cell
    head = edge if slanted else 44
    totals = [max(sum(row), 1) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    worst = max((s for i, row in enumerate(shares) for j, s in enumerate(row) if i != j), default=0)
    parts = []
    for i, name in enumerate(written):
        middle = (i + 0.5) * cell
        title = tag('title', names[i])
        at = {'x': edge - 8, 'y': head + middle + 4, 'class_': 'end'}
        parts.append(tag('text', name, title, **at))
        if slanted:
            turn = f'translate({edge + middle + 4:g} {head - 8}) rotate(-60)'
            parts.append(tag('text', name, title, transform=turn))
        else:
            at = {'x': edge + middle, 'y': head - 8, 'class_': 'middle'}
            parts.append(tag('text', name, title, **at))
        for j, count in enumerate(counts[i]):
            shade = shares[i][j] if i == j else math.sqrt(shares[i][j] / worst) if count else 0.0
            kind = 'right' if i == j else 'wrong'
            x, y = edge + j * cell, head + i * cell
            box = {'x': x, 'y': y, 'width': cell - 1.5, 'height': cell - 1.5, 'rx': 3}
            title = tag('title', f'{names[i]} → {names[j]}: {count} ({shares[i][j]:.1%})')
            face = [tag('rect', class_='cell', **box)]
            if count:
                face.append(tag('rect', class_=kind, fill_opacity=0.08 + 0.9 * shade, **box))
                ink = 'middle strong' if shade > 0.5 else 'middle'
                words = tick_label(count)
                smaller = 11 if len(words) * 8 < cell else max(7, cell * 1.4 / len(words))
                at = {'x': x + cell / 2 - 0.75, 'y': y + cell / 2 + 3.5, 'class_': ink}
                face.append(tag('text', words, style=f'font-size:{smaller:.3g}px', **at))
            parts.append(tag('g', *face, title))
    width, height = edge + size * cell + (46 if slanted else 4), head + size * cell + 2
    across, down = edge + size * cell / 2, head + size * cell / 2
    parts.append(tag('text', 'predicted', x=across, y=12, class_='middle name'))
    turn = f'translate(12 {down:g}) rotate(-90)'
    parts.append(tag('text', 'true', transform=turn, class_='middle name'))
    label = f'Confusion matrix of {size} classes, rows true, columns predicted'
    return tag(
        'div',
        drawing(label, width, height, *parts),
        class_='matrix',
        style=f'max-width:{width:g}px;--least:{0.72 * width:.0f}px',
    )


def reliability(
    confidence: Sequence[float], accuracy: Sequence[float], counts: Sequence[float]
) -> Markup:
    """Per equal-width bin of confidence: its mean, the accuracy, the count -> <svg>.

    A line marks the mean confidence, a bar the accuracy: what is short of the line is in the hue
    of errors, what is beyond it in a paler one. Below lie the counts.
    """
    width, height, floor, base = 460, 400, 290, 370
    right, bins, most = width - RIGHT, len(counts), max(max(counts), 1)

    def across(share: float) -> float:
        return LEFT + share * (right - LEFT)

    def up(share: float) -> float:
        return floor - share * (floor - TOP)

    marks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    parts = [frame(marks, marks, across, up, right, floor)]
    for index, (mean, right_share, count) in enumerate(zip(confidence, accuracy, counts)):
        if not count:
            continue
        start = across(index / bins) + 1
        wide = across((index + 1) / bins) - start - 1
        top, mean_y = up(right_share), up(mean)
        share = f'confidence {mean:.3f}, accuracy {right_share:.3f}, {count:g} examples'
        tall = (base - floor - 34) * count / most
        low_y, high_y = max(top, mean_y), min(top, mean_y)
        gap = 'over' if mean > right_share else 'under'
        at = {'x': start + wide / 2, 'y': base - tall - 3, 'class_': 'middle'}
        parts.append(
            tag(
                'g',
                tag('rect', x=start, y=low_y, width=wide, height=floor - low_y, class_='bar'),
                tag('rect', x=start, y=high_y, width=wide, height=low_y - high_y, class_=gap),
                tag('line', x1=start, x2=start + wide, y1=mean_y, y2=mean_y, class_='mean'),
                tag('rect', x=start, y=base - tall, width=wide, height=tall, class_='count'),
                tag('text', tick_label(count), style='font-size:9px', **at),
                tag('title', share),
            )
        )
    ideal = {'x1': across(0), 'y1': up(0), 'x2': across(1), 'y2': up(1)}
    parts.append(tag('line', class_='ideal', **ideal))
    parts.append(tag('line', x1=LEFT, x2=right, y1=base, y2=base, class_='axis'))
    for value in marks:
        parts.append(tag('text', f'{value:g}', x=across(value), y=base + 17, class_='middle'))
    parts.append(tag('text', 'confidence', x=right, y=height - 1, class_='end'))
    turn = f'translate(13 {(floor + TOP) / 2:g}) rotate(-90)'
    parts.append(tag('text', 'accuracy', transform=turn, class_='middle name'))
    turn = f'translate(13 {(floor + base) / 2 + 9:g}) rotate(-90)'
    parts.append(tag('text', 'count', transform=turn, class_='middle name'))
    return drawing('Reliability: accuracy by confidence', width, height, *parts, class_='square')

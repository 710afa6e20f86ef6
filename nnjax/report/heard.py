"""What a run of sounds hears: its scores against noise, its symbols frame by frame.

Both come from `nnjax.analysis.hearing`, by way of the run folder's hearing.json.
"""

from collections.abc import Mapping, Sequence

from nnjax.report import charts
from nnjax.report.cards import Card, Section
from nnjax.report.charts import LEFT, RIGHT, TOP, drawing
from nnjax.report.folder import Run, number
from nnjax.report.svg import Markup, score, tag, tick_label, ticks

SIZE = (1200, 280)
WIDTH, ROW, BOTTOM = 1200, 18, 40
FAINT = 0.02  # probability below which nothing is drawn
SCORES = ('accuracy', 'wer', 'cer')


def sections(run: Run) -> list[Section]:
    """The pictures there are; [] if hearing.json is not."""
    noise, alignments = run.hearing.get('noise'), run.hearing.get('alignments')
    cards = _noise(noise) if isinstance(noise, dict) else []
    for name, found in (alignments if isinstance(alignments, dict) else {}).items():
        cards.append(
            Card(
                f'Heard in {name}',
                alignment(found['seconds'], found['symbols'], found['probability']),
                found['transcript'],
                'The darker, the likelier; where no symbol is, the model says nothing.',
                full=True,
            )
        )
    return [Section('hearing', 'Hearing', cards)] if cards else []


def _noise(found: Mapping[str, Mapping[str, float]]) -> list[Card]:
    """{decibels: scores} -> a card of each score that people compare."""
    clean = found.get('inf', {})
    ratios = sorted((r for r in found if r != 'inf'), key=float)
    cards = []
    for name in SCORES:
        values = [number(found[ratio].get(name)) for ratio in ratios]
        if not any(v == v for v in values):
            continue
        curve = charts.Curve(name, [float(ratio) for ratio in ratios], values)
        label = f'{name} against the signal-to-noise ratio'
        key = f'without noise {score(number(clean[name]))}' if name in clean else ''
        note = 'White noise, added to the sounds as they are.'
        cards.append(
            Card(
                f'{name} and noise', charts.lines([curve], label, 'dB', SIZE), key, note, full=True
            )
        )
    return cards


def alignment(
    seconds: float, symbols: Sequence[str], probability: Sequence[Sequence[float]]
) -> Markup:
    """A sound's seconds, some symbols and how likely each is in every frame [symbols][frames]."""
    bottom = TOP + ROW * len(symbols)
    across = lambda share: LEFT + share * (WIDTH - RIGHT - LEFT)
    parts = []
    for place, (symbol, row) in enumerate(zip(symbols, probability, strict=True)):
        top = TOP + ROW * place
        text = tag('text', symbol, x=LEFT - 7, y=top + ROW - 5, class_='end')
        wide = (WIDTH - RIGHT - LEFT) / len(row)
        parts += [text, tag('line', x1=LEFT, x2=WIDTH - RIGHT, y1=top, y2=top, class_='grid')]
        parts += [
            tag(
                'rect',
                x=across(frame / len(row)),
                y=top,
                width=wide,
                height=ROW,
                fill_opacity=round(min(p, 1.0), 2),
            )
            for frame, p in enumerate(row)
            if p >= FAINT
        ]
    for value in ticks(0, seconds, False, 10):
        x = across(value / seconds)
        parts.append(tag('line', x1=x, x2=x, y1=bottom, y2=bottom + 4, class_='axis'))
        parts.append(tag('text', tick_label(value), x=x, y=bottom + 17, class_='middle'))
    parts.append(tag('line', x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_='axis'))
    parts.append(tag('text', 's', x=WIDTH - RIGHT, y=bottom + 34, class_='end'))
    return drawing(
        'symbols frame by frame', WIDTH, bottom + BOTTOM, *parts, class_='curve alignment'
    )

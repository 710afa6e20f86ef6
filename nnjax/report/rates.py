"""What the embeddings of a verifier say: its error rates over all pairs, as ROC and as DET."""

import statistics

import numpy as np

from nnjax.ops import pairs
from nnjax.report.cards import Card, Section
from nnjax.report.charts import LEFT, RIGHT, TOP, drawing, frame
from nnjax.report.folder import Run
from nnjax.report.svg import Markup, score, tag

WIDTH, HEIGHT, FLOOR = 460, 400, 350
POINTS = 400  # of a curve
RATES = (1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.4)


def sections(run: Run) -> list[Section]:
    """The two diagrams; [] if the run embeds nothing."""
    task = run.config.get('task') or {}
    embeddings = run.predictions.get('embedding')
    labels = run.predictions.get(str(task.get('label') or 'label'))
    if embeddings is None or labels is None or embeddings.ndim != 2 or labels.ndim != 1:
        return []
    same, different = pairs.scores(embeddings, labels)
    if not len(same) or not len(different) or not np.isfinite(embeddings).all():
        return []
    _, accept, reject = pairs.rates(same, different)
    error, threshold = pairs.equal_error(same, different)
    said = (
        f'{len(same):,} pairs of one identity and {len(different):,} of two, '
        f'{len(np.unique(labels))} identities.'
    )
    equal = f'Both errors are equal at the score {score(threshold)}.'
    cards = [
        Card('ROC', roc(accept, reject), note=said),
        Card('DET', det(accept, reject, error), f'EER {score(error)}', equal),
    ]
    return [Section('rates', 'Error rates', cards)]


def roc(accept: np.ndarray, reject: np.ndarray) -> Markup:
    """Rates by threshold -> true accept rate over false accept rate, the latter's axis in decades."""
    lowest = max(min(accept[accept > 0]), 1e-5)
    marks = [10.0**n for n in range(-5, 1) if 10.0**n >= lowest]
    across = lambda rate: _across(np.log10(max(rate, lowest) / lowest) / -np.log10(lowest))
    seen = accept > 0
    low = min(0.9, float(np.floor(10 * min(1 - reject[seen])) / 10))
    up = lambda rate: _up((rate - low) / (1 - low))
    heights = [low + n * (1 - low) / 5 for n in range(6)]
    shown = [(across(a), up(1 - r)) for a, r in zip(*_thin(accept[seen], reject[seen]))]
    return _diagram('ROC', marks, heights, across, up, shown, 'true accept rate')


def det(accept: np.ndarray, reject: np.ndarray, error: float) -> Markup:
    """Rates by threshold -> false reject rate over false accept rate, both axes normal deviates.

    Martin et al., The DET curve in assessment of detection task performance, 1997: scores that are
    normally distributed make a straight line. The diagonal is where both errors are equal.
    """
    probit = statistics.NormalDist().inv_cdf
    low, high = probit(RATES[0] / 2), probit(0.5)
    place = lambda rate: (probit(min(max(rate, RATES[0] / 2), 0.5)) - low) / (high - low)
    across, up = (lambda rate: _across(place(rate))), (lambda rate: _up(place(rate)))
    seen = (accept > 0) & (reject > 0) & (accept < 0.5) & (reject < 0.5)
    shown = [(across(a), up(r)) for a, r in zip(*_thin(accept[seen], reject[seen]))]
    ends = {'x1': _across(0), 'y1': _up(0), 'x2': _across(1), 'y2': _up(1)}
    dot = tag('circle', cx=across(error), cy=up(error), r=4, class_='curve valid')
    more = [tag('line', class_='ideal', **ends), dot]
    return _diagram('DET', RATES, RATES, across, up, shown, 'false reject rate', *more)


def _diagram(name, x_marks, y_marks, across, up, points, axis, *more: Markup) -> Markup:
    right = WIDTH - RIGHT
    path = 'M' + 'L'.join(f'{x:.1f},{y:.1f}' for x, y in points) if points else ''
    turn = f'translate(13 {(FLOOR + TOP) / 2:g}) rotate(-90)'
    return drawing(
        f'{name}: {axis} by false accept rate',
        WIDTH,
        HEIGHT,
        frame(x_marks, y_marks, across, up, right, FLOOR),
        *more,
        tag('g', tag('path', d=path), class_='curve train'),
        tag('text', 'false accept rate', x=right, y=HEIGHT - 8, class_='end'),
        tag('text', axis, transform=turn, class_='middle name'),
        class_='square',
    )


def _across(share: float) -> float:
    return LEFT + float(share) * (WIDTH - RIGHT - LEFT)


def _up(share: float) -> float:
    return FLOOR - float(share) * (FLOOR - TOP)


def _thin(*arrays: np.ndarray) -> list[np.ndarray]:
    """The same POINTS of each array, evenly spaced along the first's logarithm."""
    if len(arrays[0]) <= POINTS:
        return list(arrays)
    logs = -np.log(np.maximum(arrays[0], 1e-12))  # rising
    rows = np.searchsorted(logs, np.linspace(logs[0], logs[-1], POINTS))
    rows = np.unique(np.minimum(rows, len(logs) - 1))
    return [array[rows] for array in arrays]

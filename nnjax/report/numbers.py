"""What the predictions say of a regression: predicted against true, intervals, calibration."""

import statistics

import numpy as np

from nnjax.report import scatter
from nnjax.report.cards import Card, Section
from nnjax.report.folder import Run
from nnjax.report.svg import score

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHOWN = 200  # examples whose intervals are drawn


def sections(run: Run) -> list[Section]:
    """The run's predicted numbers; none if its task is no regression."""
    found, task = run.predictions, run.config.get('task')
    name = str(task.get('target') or 'target') if isinstance(task, dict) else 'target'
    predicted, true = found.get('prediction'), found.get(name)
    if predicted is None or true is None or predicted.ndim != 2 or predicted.dtype.kind != 'f':
        return []
    true = true.reshape(len(true), -1)
    if true.shape != predicted.shape:
        return []
    if f'{name}_scale' in found:
        true = found[f'{name}_mean'] + found[f'{name}_scale'] * true
    kept = np.isfinite(predicted).all(1) & np.isfinite(true).all(1)
    if not kept.any():
        return []
    cards = []
    for column in range(min(true.shape[1], 3)):
        title = f'target {column}' if true.shape[1] > 1 else 'Predicted and true'
        x, y = predicted[kept, column], true[kept, column]
        error = score(float(np.sqrt(np.square(x.astype(np.float64) - y).mean())))
        picture = scatter.points(x, y, ('predicted', 'true'), ideal=True)
        cards.append(Card(title, picture, f'RMSE {error}'))
    levels = _levels(found, task)
    if levels is not None:
        wanted, values = levels
        values, true = values[kept], true[kept]
        cards += [
            _calibration(wanted, values, true),
            _intervals(wanted, values, predicted[kept], true),
        ]
    return [Section('numbers', 'Predictions', tuple(cards))]


def _levels(found: dict, task: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """(levels [Q], the quantiles [N, T, Q] that were predicted), or None."""
    if 'deviation' in found:
        reach = np.array([statistics.NormalDist().inv_cdf(level) for level in LEVELS])
        values = found['prediction'][..., None] + found['deviation'][..., None] * reach
        return np.array(LEVELS), values
    wanted = np.sort(np.array(task.get('quantiles') or (), float))  # as predictions are
    if 'quantiles' in found and found['quantiles'].shape[-1:] == wanted.shape:
        return wanted, found['quantiles']
    return None


def _calibration(wanted: np.ndarray, values: np.ndarray, true: np.ndarray) -> Card:
    """How many targets lie below each predicted quantile."""
    below = (true[..., None] <= values).mean((0, 1))
    picture = scatter.shares(wanted, below, ('level of the quantile', 'targets below it'))
    worst = float(np.abs(below - wanted).max())
    note = 'On the diagonal, as many targets lie below a quantile as its level says.'
    return Card('Calibration', picture, f'farthest from the diagonal {worst:.3f}', note)


def _intervals(wanted, values, predicted, true) -> Card:
    """Some examples by rising prediction, each with its widest interval."""
    low, high = values[:, 0, 0], values[:, 0, -1]
    inside = ((low <= true[:, 0]) & (true[:, 0] <= high)).mean()
    order = np.argsort(predicted[:, 0], kind='stable')
    order = order[scatter.thinned(len(order), SHOWN)]
    picture = scatter.points(
        np.arange(len(order), dtype=float),
        true[order, 0],
        ('examples by rising prediction', 'true'),
        bands=(low[order], high[order]),
    )
    key = f'{inside:.1%} of {len(true):,} inside, {wanted[-1] - wanted[0]:.0%} wanted'
    return Card('Intervals', picture, key, f'Lines: from quantile {wanted[0]:g} to {wanted[-1]:g}.')

"""What metrics.jsonl says: curves, the table of scores, the headline and a few plain findings."""

import math
import re

from nnjax.readable import duration, leading
from nnjax.report import charts
from nnjax.report.charts import Curve
from nnjax.report.folder import Record, Run, number
from nnjax.report.svg import score, short

CLOCK = ('split', 'step', 'epoch', 'seconds', 'best_step', 'parameters', 'finished')  # no scores
METERS = {
    'lr': 'learning rate',
    'grad_norm': 'gradient norm',
    'step_milliseconds': 'step time, ms',
}
LOG_SPREAD = {'lr': math.inf, 'grad_norm': 30, 'step_milliseconds': 8}  # see charts.lines
LOWER_IS_BETTER = re.compile(
    r'(^|_)(loss|error|nll|kl|bits|perplexity|brier|ece|mae|mse|rmse|wer|cer|eer|entropy|divergence)($|_)'
)
MOST_CHARTS = 14


def metric_names(run: Run) -> list[str]:
    """Names that any split was scored on: loss, accuracy, the others as they were written first.

    Meters of the run (learning rate ...) and per-class scores ('recall/3') are no such names.
    """
    names = {
        name: None
        for record in _lines(run)
        for name, value in record.items()
        if name not in CLOCK and name not in METERS and '/' not in name and _numeric(value)
    }
    first = [name for name in ('loss', 'accuracy') if name in names]
    return first + [name for name in names if name not in first]


def _lines(run: Run) -> list[Record]:
    splits = [*run.records.get('train', ()), *run.records.get('valid', ())]
    return [*splits, run.final] if run.final else splits


def _numeric(value: object) -> bool:
    return value is None or math.isfinite(number(value)) or str(value).lstrip('-') in ('nan', 'inf')


def best(curve: Curve) -> int | None:
    """The index of a curve's best finite value: its least for a loss, else its greatest."""
    sign = 1 if LOWER_IS_BETTER.search(curve.name) else -1
    rows = [(sign * y, row) for row, y in enumerate(curve.y) if math.isfinite(y)]
    return min(rows)[1] if rows else None


def time_unit(run: Run) -> str:
    """'epoch' where every curve has it and it moves, else 'step'."""
    records = run.records.get('train', []) + run.records.get('valid', [])
    epochs = {number(record.get('epoch')) for record in records}
    return 'epoch' if len(epochs) > 1 and all(map(math.isfinite, epochs)) else 'step'


def curve(run: Run, split: str, name: str, unit: str) -> Curve:
    """The metric `name` of a split over `unit`; empty where the split was never scored on it."""
    points = [
        (number(record.get(unit)), number(record[name]))
        for record in run.records.get(split, ())
        if name in record and math.isfinite(number(record.get(unit)))
    ]
    return Curve(name, [x for x, _ in points], [y for _, y in points])


def curves(run: Run) -> list[dict]:
    """Charts for the page: title, legend of {split, text}, svg, and whether it is a large one.

    First the scores of both train and valid, then the meters, then scores of one split alone.
    """
    unit = time_unit(run)
    axis = unit + _pace(run, unit)
    large, small = {}, {}
    for name in [*metric_names(run), *METERS]:
        found = {split: curve(run, split, name, unit) for split in ('train', 'valid')}
        found = {split: line for split, line in found.items() if line.x}
        if found:
            (large if name in ('loss', 'accuracy') else small)[name] = found
    order = sorted(small, key=lambda name: (len(small[name]) < 2, name not in METERS))
    small = {name: small[name] for name in order[:MOST_CHARTS]}
    if len(small) in (2, 4):  # rows of two large charts or three small ones: leave no hole
        large, small = large | small, {}
    return [_chart(*item, True, unit, axis) for item in large.items()] + [
        _chart(*item, False, unit, axis) for item in small.items()
    ]


def _pace(run: Run, unit: str) -> str:
    """The time that a curve's last point took, for its axis: ', 30 in 4 min 12 s'."""
    ends = [(number(r.get('seconds')), number(r.get(unit))) for r in _lines(run)]
    ends = [end for end in ends if all(map(math.isfinite, end))]
    if not ends:
        return ''
    seconds, reached = max(ends)
    return f', {short(reached)} in {duration(seconds)}'


def _chart(name: str, found: dict[str, Curve], large: bool, unit: str, axis: str) -> dict:
    title = METERS.get(name, name.replace('_', ' '))
    legend = []
    for split, line in found.items():
        last = line.y[-1]
        text = f'last {short(last)}' if name in METERS else f'{split} {score(last)}'
        row = best(line)
        if split == 'valid' and row is not None and row < len(line.y) - 1:
            text += f', best {score(line.y[row])} at {unit} {short(line.x[row])}'
        legend.append({'split': split, 'text': text})
    size = (560, 300 if name in ('loss', 'accuracy') else 235) if large else (400, 235)
    shown = [Curve(split, line.x, line.y) for split, line in found.items()]
    label = f'{title} by {unit}: ' + '; '.join(entry['text'] for entry in legend)
    spread = LOG_SPREAD.get(name, 30 if LOWER_IS_BETTER.search(name) else math.inf)
    svg = charts.lines(shown, label, axis, size, spread)
    return {'title': title, 'legend': legend, 'svg': svg, 'large': large}


def table(run: Run) -> dict:
    """Scores of all splits: columns, and one row a metric, '' where a split was not scored."""
    unit, final, rows = time_unit(run), run.final or {}, []
    columns = {'train': 'train, last', 'valid': 'valid, last', 'best': 'valid, best'}
    columns['final'] = str(final.get('split', ''))
    for name in metric_names(run):
        train, valid = (curve(run, split, name, unit) for split in ('train', 'valid'))
        row = best(valid)
        cells = {
            'train': score(train.y[-1]) if train.y else '',
            'valid': score(valid.y[-1]) if valid.y else '',
            'best': score(valid.y[row]) if row is not None else '',
            'final': score(number(final[name])) if name in final else '',
        }
        at = f'{unit} {short(valid.x[row])}' if row is not None else ''
        rows.append({'name': name, 'cells': cells, 'at': at})
    used = [key for key in columns if any(row['cells'][key] for row in rows)]
    step = number(final.get('best_step'))
    note = f'The {columns["final"]} scores are of the parameters after step {short(step)}.'
    return {
        'columns': {key: columns[key] for key in used},
        'rows': rows,
        'note': note if math.isfinite(step) else '',
    }


def headline(run: Run, interval: str) -> list[dict]:
    """The few numbers on top, as {label, value, detail, main}; `interval` details the accuracy."""
    final, names, unit = run.final or {}, metric_names(run), time_unit(run)
    tiles = []
    for name in leading(name for name in names if name in final)[:3]:
        detail = interval if name == 'accuracy' else ''
        tiles.append(_tile(f'{final["split"]} {name}', score(number(final[name])), detail))
    lead = 'accuracy' if 'accuracy' in names else (names or ['loss'])[0]
    valid = curve(run, 'valid', lead, unit)
    row = best(valid)
    if row is not None and final.get('split') != 'valid':
        detail = f'best, at {unit} {short(valid.x[row])}'
        tiles.append(_tile(f'valid {lead}', score(valid.y[row]), detail))
    train = curve(run, 'train', lead, unit)
    if not tiles and train.y:
        tiles.append(_tile(f'train {lead}', score(train.y[-1]), 'so far'))
    seconds = [number(record.get('seconds')) for record in _lines(run)]
    seconds = [value for value in seconds if math.isfinite(value)]
    if seconds:
        pace = sorted(y for y in curve(run, 'train', 'step_milliseconds', 'step').y if y > 0)
        detail = f'{short(pace[len(pace) // 2], 3)} ms a step' if pace else ''
        tiles.append(_tile('time', duration(max(seconds)), detail))
    for home in (final, run.environment, run.config):
        count = number(str(home.get('parameters', '')).replace(',', ''))
        if math.isfinite(count):
            tiles.append(_tile('parameters', short(count), ''))
            break
    for index, tile in enumerate(tiles):
        tile['main'] = index == 0
    return tiles


def _tile(label: str, value: str, detail: str) -> dict:
    return {'label': label.replace('_', ' '), 'value': value, 'detail': detail}


def progress(run: Run) -> str:
    """'25 epochs · 1,400 steps', as far as the run came."""
    words = []
    for name in ('epoch', 'step'):
        values = [
            v for v in (number(record.get(name)) for record in _lines(run)) if math.isfinite(v)
        ]
        if values:
            words.append(f'{short(max(values))} {name}' + ('' if max(values) == 1 else 's'))
    return ' · '.join(words)


def findings(run: Run) -> list[str]:
    """What the curves show, in sentences: values not finite, overfitting, the train-valid gap."""
    unit = time_unit(run)
    losses = {split: curve(run, split, 'loss', unit) for split in ('train', 'valid')}
    ends = [curve(run, split, 'accuracy', unit).y[-1:] for split in ('train', 'valid')]
    said = [_not_finite(split, loss, unit) for split, loss in losses.items()]
    said += [_overfitting(losses['valid'], unit), _gap(*ends)]
    return [sentence for sentence in said if sentence]


def _not_finite(split: str, loss: Curve, unit: str) -> str:
    bad = [x for x, y in zip(loss.x, loss.y, strict=True) if not math.isfinite(y)]
    return f'The {split} loss is not finite at {unit} {short(bad[0])}.' if bad else ''


def _overfitting(loss: Curve, unit: str) -> str:
    row = best(loss)
    if row is None or len(loss.y) < 4 or not math.isfinite(loss.y[-1]):
        return ''
    least, last = loss.y[row], loss.y[-1]
    if row == len(loss.y) - 1:
        return 'The validation loss was still at its lowest at the end of training.'
    if least <= 0 or last <= 1.05 * least:
        return ''
    rise = last / least
    said = f'{rise - 1:.0%} higher' if rise < 3 else f'{rise:.1f} times that'
    return (
        f'The validation loss was lowest ({score(least)}) at {unit} {short(loss.x[row])} and is '
        f'{said} at the end: the network overfits from there on.'
    )


def _gap(train: list[float], valid: list[float]) -> str:
    if not train or not valid or not abs(train[0] - valid[0]) >= 0.0005:
        return ''
    points, side = abs(train[0] - valid[0]) * 100, 'above' if train > valid else 'below'
    return f'Train accuracy ends {points:.1f} points {side} validation accuracy.'

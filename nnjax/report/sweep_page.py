"""report.html of a sweep folder: the ranking, what the fields do, every lane's curve."""

import math
from pathlib import Path
from typing import Any

from nnjax.readable import duration
from nnjax.report import axis, intervals, landscape, lanes, page, parallel, scores, sweep_folder
from nnjax.report.importance import Importance, importance, ranked
from nnjax.report.shade import Scale
from nnjax.report.svg import score
from nnjax.report.sweep_folder import Sweep
from nnjax.sweep.estimate import Estimate
from nnjax.sweep.table import Row, interval, words

TEMPLATE = 'sweep.html.jinja'
SHOWN = 20  # rows of the table; the others unfold
MOST_DOTS = 12  # fields that have a chart of their own


def write(path: Path) -> Path:
    """sweep folder -> its report.html, replaced in one move. Raises UserError for no sweep folder."""
    return page.save(path / 'report.html', TEMPLATE, contents(sweep_folder.read(path)))


def contents(sweep: Sweep) -> dict[str, Any]:
    """Everything that the template shows."""
    found = importances(sweep)
    known = sweep.scored()
    scale = Scale.of([row.valid.mean for row in known], sweep.higher) if known else None
    pair = landscape.two_fields(sweep, list(found)) if scale else None
    several = len(found) > 1
    curves = [chart for chart in (_valid(sweep), _train(sweep)) if chart['svg']]
    links = [
        ('ranking', 'Ranking'),
        ('fields', 'Fields'),
        ('curves', 'Curves'),
        ('config', 'Config'),
    ]
    hidden = {'fields': not (found and scale), 'curves': not curves, 'config': not sweep.config}
    return {
        'kind': 'sweep',
        'title': sweep.experiment,
        'name': sweep.name,
        'links': [link for link in links if not hidden.get(link[0])],
        'about': [f'sweep of {", ".join(sweep.names.values())}', counted(sweep)],
        'notes': [*sweep.notes, *unfinished(sweep)],
        'headline': headline(sweep),
        'findings': findings(sweep, found),
        'metric': sweep.metric.replace('_', ' '),
        'direction': 'highest' if sweep.higher else 'lowest',
        'several': any(len(row.lanes) > 1 for row in sweep.rows),
        'tested': any(row.test.values for row in sweep.rows),
        'fields': [{'path': path, 'name': name} for path, name in sweep.names.items()],
        'table': table(sweep),
        'shown': SHOWN,
        'importance': [
            {'name': sweep.names[path], **_bar(i)} for path, i in found.items() if several
        ],
        'coordinates': parallel.coordinates(sweep, list(found), scale) if scale and several else '',
        'legend': scale.legend(sweep.higher) if scale else '',
        'heat': landscape.heat_map(sweep, *pair, scale) if pair else '',
        'heat_title': ' by '.join(sweep.names[path] for path in pair) if pair else '',
        'dots': [
            {'name': sweep.names[path], 'svg': landscape.dots(sweep, path, scale)}
            for path in list(found)[: MOST_DOTS if scale else 0]
        ],
        'curves': curves,
        'states': sorted({lane.state for row in sweep.rows for lane in row.lanes}, reverse=True),
        'sections': page.sections(sweep.config),
        'environment': {n: page.words(value) for n, value in sweep.environment.items()},
        'reproduce': page.reproduce(sweep.environment),
    }


def counted(sweep: Sweep) -> str:
    """'24 configurations · 3 seeds each'."""
    counts = {len(row.lanes) for row in sweep.rows}
    seeds = f'{max(counts)} seed{"s" if max(counts) > 1 else ""} each' if len(counts) == 1 else ''
    count = len(sweep.rows)
    said = f'{count:,} configuration' + ('s' if count > 1 else '')
    return f'{said}, {seeds or f"{len(sweep.seeds):,} lanes"}'


def unfinished(sweep: Sweep) -> list[str]:
    left = sum(lane.state == 'running' for row in sweep.rows for lane in row.lanes)
    of = f'{left:,} of {len(sweep.seeds):,} lanes'
    return [f'Not finished: {of} go on, or were stopped.'] if left else []


def importances(sweep: Sweep) -> dict[str, Importance]:
    """{field: its Importance}, the most important first; diverged configurations rank last, alike."""
    rows = [row for row in sweep.rows if row.state == 'diverged' or math.isfinite(row.valid.mean)]
    if not rows:
        return {}
    places = [len(rows) if row.state == 'diverged' else i for i, row in enumerate(rows)]
    ranks = ranked(places)
    found = {
        path: importance([sweep.value(row, path) for row in rows], ranks) for path in sweep.fields
    }
    strength = lambda item: -item[1].share if math.isfinite(item[1].share) else 1.0
    return dict(sorted(found.items(), key=strength))


def _bar(found: Importance) -> dict:
    known = math.isfinite(found.share)
    ends = axis.ordered(found.best)
    best = words(ends[0]) + (f' to {words(ends[-1])}' if len(ends) > 1 else '')
    return {
        'share': found.share if known else 0.0,
        'text': f'{found.share:.0%}' if known else '–',
        'best': '–' if found.share < 0.05 else best,
    }


def headline(sweep: Sweep) -> list[dict]:
    """The winner's score and what the sweep cost, as {label, value, detail, main}."""
    first = sweep.rows[0]
    tile = lambda label, value, detail='', main=False: dict(
        label=label.replace('_', ' '), value=value, detail=detail, main=main
    )
    tiles = []
    if first.state != 'diverged' and math.isfinite(first.valid.mean):
        settings = ' · '.join(
            f'{name} {words(sweep.value(first, path))}' for path, name in sweep.names.items()
        )
        label = f'best valid {sweep.metric}' + ('' if first.state == 'finished' else ' so far')
        tiles.append(tile(label, _mean(first.valid), settings, True))
    if first.test.values:
        tiles.append(tile(f'its test {sweep.metric}', _mean(first.test), _ends(first.test)))
    states = [row.state for row in sweep.rows]
    dropped, diverged = states.count('dropped'), states.count('diverged')
    stopped = [f'{n} {word}' for n, word in ((dropped, 'dropped'), (diverged, 'diverged')) if n]
    tiles.append(tile('configurations', f'{len(states):,}', ', '.join(stopped)))
    tiles.append(tile('longest lane', duration(max(row.seconds for row in sweep.rows))))
    return tiles


def _mean(estimate: Estimate) -> str:
    return score(estimate.mean)


def _ends(estimate: Estimate) -> str:
    if not math.isfinite(estimate.half):
        return 'one seed'
    ends = f'95% interval {score(estimate.low)} to {score(estimate.high)}'
    return f'{ends}, {len(estimate.values)} seeds'


def findings(sweep: Sweep, found: dict[str, Importance]) -> list[str]:
    """What the ranking shows, in sentences: the nearest rival, the edges of the ranges, divergence."""
    said = [_rival(sweep)]
    for path in sweep.fields:
        if path in found and not found[path].share < 0.1:  # NaN: too few to say
            said.append(_edge(sweep, path))
    said.append(_threshold(sweep))
    return [sentence for sentence in said if sentence]


def _rival(sweep: Sweep) -> str:
    finished = [row for row in sweep.scored() if row.state == 'finished']
    if len(finished) < 2:
        return ''
    first, *others = finished
    gap = score(abs(first.valid.mean - others[0].valid.mean))
    said = f'The best is {gap} ahead of the second on validation'
    near = [row for row in others if _overlap(first, row)]
    if near:
        count = f'{len(near)} more configuration' + ('s' if len(near) > 1 else '')
        return f'{said}; the intervals of {count} overlap with its own.'
    return f'{said}.'


def _overlap(a: Row, b: Row) -> bool:
    return a.valid.low <= b.valid.high and b.valid.low <= a.valid.high


def _edge(sweep: Sweep, path: str) -> str:
    """Whether the winner's value is the largest or smallest of those tried."""
    if not sweep.numeric(path) or sweep.rows[0].state == 'diverged':
        return ''
    tried = sorted({sweep.value(row, path) for row in sweep.rows})
    value = sweep.value(sweep.rows[0], path)
    if len(tried) < 3 or tried[0] < value < tried[-1] or value == 0:
        return ''
    end = 'largest' if value == tried[-1] else 'smallest'
    return f'The best {sweep.names[path]}, {words(value)}, is the {end} tried: try beyond it.'


def _threshold(sweep: Sweep) -> str:
    """A numeric field above or below which all diverged configurations lie, and no other."""
    lost = [row for row in sweep.rows if row.state == 'diverged']
    kept = [row for row in sweep.rows if row.state != 'diverged']
    if not lost:
        return ''
    said = f'{len(lost)} of {len(sweep.rows)} configurations diverged'
    for path in sweep.fields if kept else ():
        if sweep.numeric(path):
            bad, good = ([sweep.value(row, path) for row in rows] for rows in (lost, kept))
            name = sweep.names[path]
            if min(bad) > max(good):
                return f'{said}: all those with {name} {words(min(bad))} or more.'
            if max(bad) < min(good):
                return f'{said}: all those with {name} {words(max(bad))} or less.'
    return f'{said}.'


def table(sweep: Sweep) -> list[dict]:
    """A row a configuration: place, values, scores as text and as pictures, status."""
    known = [row.valid for row in sweep.rows if math.isfinite(row.valid.mean)]
    scale = intervals.common(known) if known else None
    rows = []
    for place, row in enumerate(sweep.rows, 1):
        has = math.isfinite(row.valid.mean)
        kind = 'first' if place == 1 and row.state != 'diverged' else row.state
        rows.append(
            {
                'place': '' if row.state == 'diverged' else place,
                'kind': kind,
                'values': [words(sweep.value(row, path)) for path in sweep.fields],
                'picture': intervals.cell(row.valid, scale, kind) if has else '',
                'valid': interval(row.valid),
                'test': interval(row.test),
                'seeds': len(row.lanes),
                'time': duration(row.seconds) if row.seconds else '',
                'status': row.status,
            }
        )
    return rows


def _unit(sweep: Sweep) -> str:
    epochs = [r.get('epoch') for records in sweep.records for r in records]
    return 'epoch' if epochs and all(e is not None for e in epochs) else 'step'


def _valid(sweep: Sweep) -> dict:
    spread = 30 if scores.LOWER_IS_BETTER.search(sweep.metric) else math.inf
    svg = lanes.curves(sweep, 'valid', sweep.metric, _unit(sweep), spread)
    return {'title': f'valid {sweep.metric}'.replace('_', ' '), 'svg': svg}


def _train(sweep: Sweep) -> dict:
    return {'title': 'train loss', 'svg': lanes.curves(sweep, 'train', 'loss', _unit(sweep), 30)}

"""A page of a comparison: every side with its seeds, every pair with its difference."""

import math
from pathlib import Path
from typing import Any

from nnjax.analysis import conclusions
from nnjax.analysis.compare import Comparison, Pair
from nnjax.report import intervals, page
from nnjax.report.intervals import Span
from nnjax.report.svg import score
from nnjax.sweep.table import interval, words

TEMPLATE = 'comparison.html.jinja'


def write(comparison: Comparison, path: Path) -> Path:
    """Comparison -> `path`, replaced in one move."""
    return page.save(path, TEMPLATE, contents(comparison))


def contents(comparison: Comparison) -> dict[str, Any]:
    """Everything that the template shows."""
    metric = comparison.metric.replace('_', ' ')
    found = [side.estimate(comparison.metric) for side in comparison.sides]
    spans = [Span(e.mean, e.low, e.high, e.values if len(e.values) > 1 else ()) for e in found]
    *dots, axis = intervals.rows(spans, f'test {metric}')
    sides = [
        {
            'name': side.name,
            'svg': svg,
            'score': interval(estimate),
            'seeds': len(side.scores),
            'tried': side.tried,
        }
        for side, svg, estimate in zip(comparison.sides, dots, found)
    ]
    tests = [pair.test for pair in comparison.pairs]
    spans = [Span(t.difference, t.low, t.high, t.pairs) for t in tests]
    *dots, differences = intervals.rows(spans, f'difference in test {metric}', zero=True)
    paired = any(test.pairs for test in tests)
    return {
        'kind': 'comparison',
        'title': f'Test {metric} compared',
        'links': [('conclusions', 'Conclusions'), ('sides', 'Means'), ('pairs', 'Differences')],
        'notes': [],
        'headline': [],
        'about': ' · '.join(side.name for side in comparison.sides),
        'metric': metric,
        'conclusions': [_conclusion(pair, comparison) for pair in comparison.pairs],
        'sides': sides,
        'axis': axis,
        'several': any(len(side.scores) > 1 for side in comparison.sides),
        'tried': any(side.tried > 1 for side in comparison.sides),
        'pairs': [_pair(pair, svg) for pair, svg in zip(comparison.pairs, dots)],
        'differences': differences,
        'paired': paired,
        'corrected': len(tests) > 1 or any(pair.tried > 1 for pair in comparison.pairs),
    }


def _conclusion(pair: Pair, comparison: Comparison) -> dict:
    changes = [
        {'path': path, 'a': words(a), 'b': words(b)} for path, (a, b) in pair.changes.items()
    ]
    return {
        'holds': pair.holds,
        'difference': conclusions.difference(pair, comparison.metric),
        'verdict': conclusions.verdict(pair, comparison),
        'a': pair.a.name,
        'b': pair.b.name,
        'changes': changes,
    }


def _pair(pair: Pair, svg: str) -> dict:
    test = pair.test
    known = math.isfinite(test.low)
    return {
        'a': pair.a.name,
        'b': pair.b.name,
        'svg': svg,
        'holds': pair.holds,
        'difference': signed(test.difference),
        'interval': f'{signed(test.low)} to {signed(test.high)}' if known else '–',
        'effect': f'{test.symbol} {signed(test.effect, 3)}' if math.isfinite(test.effect) else '–',
        'p': _p(test.p),
        'corrected': _p(pair.corrected),
        'test': f'{test.name}, {conclusions.drawn(test)}',
    }


def _p(p: float) -> str:
    return conclusions.p_words(p).removeprefix('p ').removeprefix('= ')


def signed(value: float, digits: int = 0) -> str:
    """+0.0123, −0.0045: a difference as a column of them lines up."""
    text = f'{abs(value):.{digits}g}' if digits else score(abs(value))
    return f'{"−" if value < 0 else "+"}{text}' if value else '0'

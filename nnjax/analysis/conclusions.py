"""A comparison in plain words: a table of the sides, and a sentence or three for each pair."""

import math

from nnjax.analysis.compare import LEVEL, Comparison, Pair
from nnjax.analysis.statistics import Test
from nnjax.sweep import table
from nnjax.sweep.table import words

FEW = 3  # seeds; with fewer the t quantile is so large that only huge differences show


def render(comparison: Comparison, width: int = 100) -> str:
    """The whole comparison as plain text; the table is at most `width` columns wide."""
    from rich.console import Console
    from rich.table import Table

    columns = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns.add_column('', overflow='fold')
    for header in (f'test {comparison.metric}', 'seeds', 'configurations tried'):
        columns.add_column(header, justify='right', no_wrap=True)
    for side in comparison.sides:
        score = table.interval(side.estimate(comparison.metric))
        columns.add_row(side.name, score, str(len(side.scores)), str(side.tried))
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(columns)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    for pair in comparison.pairs:
        lines += ['', conclusion(pair, comparison), f'They differ in {changed(pair)}.']
    return '\n'.join(lines)


def conclusion(pair: Pair, comparison: Comparison) -> str:
    """What differs, by how much, and whether the evidence holds."""
    return ' '.join([difference(pair, comparison.metric), verdict(pair, comparison)])


def difference(pair: Pair, metric: str) -> str:
    """'A has the better test accuracy: 0.93 against 0.92 of B, 0.01 more (95% interval ...).'

    'Better' where the metric is the one that chooses both sides' best parameters, else 'higher'.
    """
    test = pair.test
    if test.difference == 0:
        return f'{pair.a.name} and {pair.b.name} have the same mean test {metric}.'
    known = pair.a.best == pair.b.best and pair.a.best[1] == metric
    lower = known and pair.a.best[0] == 'min'
    first, second = (pair.a, pair.b) if (test.difference > 0) != lower else (pair.b, pair.a)
    means = [side.estimate(metric).mean for side in (first, second)]
    low, high = sorted(math.copysign(1, test.difference) * end for end in (test.low, test.high))
    interval = f' (95% interval {_signed(low)} to {_signed(high)})' if math.isfinite(low) else ''
    return (
        f'{first.name} has the {"better" if known else "higher"} test {metric}: {means[0]:.4f} '
        f'against {means[1]:.4f} of {second.name}, {abs(test.difference):.4f} '
        f'{"less" if lower else "more"}{interval}.'
    )


def _signed(value: float) -> str:
    return f'{value:.4f}'.replace('-', '−')


def verdict(pair: Pair, comparison: Comparison) -> str:
    """Whether that is evidence, over what noise, and what is lacking."""
    test = pair.test
    noise = f'{test.name[0].upper()}{test.name[1:]}, {drawn(test)}: {p_words(test.p)}'
    noise += f', {test.symbol} = {abs(test.effect):.2g}.' if math.isfinite(test.effect) else '.'
    corrections = _corrections(pair, comparison)
    corrected = f'{corrections} ({p_words(pair.corrected)})'
    if pair.holds:
        held = 'The difference holds' + (f' after correction {corrected}.' if corrections else '.')
    elif test.p < LEVEL:
        held = f'It does not hold after correction {corrected}: that is no evidence.'
    else:
        held = 'That is no evidence of a difference.'
    said = [noise, held]
    if test.alone:
        alone = zip((pair.a, pair.b), test.alone)
        said.append('Right alone: ' + ', '.join(f'{s.name} {n:,}' for s, n in alone) + '.')
    if test.over == 'test examples':
        said.append(
            'Only the noise of the test examples is judged, not that of seeds: train several.'
        )
    elif (count := min(test.counts)) < FEW and not pair.holds:
        count = ('', 'One seed is', 'Two seeds are')[count]
        said.append(f'{count} too few to tell small differences: run five or more.')
    return ' '.join(said)


def drawn(test: Test) -> str:
    """'5 seeds', '1 and 5 seeds', '360 test examples'."""
    counts = (f'{count:,}' for count in dict.fromkeys(test.counts))
    return f'{" and ".join(counts)} {test.over}'


def _corrections(pair: Pair, comparison: Comparison) -> str:
    parts = []
    if pair.tried > 1:
        parts.append(f'{pair.tried:,} configurations tried')
    if len(comparison.pairs) > 1:
        parts.append(f'{len(comparison.pairs)} comparisons')
    return f'for {" and ".join(parts)}' if parts else ''


def p_words(p: float) -> str:
    """'p = 0.031', 'p < 0.0001'."""
    return 'p < 0.0001' if p < 1e-4 else f'p = {p:.2g}'


def changed(pair: Pair, most: int = 6) -> str:
    """'optim.lr (0.1, 0.3)': the config fields that differ, a's value first."""
    texts = [f'{path} ({words(a)}, {words(b)})' for path, (a, b) in pair.changes.items()]
    more = f' and {len(texts) - most} more fields' if len(texts) > most else ''
    return (', '.join(texts[:most]) or 'no field but the seed') + more

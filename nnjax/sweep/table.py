"""A sweep's records as ranked rows, one a configuration, and as text."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from nnjax import config as configs
from nnjax.sweep.estimate import Estimate
from nnjax.sweep.points import Point, configuration

Record = dict[str, Any]
STATES = ('finished', 'running', 'dropped', 'diverged')  # a row is in its seeds' last of these


@dataclasses.dataclass(frozen=True)
class Lane:
    """What the records say of one point.

    Attributes:
      index: of the point.
      state: 'finished', 'running' (or not begun), 'dropped' or 'diverged'.
      step: of its last record; 0 before the first.
      seconds: of its last record.
      valid: the best validation value of the metric that ranks; NaN without one.
      test: the test metric of the same name; NaN before the end.
      changed: {config path: value} that population-based training gave it last.
    """

    index: int
    state: str
    step: int
    seconds: float
    valid: float
    test: float
    changed: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """One configuration: a point without its seed, or a lane whose numbers changed on its way.

    Attributes:
      changes: {config path: value}, as it was last trained.
      lanes: one a seed, in the order of the points.
      state: the last of STATES that a seed is in.
      valid: the validation metric over the seeds that did not diverge.
      test: the test metric over the finished seeds.
    """

    changes: dict[str, Any]
    lanes: tuple[Lane, ...]
    state: str
    valid: Estimate
    test: Estimate

    @property
    def seconds(self) -> float:
        """Of its longest seed."""
        return max(lane.seconds for lane in self.lanes)

    @property
    def diverged(self) -> int:
        """How many seeds diverged."""
        return sum(lane.state == 'diverged' for lane in self.lanes)

    @property
    def status(self) -> str:
        """'finished', 'dropped at step 40', '1 of 3 diverged at step 20', 'running, step 10'."""
        if self.state == 'finished':
            return self.state
        those = [lane for lane in self.lanes if lane.state == self.state]
        step = max(lane.step for lane in those)
        if self.state == 'running':
            return f'running, step {step}' if step else 'not begun'
        part = f'{len(those)} of {len(self.lanes)} ' if len(those) < len(self.lanes) else ''
        return f'{part}{self.state} at step {step}'


def rank(points: Sequence[Point], records: Iterable[Record], best: tuple[str, str]) -> list[Row]:
    """Points, records, ('max', 'accuracy') -> rows, the best first.

    Finished configurations come first, by the mean over seeds of their best validation value; then
    those that still run; those dropped, the longest lived first, for a value of few steps is no
    match for one of many; last those of which a seed diverged, for the mean of the others flatters.
    """
    groups: dict[str, list[Lane]] = {}
    for lane in lanes(points, records, best):
        name = str(lane.index) if lane.changed else configuration(points[lane.index])
        groups.setdefault(name, []).append(lane)
    rows = [_row(points, group) for group in groups.values()]
    sign = -1 if best[0] == 'max' else 1

    def order(row: Row) -> tuple:
        stopped = row.state in ('dropped', 'diverged')
        step = max(lane.step for lane in row.lanes if lane.state == row.state) if stopped else 0
        known = math.isfinite(row.valid.mean)
        return STATES.index(row.state), -step, not known, sign * row.valid.mean if known else 0.0

    return sorted(rows, key=order)


def lanes(points: Sequence[Point], records: Iterable[Record], best: tuple[str, str]) -> list[Lane]:
    """What the records say of each point, in the points' order."""
    found: list[list[Record]] = [[] for _ in points]
    for record in records:
        index = record.get('point')
        if isinstance(index, int) and 0 <= index < len(points):
            found[index].append(record)
    return [_lane(index, mine, best) for index, mine in enumerate(found)]


def _lane(index: int, records: list[Record], best: tuple[str, str]) -> Lane:
    direction, metric = best
    last = records[-1] if records else {}
    state = next((s for s in STATES if last.get(s)), 'running')
    values = [_number(r.get(metric)) for r in records if r.get('split') == 'valid']
    if 'best_value' in last:
        values = [_number(last['best_value'])]
    values = [value for value in values if math.isfinite(value)]
    pick = max if direction == 'max' else min
    test = _number(last.get(metric)) if last.get('split') == 'test' else math.nan
    valid = pick(values) if values else math.nan
    step, seconds = last.get('step', 0), _number(last.get('seconds', 0.0))
    return Lane(index, state, step, seconds, valid, test, changed(records))


def changed(records: Sequence[Record]) -> Point:
    """A point's records -> the numbers that population-based training gave it last."""
    last = next((r['changed'] for r in reversed(records) if r.get('changed')), {})
    return {path: configs.tuples(value) for path, value in last.items()}


def _row(points: Sequence[Point], group: list[Lane]) -> Row:
    changes = {**points[group[0].index], **group[0].changed}
    changes.pop('seed', None)
    state = max((lane.state for lane in group), key=STATES.index)
    valid = (lane.valid for lane in group if lane.state != 'diverged')
    return Row(
        changes,
        tuple(group),
        state,
        Estimate.of(filter(math.isfinite, valid)),
        Estimate.of(lane.test for lane in group if math.isfinite(lane.test)),
    )


def _number(value: Any) -> float:
    """A record's value, NaN for null and what is no number."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def fields(rows: Sequence[Row]) -> list[str]:
    """The config paths in which the rows differ, in the order of their first naming."""
    paths = dict.fromkeys(path for row in rows for path in row.changes)
    missing = object()
    return [p for p in paths if len({repr(row.changes.get(p, missing)) for row in rows}) > 1]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """{path: its last part where only one path ends so, else the whole path}."""
    paths = list(paths)
    ends = Counter(path.rpartition('.')[2] for path in paths)
    return {p: end if ends[end := p.rpartition('.')[2]] == 1 else p for p in paths}


def render(rows: Sequence[Row], best: tuple[str, str], most: int = 20, width: int = 100) -> str:
    """The first `most` rows as plain text of at most `width` columns."""
    from rich.console import Console
    from rich.table import Table

    metric, names = best[1], short_names(fields(rows))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column('', justify='right')
    for name in names.values():
        table.add_column(name, justify='right', overflow='fold')
    for header in (f'valid {metric}', f'test {metric}', 'seeds', 'seconds'):
        table.add_column(header, justify='right', no_wrap=True)
    table.add_column('status', overflow='fold')
    for place, row in enumerate(rows[:most], 1):
        values = (words(row.changes[path]) if path in row.changes else '' for path in names)
        scores = (interval(row.valid), interval(row.test), str(len(row.lanes)))
        table.add_row(str(place), *values, *scores, f'{row.seconds:.1f}', row.status)
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    if len(rows) > most:
        lines.append(f'and {len(rows) - most} more')
    if any(len(row.lanes) > 1 for row in rows):
        lines.append('Mean over seeds ± half of its 95 % t interval; ranked by validation alone.')
    return '\n'.join(lines)


def interval(estimate: Estimate) -> str:
    """'0.9312 ± 0.0021', '0.9312' of one value, '' of none."""
    if not math.isfinite(estimate.mean):
        return ''
    half = f' ± {estimate.half:.4f}' if math.isfinite(estimate.half) else ''
    return f'{estimate.mean:.4f}{half}'


def words(value: Any) -> str:
    """A field's value as a person types it."""
    return f'{value:.4g}' if isinstance(value, float) else str(value)

"""A sweep's records, in memory, on disk and on the terminal."""

from collections.abc import Callable, Iterable

from nnjax.sweep import plan, table
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.lanes import Lanes
from nnjax.sweep.points import Point


class Log:
    """The records of a sweep folder, or of no folder; `points` may grow."""

    def __init__(
        self,
        folder: SweepFolder | None,
        best: tuple[str, str],
        points: list[Point],
        say: Callable[[str], None],
    ):
        self.folder, self.best, self.points, self.say = folder, best, points, say
        self.records = folder.records() if folder else []

    def over(self) -> set[int]:
        """The points that have come to an end."""
        ends = ('finished', 'dropped', 'diverged')
        return {r['point'] for r in self.records if any(r.get(end) for end in ends)}

    def ended(self, points: Iterable[int]) -> bool:
        """Whether each of these points has come to an end."""
        return self.over().issuperset(points)

    def point(self, index: int) -> Point:
        """A point, with the numbers that a population gave it last."""
        mine = [r for r in self.records if r['point'] == index]
        return {**self.points[index], **table.changed(mine)}

    def forget(self, lanes: Lanes) -> None:
        """Leaves out what lanes still on their way have recorded after their step."""
        on = {lanes.indices[lane] for lane in lanes.lanes}
        ends = lambda r: r.get('finished') or r.get('dropped')
        after = lambda r: r['point'] in on and (r['step'] > lanes.step or ends(r))
        if any(map(after, self.records)):
            self.records = [r for r in self.records if not after(r)]
            if self.folder:
                self.folder.rewrite(self.records)

    def write(self, records: list[dict]) -> None:
        self.records += records
        if self.folder:
            self.folder.append(*records)
        if records[-1]['split'] != 'train':
            self._show(records)
        for record in records:
            if record.get('diverged'):
                self.say(
                    f'diverged at step {record["step"]}: {plan.show(self.point(record["point"]))}'
                )

    def _show(self, records: list[dict]) -> None:
        direction, metric = self.best
        known = [  # those that leave or become copies were shown as validated
            r
            for r in records
            if r.get(metric) is not None and not {'dropped', 'copied_from'} & {*r}
        ]
        if not known:
            return
        top = (max if direction == 'max' else min)(known, key=lambda r: r[metric])
        self.say(
            f'step {top["step"]:>7}  {top["seconds"]:7.1f} s  {len(records)} lanes, best '
            f'{top["split"]} {metric} {top[metric]:.4g}: {plan.show(self.point(top["point"]))}'
        )

"""A sweep folder's files as one value for its page."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from nnjax.report import folder
from nnjax.report.axis import number
from nnjax.report.charts import Curve
from nnjax.report.folder import Record
from nnjax.sweep import table
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.table import Row


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What the folder holds.

    Attributes:
      name: the folder's name.
      experiment: the experiment's name.
      best: ('max', 'accuracy'): what ranks.
      rows: the configurations, the best first.
      seeds: of each point.
      fields: the config paths in which configurations differ.
      names: {path: the shortest name that tells it from the others}.
      config: the nested base config.
      records: each point's records.
      environment: versions, device, command.
      notes: one sentence for each file that could not be read.
    """

    name: str
    experiment: str
    best: tuple[str, str]
    rows: list[Row]
    seeds: list[Any]
    fields: list[str]
    names: dict[str, str]
    config: dict[str, Any]
    records: list[list[Record]]
    environment: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        return self.best[1]

    @property
    def higher(self) -> bool:
        """Whether a higher metric is better."""
        return self.best[0] == 'max'

    def value(self, row: Row, path: str) -> Any:
        """A row's value of a field, the base config's where its point is silent."""
        if path in row.changes:
            return row.changes[path]
        here: Any = self.config
        for part in path.split('.'):
            here = here.get(part) if isinstance(here, dict) else None
        return tuple(here) if isinstance(here, list) else here

    def numeric(self, path: str) -> bool:
        """Whether the field is a number in every row."""
        return all(number(self.value(row, path)) for row in self.rows)

    def scored(self) -> list[Row]:
        """The rows with a validation value of no diverged seed, the best first."""
        return [r for r in self.rows if r.state != 'diverged' and math.isfinite(r.valid.mean)]

    def copies(self, point: int, unit: str) -> list[float]:
        """Where, in 'step' or 'epoch', a population gave a lane what another had learnt."""
        return [
            folder.number(record.get(unit))
            for record in self.records[point]
            if record.get('copied_from') is not None
        ]

    def curve(self, point: int, split: str, metric: str, unit: str) -> Curve:
        """A lane's metric over 'step' or 'epoch', its final line left out."""
        points = {
            folder.number(record.get(unit)): folder.number(record[metric])
            for record in self.records[point]
            if record.get('split') == split and metric in record and not record.get('finished')
        }
        x = sorted(value for value in points if math.isfinite(value))
        return Curve('lane', x, [points[value] for value in x])


def read(path: Path) -> Sweep:
    """sweep folder -> Sweep. Raises UserError for no sweep folder, or a damaged sweep.json."""
    made = SweepFolder(path)
    saved, points = made.saved('experiment', 'config'), made.points()
    best, records = made.ranking(), made.records()
    rows = table.rank(points, records, best)
    fields = table.fields(rows)
    mine: list[list[Record]] = [[] for _ in points]
    for record in records:
        if isinstance(index := record.get('point'), int) and 0 <= index < len(points):
            mine[index].append(record)
    notes: list[str] = []
    return Sweep(
        name=path.resolve().name,
        experiment=str(saved['experiment']),
        best=best,
        rows=rows,
        seeds=[point['seed'] for point in points],
        fields=fields,
        names=table.short_names(fields),
        config=saved['config'],
        records=mine,
        environment=folder.json_object(path / folder.ENVIRONMENT, notes),
        notes=tuple(notes),
    )

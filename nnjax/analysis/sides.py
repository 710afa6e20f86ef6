"""What `nnjax compare` sets against each other, read from run and sweep folders."""

import dataclasses
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nnjax import config as configs
from nnjax import schema, texts
from nnjax.errors import UserError, unknown
from nnjax.ops import metrics
from nnjax.sweep import table
from nnjax.sweep.estimate import Estimate
from nnjax.sweep.folder import SweepFolder
from nnjax.training.folder import RunFolder

Record = dict[str, Any]
CLOCK = ('point', 'step', 'epoch', 'seconds', 'best_step', 'best_value', 'parameters', 'finished')


@dataclasses.dataclass(frozen=True)
class Side:
    """One configuration and its seeds.

    Attributes:
      name: the folder as it was typed, '+2' behind it where two more follow.
      scores: {seed: the final test record}.
      best: its config's ('max', 'accuracy').
      tried: how many configurations it was chosen from.
      fields: {config path: value}, without the seed.
      data: the fingerprint of the training data.
      run: a run folder with the predictions of a seed.
    """

    name: str
    scores: dict[Any, Record]
    best: tuple[str, str]
    tried: int
    fields: dict[str, Any]
    data: str
    run: Path

    def value(self, seed: Any, metric: str) -> float:
        """A seed's test metric.

        Raises:
          UserError: it has none of this name, or no finite one.
        """
        record = self.scores[seed]
        names = [n for n in record if n not in CLOCK and n != 'split' and '/' not in n]
        if metric not in record or metric in CLOCK:
            raise unknown(f'metric of {self.name}', metric, names)
        value = record[metric]
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f'{self.name}: its test {metric} is not finite')
        return float(value)

    def estimate(self, metric: str) -> Estimate:
        """The metric over the seeds."""
        return Estimate.of(self.value(seed, metric) for seed in self.scores)


def read(text: str) -> Side:
    """'RUN', 'RUN,RUN,...' (seeds of one configuration) or 'SWEEP' (its best one) -> a Side.

    Raises:
      UserError: no such folder, one that is not finished or was not tested, or runs that differ in
        more than their seed.
    """
    paths = [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(',')]
    for path in paths:
        if not path.is_dir():
            raise UserError(f'{path} is no folder; name run folders or sweep folders')
    if len(paths) == 1 and (paths[0] / SweepFolder.FILE).is_file():
        return _sweep(paths[0])
    return _runs(paths)


def _runs(paths: list[Path]) -> Side:
    found: dict[Any, Record] = {}
    first: dict[str, Any] = {}
    for path in paths:
        if (path / SweepFolder.FILE).is_file():
            raise UserError(f'{path} is a sweep folder; only run folders are joined by commas')
        if not (path / RunFolder.FILE).is_file():
            raise UserError(f'{path} is no run folder and no sweep folder')
        folder = RunFolder(path)
        fields = dict(configs.leaves(folder.config()[1]))
        seed = fields.pop('seed', 0)
        first = first or fields
        if other := [name for name in {*first, *fields} if first.get(name) != fields.get(name)]:
            raise UserError(f'{path} differs from {paths[0]} in {min(other)}: join seeds alone')
        if seed in found:
            raise UserError(f'{path} has the seed {seed} of another run it is joined with')
        record = folder.finished()
        if record is None:
            raise UserError(f'{path} is not finished: nnjax train goes on with it')
        found[seed] = _tested(path, record)
    data = {RunFolder(path).data() for path in paths}
    if len(data) > 1:
        raise UserError(f'{paths[0]} and those joined with it were trained on different data')
    name = f'{paths[0]}+{len(paths) - 1}' if len(paths) > 1 else str(paths[0])
    return Side(name, found, schema.best(str(first.get('best'))), 1, first, data.pop(), paths[0])


def _sweep(path: Path) -> Side:
    folder = SweepFolder(path)
    points, records, best = folder.points(), folder.records(), folder.ranking()
    rows = table.rank(points, records, best)
    if any(row.state == 'running' for row in rows):
        raise UserError(f'{path} is not finished: nnjax sweep goes on with it')
    if not rows or rows[0].state != 'finished':
        raise UserError(f'{path} has no configuration that finished with every seed')
    finals = {r.get('point'): r for r in records if r.get('finished')}
    scores = {
        points[lane.index]['seed']: _tested(path, finals[lane.index]) for lane in rows[0].lanes
    }
    fields = dict(configs.leaves(folder.config()[1])) | rows[0].changes
    fields.pop('seed', None)
    return Side(str(path), scores, best, len(rows), fields, folder.data(), folder.best)


def _tested(path: Path, record: Record) -> Record:
    if record.get('split') != 'test':
        raise UserError(f'{path} has no test split; on validation its parameters were chosen')
    return record


def examples(side: Side, metric: str) -> dict[str, np.ndarray]:
    """A side of one seed -> {'index', 'label', 'value'} of its test examples.

    Raises:
      UserError: no predictions, or a metric that is no plain average over examples.
    """
    (seed,) = side.scores
    recorded, path = side.value(seed, metric), side.run / 'predictions' / 'test.npz'
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = texts.from_file({name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f'{path} cannot be read: compare several seeds') from None
    label = arrays.get(str(side.fields.get('task.label', 'label')))
    values = _values(arrays, label, metric)
    if values is None or not np.isclose(values.mean(), recorded, rtol=1e-4):
        raise UserError(
            f'{metric} is no plain average over the test examples: compare several seeds, '
            'or give --metric=accuracy'
        )
    index = arrays.get('index', np.arange(len(values)))
    return {'index': index, 'label': index if label is None else label, 'value': values}


def _values(arrays: dict[str, np.ndarray], label, metric: str) -> np.ndarray | None:
    """The metric of each example, float64; None where the predictions do not give it."""
    if metric in arrays:
        values = arrays[metric]
        return values.astype(np.float64) if values.ndim == 1 and values.dtype.kind == 'f' else None
    per_example = {'accuracy': metrics.correct, 'nll': metrics.nll, 'brier': metrics.brier}
    if metric not in per_example or label is None or 'probability' not in arrays:
        return None
    label = label.argmax(-1) if label.ndim == 2 else label
    return per_example[metric](arrays['probability'], label.astype(np.int32)).astype(np.float64)

"""A run folder's files as one value, whatever state a killed or running run left them in."""

import dataclasses
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nnjax.errors import UserError

Record = dict[str, Any]  # one line of metrics.jsonl
METRICS, CONFIG, ENVIRONMENT = 'metrics.jsonl', 'config.json', 'environment.json'
PREDICTIONS = 'predictions/test.npz'


@dataclasses.dataclass(frozen=True)
class Run:
    """What the folder holds; what it lacks is empty.

    Attributes:
      name: the folder's name.
      experiment: the experiment's name, the folder's where none is recorded.
      config: the nested configuration.
      records: split -> its lines of metrics.jsonl, one a step, by rising step.
      environment: versions, device, commit, command.
      predictions: arrays over the test split.
      notes: one sentence for each file that could not be read.
    """

    name: str
    experiment: str
    config: dict[str, Any]
    records: dict[str, list[Record]]
    environment: dict[str, Any]
    predictions: dict[str, np.ndarray]
    notes: tuple[str, ...]


def read(folder: Path) -> Run:
    """run folder -> Run. Raises UserError if neither its config nor its metrics are there."""
    if not any((folder / name).is_file() for name in (CONFIG, METRICS)):
        raise UserError(f'{folder} is no run folder: it has neither {CONFIG} nor {METRICS}')
    notes: list[str] = []
    saved = _object(folder / CONFIG, notes)
    config = saved.get('config')
    name = folder.resolve().name
    return Run(
        name=name,
        experiment=str(saved.get('experiment') or name),
        config=config if isinstance(config, dict) else {},
        records=_records(folder / METRICS),
        environment=_object(folder / ENVIRONMENT, notes),
        predictions=_arrays(folder / PREDICTIONS, notes),
        notes=tuple(notes),
    )


def number(value: Any) -> float:
    """A JSON value -> float; NaN for what is no number, null and 'nan' included."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _records(path: Path) -> dict[str, list[Record]]:
    """Lines by split and step. A step logged twice (a resumed run) counts as it was last logged."""
    if not path.is_file():
        return {}
    found: dict[str, dict[float, Record]] = {}
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        record = _line(line)
        if record is not None:
            step = number(record.get('step'))
            found.setdefault(str(record['split']), {})[step if math.isfinite(step) else -1] = record
    return {split: [lines[step] for step in sorted(lines)] for split, lines in found.items()}


def _line(line: str) -> Record | None:
    """A record, or None for a torn line. A resumed run's first record may follow a torn one."""
    for text in (line, line[max(line.rfind('{'), 0) :]):
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict) and 'split' in record:
            return record
    return None


def _object(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    notes.append(f'{path.name} could not be read.')
    return {}


def _arrays(path: Path, notes: list[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        notes.append(f'{PREDICTIONS} could not be read.')
        return {}

"""A run folder's files as one value, whatever state a killed or running run left them in."""

import dataclasses
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nnjax import texts
from nnjax.errors import UserError

Record = dict[str, Any]  # one line of metrics.jsonl
METRICS, CONFIG, ENVIRONMENT = 'metrics.jsonl', 'config.json', 'environment.json'
SPLITS = ('test', 'valid')  # those that a final line may be of, the preferred one first


@dataclasses.dataclass(frozen=True)
class Run:
    """What the folder holds; what it lacks is empty.

    Attributes:
      name: the folder's name.
      experiment: the experiment's name, the folder's where none is recorded.
      config: the nested configuration.
      records: split -> its lines of metrics.jsonl, one a step, by rising step.
      final: the line of the finished run's chosen parameters, on the test split where there is one;
        None while the run is not finished.
      environment: versions, device, commit, command.
      predictions: arrays over the final line's split.
      hearing: what hearing.json says of a run of sounds.
      notes: one sentence for each file that could not be read.
    """

    name: str
    experiment: str
    config: dict[str, Any]
    records: dict[str, list[Record]]
    final: Record | None
    environment: dict[str, Any]
    predictions: dict[str, np.ndarray]
    hearing: dict[str, Any]
    notes: tuple[str, ...]


def read(folder: Path) -> Run:
    """run folder -> Run. Raises UserError if neither its config nor its metrics are there."""
    if not any((folder / name).is_file() for name in (CONFIG, METRICS)):
        raise UserError(f'{folder} is no run folder: it has neither {CONFIG} nor {METRICS}')
    notes: list[str] = []
    saved = json_object(folder / CONFIG, notes)
    config = saved.get('config')
    name = folder.resolve().name
    records, final = _records(folder / METRICS)
    return Run(
        name=name,
        experiment=str(saved.get('experiment') or name),
        config=config if isinstance(config, dict) else {},
        records=records,
        final=final,
        environment=json_object(folder / ENVIRONMENT, notes),
        predictions=_arrays(folder / 'predictions', notes),
        hearing=json_object(folder / 'hearing.json', notes),
        notes=tuple(notes),
    )


def number(value: Any) -> float:
    """A JSON value -> float; NaN for what is no number, null and 'nan' included."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _records(path: Path) -> tuple[dict[str, list[Record]], Record | None]:
    """Lines by split and step, and the final one.

    A step logged twice (by a resumed run) counts as it was last logged.
    """
    found: dict[str, dict[float, Record]] = {}
    final = None
    if not path.is_file():
        return {}, None
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        record = _line(line)
        if record is None:
            continue
        if record.get('finished') or record['split'] == 'test':
            final = record
        else:
            step = number(record.get('step'))
            found.setdefault(str(record['split']), {})[step if math.isfinite(step) else -1] = record
    return {split: [lines[step] for step in sorted(lines)] for split, lines in found.items()}, final


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


def json_object(path: Path, notes: list[str]) -> dict[str, Any]:
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


def _arrays(folder: Path, notes: list[str]) -> dict[str, np.ndarray]:
    path = next((folder / f'{s}.npz' for s in SPLITS if (folder / f'{s}.npz').is_file()), None)
    if path is None:
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return texts.from_file({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        notes.append(f'predictions/{path.name} could not be read.')
        return {}

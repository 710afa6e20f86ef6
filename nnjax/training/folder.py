"""A run folder: config.json, metrics.jsonl, environment.json, checkpoints/, predictions/."""

import contextlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax import texts
from nnjax.data import description
from nnjax.data.preparation import Preparation, digest
from nnjax.data.source import Dataset
from nnjax.errors import UserError
from nnjax.machine import processors


class Folder:
    """A folder of one JSON file, what was asked for, and metrics.jsonl, what came of it.

    Nothing exists on disk before `create`.
    """

    KIND = FILE = ''  # 'run folder', and the JSON file that makes a folder one

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f'--workdir={path} is a file; name a folder')
        if not self.path.is_dir() or self.exists:
            return
        if (self.path / 'sweep.json').is_file():
            raise UserError(f'--workdir={path} is a sweep folder; its best run is {path}/best')
        if any(self.path.iterdir()):
            raise UserError(
                f'--workdir={path} is not empty and no {self.KIND} (it has no {self.FILE}); '
                'name one that is, or to train a folder that is not there yet'
            )

    @property
    def exists(self) -> bool:
        return (self.path / self.FILE).is_file()

    def create(self, config: ConfigDict, experiment: str, data: str, **more: Any) -> None:
        """Writes the config, the fingerprint of the training data and the environment."""
        self._make()
        saved = {'experiment': experiment, 'data': data, 'config': configs.to_json(config), **more}
        write(self.path / self.FILE, json.dumps(saved, indent=2))
        write(self.path / 'environment.json', json.dumps(environment(), indent=2))

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'--workdir={self.path} cannot be created: {error.strerror}') from None

    def config(self) -> tuple[str, ConfigDict]:
        """The saved (experiment name, config).

        Raises:
          UserError: no such folder, or a damaged one.
        """
        saved = self.saved('experiment', 'config')
        with self._whole():
            return saved['experiment'], configs.from_json(saved['config'])

    def changes(self, config: ConfigDict) -> list[str]:
        """Fields that differ from the saved config: ['optim.lr: 0.1 -> 0.3', ...]."""
        now = configs.from_json(configs.to_json(config))
        saved, now = dict(configs.leaves(self.config()[1])), dict(configs.leaves(now))
        return [
            f'{path}: {saved.get(path)} -> {now.get(path)}'
            for path in sorted({*saved, *now})
            if saved.get(path) != now.get(path)
        ]

    def data(self) -> str:
        """The saved fingerprint of the training data."""
        return self.saved('data')['data']

    def saved(self, *names: str) -> dict[str, Any]:
        """The named entries of the JSON file, as they stand there."""
        if not self.exists:
            raise UserError(f'{self.path} is no {self.KIND} (it has no {self.FILE})')
        with self._whole():
            saved = json.loads((self.path / self.FILE).read_text())
            return {name: saved[name] for name in names}

    @contextlib.contextmanager
    def _whole(self):
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f'{self.path / self.FILE} is damaged: {error}') from None

    def append(self, *records: dict[str, Any]) -> None:
        """Lines of metrics.jsonl; NaN and infinities are written as null."""
        with open(self.path / 'metrics.jsonl', 'a') as file:
            file.write(''.join(map(_line, records)))

    def records(self) -> list[dict[str, Any]]:
        """The whole lines of metrics.jsonl; a line cut short by a kill is left out."""
        path = self.path / 'metrics.jsonl'
        records = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def rewrite(self, records: Iterable[dict[str, Any]]) -> None:
        """Replaces metrics.jsonl by these records."""
        write(self.path / 'metrics.jsonl', ''.join(map(_line, records)))


def _line(record: dict[str, Any]) -> str:
    finite = lambda value: not isinstance(value, float) or math.isfinite(value)
    return json.dumps({n: v if finite(v) else None for n, v in record.items()}) + '\n'


class RunFolder(Folder):
    """Reads and writes one run folder."""

    KIND, FILE = 'run folder', 'config.json'

    @property
    def checkpoints(self) -> Path:
        return self.path / 'checkpoints'

    def create(
        self, config: ConfigDict, experiment: str, data: Dataset, preparation: Preparation
    ) -> None:
        """Also writes data.json, what the data is like, and prepare.json, what was learned of it."""
        self._make()
        write(self.path / 'data.json', json.dumps(description.describe(data)))
        write(self.path / 'prepare.json', json.dumps(preparation.statistics))
        fingerprint = data.train.fingerprint
        super().create(config, experiment, fingerprint, prepare=digest(preparation.statistics))

    def replace(self, step: int) -> None:
        """Sets the config aside as config-STEP.json: from that step on another one holds."""
        os.replace(self.path / self.FILE, self.path / f'config-{step}.json')

    def description(self) -> Dataset:
        """The data that the run was trained on, without its examples.

        Raises:
          UserError: data.json is missing or damaged.
        """
        path = self.path / 'data.json'
        try:
            return description.described(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f'{path} is missing or damaged; the run cannot be read') from None

    def statistics(self) -> list[Any]:
        """What the operations on the host had learned when the run began.

        Raises:
          UserError: prepare.json is missing, damaged, or another run's.
        """
        path, wanted = self.path / 'prepare.json', self.saved('prepare')['prepare']
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            raise UserError(f'{path} is missing or damaged; the run cannot go on without') from None
        if digest(found) != wanted:
            raise UserError(
                f'{path} is not that of this run ({digest(found)}, the checkpoints were trained '
                f'with {wanted}): vocabularies and statistics must be those of the training'
            )
        return found

    def truncate(self, step: int) -> None:
        """Forgets the records after `step`: a resumed run writes them again."""
        self.rewrite(r for r in self.records() if r['step'] <= step and r['split'] != 'test')

    def finished(self) -> dict[str, Any] | None:
        """The last record of a finished run, else None."""
        records = self.records()
        return records[-1] if records and records[-1].get('finished') else None

    def save_decided(self, values: dict[str, float]) -> None:
        """Keeps what the task decided on validation when the run ended."""
        write(self.path / 'decided.json', json.dumps(values))

    def decided(self) -> dict[str, float]:
        """What `save_decided` kept; {} where that is nothing."""
        path = self.path / 'decided.json'
        try:
            return json.loads(path.read_text()) if path.is_file() else {}
        except ValueError:
            raise UserError(f'{path} is damaged; train the run again') from None

    def save_predictions(self, split: str, arrays: dict[str, np.ndarray]) -> None:
        folder = self.path / 'predictions'
        folder.mkdir(exist_ok=True)
        temporary = folder / f'.{split}.npz'
        np.savez(temporary, **texts.to_file(arrays))
        os.replace(temporary, folder / f'{split}.npz')


def write(path: Path, text: str) -> None:
    """Writes a whole file, UTF-8, or nothing."""
    temporary = path.with_name(f'.{path.name}.tmp')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


def _without_password(word: str) -> str:
    """A word of a command line; of a URL, such as a database's, without the password."""
    return re.sub(r'(\w://[^:@/\s]*):[^@/\s]*@', r'\1:***@', word)


def environment() -> dict[str, str]:
    """Versions, device, commit and command line of this process."""
    versions = {
        name: metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
    }
    devices = jax.devices()
    program = 'nnjax' if sys.argv[0].endswith('__main__.py') else Path(sys.argv[0]).name
    return {
        'command': shlex.join([program, *map(_without_password, sys.argv[1:])]),
        'nnjax': metadata.version('nnjax'),
        'python': platform.python_version(),
        **versions,
        'platform': platform.platform(),
        'device': devices[0].device_kind,
        'devices': str(len(devices)),
        'processors': str(processors()),
        'commit': _commit(),
    }


def _commit() -> str:
    """The git commit of nnjax's checkout, '+' behind it where files differ; '' if installed."""
    root = Path(__file__).parents[2]
    if not (root / '.git').exists():
        return ''
    run = lambda *args: subprocess.run(
        ['git', '-C', str(root), *args], capture_output=True, text=True
    ).stdout.strip()
    try:
        return run('rev-parse', '--short', 'HEAD') + ('+' if run('status', '--porcelain') else '')
    except OSError:
        return ''

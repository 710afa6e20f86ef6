"""A run folder: config.json, metrics.jsonl, environment.json, checkpoints/, predictions/."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax.errors import UserError


class RunFolder:
    """Reads and writes one run folder; nothing exists on disk before `create`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f'--workdir={path} is a file; name a folder')
        if self.path.is_dir() and not self.exists and any(self.path.iterdir()):
            raise UserError(f'--workdir={path} is not empty and no run folder; name a new one')

    @property
    def exists(self) -> bool:
        return (self.path / 'config.json').is_file()

    @property
    def checkpoints(self) -> Path:
        return self.path / 'checkpoints'

    def create(self, config: ConfigDict, experiment: str, data: str) -> None:
        """Writes the config, the fingerprint of the training data and the environment."""
        self.path.mkdir(parents=True, exist_ok=True)
        saved = {'experiment': experiment, 'data': data, 'config': configs.to_json(config)}
        write(self.path / 'config.json', json.dumps(saved, indent=2))
        write(self.path / 'environment.json', json.dumps(environment(), indent=2))

    def config(self) -> tuple[str, ConfigDict]:
        """The saved (experiment name, config).

        Raises:
          UserError: no run folder, or a damaged one.
        """
        saved = self._saved()
        return saved['experiment'], saved['config']

    def data(self) -> str:
        """The saved fingerprint of the training data."""
        return self._saved()['data']

    def _saved(self) -> dict[str, Any]:
        if not self.exists:
            raise UserError(f'{self.path} is no run folder (it has no config.json)')
        try:
            saved = json.loads((self.path / 'config.json').read_text())
            names = {name: saved[name] for name in ('experiment', 'data')}
            return {**names, 'config': configs.from_json(saved['config'])}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f'{self.path / "config.json"} is damaged: {error}') from None

    def changes(self, config: ConfigDict) -> list[str]:
        """Fields that differ from the saved config: ['optim.lr: 0.1 -> 0.3', ...]."""
        now = configs.from_json(configs.to_json(config))
        saved, now = dict(configs.leaves(self.config()[1])), dict(configs.leaves(now))
        return [
            f'{path}: {saved.get(path)} -> {now.get(path)}'
            for path in sorted({*saved, *now})
            if saved.get(path) != now.get(path)
        ]

    def append(self, record: dict[str, Any]) -> None:
        """One line of metrics.jsonl; NaN and infinities are written as null."""
        clean = {
            n: None if isinstance(v, float) and not math.isfinite(v) else v
            for n, v in record.items()
        }
        with open(self.path / 'metrics.jsonl', 'a') as file:
            file.write(json.dumps(clean) + '\n')

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

    def truncate(self, step: int) -> None:
        """Forgets the records after `step`: a resumed run writes them again."""
        kept = [r for r in self.records() if r['step'] <= step and r['split'] != 'test']
        write(self.path / 'metrics.jsonl', ''.join(json.dumps(r) + '\n' for r in kept))

    def finished(self) -> dict[str, Any] | None:
        """The last record of a finished run, else None."""
        records = self.records()
        return records[-1] if records and records[-1].get('finished') else None

    def save_predictions(self, split: str, arrays: dict[str, np.ndarray]) -> None:
        folder = self.path / 'predictions'
        folder.mkdir(exist_ok=True)
        temporary = folder / f'.{split}.npz'
        np.savez(temporary, **arrays)
        os.replace(temporary, folder / f'{split}.npz')


def write(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    temporary = path.with_name(f'.{path.name}.tmp')
    temporary.write_text(text)
    os.replace(temporary, path)


def environment() -> dict[str, str]:
    """Versions, device, commit and command line of this process."""
    versions = {
        name: metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
    }
    devices = jax.devices()
    return {
        'command': shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        'nnjax': metadata.version('nnjax'),
        'python': platform.python_version(),
        **versions,
        'platform': platform.platform(),
        'device': devices[0].device_kind,
        'devices': str(len(devices)),
        'processors': str(
            len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
        ),
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

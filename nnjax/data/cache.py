"""Where nnjax keeps what it can make again: prepared data, decoded splits, compiled programs."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def root() -> Path:
    """NNJAX_CACHE_DIR, or nnjax in the user's cache folder."""
    if own := os.environ.get('NNJAX_CACHE_DIR'):
        return Path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'nnjax'


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made where they are missing or damaged."""
    path = root() / 'arrays' / f'{name}.npz'
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {field: kept[field] for field in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError):
        made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f'.{path.stem}.{os.getpid()}.npz')
        np.savez(temporary, **made)
        os.replace(temporary, path)
    except OSError:
        pass  # a full or read-only disk costs time, not the run
    return made

"""Decoded splits, kept as arrays on disk."""

import contextlib
import os
import zipfile
from collections.abc import Callable

import numpy as np

from nnjax import cache, texts

KEPT_BYTES = 1 << 30  # what decodes to less is kept in memory, and as arrays on disk


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made where they are missing or damaged.

    `name` holds a hash of what they are made from. Nothing pickled is read; a file appears whole or
    not at all.
    """
    path = cache.root() / 'arrays' / f'{name}.npz'
    try:
        with np.load(path, allow_pickle=False) as kept:
            return texts.from_file({field: kept[field] for field in kept.files})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        made = make()
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.npz')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **texts.to_file(made))
        os.replace(temporary, path)
    except OSError:  # a full or read-only disk costs time, not the run
        with contextlib.suppress(OSError):
            temporary.unlink()
    return made

"""Decoded splits, kept as arrays on disk."""

import contextlib
import os
import zipfile
from collections.abc import Callable

import numpy as np

from nnjax import cache, texts

KEPT_BYTES = 1 << 30  # what decodes to less is kept in memory, and as arrays on disk
FORMAT = 1  # one more whenever the same files decode to other arrays


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made where they are missing or damaged.

    `name` holds a hash of what they are made from, FORMAT stands for how. Nothing pickled is read;
    a file appears whole or not at all.
    """
    path = cache.root() / 'arrays' / f'{name}-{FORMAT}.npz'
    try:
        with np.load(path, allow_pickle=False) as kept:
            return texts.from_file({field: kept[field] for field in kept.files})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        made = make()
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.npz')
    with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the run
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(temporary, **texts.to_file(made))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return made

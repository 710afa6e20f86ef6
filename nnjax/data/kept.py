"""Decoded splits, kept as arrays on disk."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnjax import cache, texts

KEPT_BYTES = 1 << 30  # what decodes to less is kept in memory, and as arrays on disk
FORMAT = 1  # one more whenever the same files decode to other arrays


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays kept under `name`, made where they are missing or damaged.

    `name` holds a hash of what they are made from, FORMAT stands for how. Nothing pickled is read;
    a file appears whole or not at all.
    """
    path = _path(name, 'npz')
    try:
        with np.load(path, allow_pickle=False) as kept:
            return texts.from_file({field: kept[field] for field in kept.files})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        made = make()
    _write(path, lambda file: np.savez(file, **texts.to_file(made)))
    return made


def samples(
    name: str, count: int, parts: Callable[[], Iterable[np.ndarray]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """`count` int16 arrays of any length, one behind another, in a file -> (all, where each ends).

    They are mapped into memory. Made and kept as `arrays` are; None where there is no room for them.
    """
    path = _path(name, 'i16')

    def write(file: BinaryIO) -> None:
        ends = [0]
        for part in parts():
            file.write(part.astype('<i2').data)
            ends.append(ends[-1] + len(part))
        file.write(np.array(ends[1:], '<i8').data)

    if not _complete(path, count):
        _write(path, write)
    return _mapped(path, count) if _complete(path, count) else None


def _mapped(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    whole = np.memmap(path, '<i2', 'r')
    split = len(whole) - 4 * count  # an end takes four samples' bytes
    return whole[:split], np.array(whole[split:]).view('<i8')


def _complete(path: Path, count: int) -> bool:
    try:
        found, ends = _mapped(path, count)
    except (OSError, ValueError):
        return False
    return len(ends) == count and ends[-1] == len(found)


def _path(name: str, kind: str) -> Path:
    return cache.root() / 'arrays' / f'{name}-{FORMAT}.{kind}'


def _write(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file, whole or not at all."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the run
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, 'wb') as file:
                write(file)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

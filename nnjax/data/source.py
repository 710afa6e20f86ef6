"""The values that the data layer hands on: a source of examples, and a dataset of three of them."""

import dataclasses
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]  # field name -> [N, ...], one row an example


class Source(Protocol):
    """Random access to examples, a batch at a time.

    `spec` gives each field's (shape, dtype) without the batch axis and reads no data;
    `fingerprint` identifies the content for caches and run folders.
    """

    spec: dict[str, tuple[tuple[int, ...], np.dtype]]
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Arrays: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Train, validation and test sources of one spec; `labels` are the class names, if known."""

    train: Source
    valid: Source | None = None
    test: Source | None = None
    labels: tuple[str, ...] = ()

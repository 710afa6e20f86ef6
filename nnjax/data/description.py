"""What a run folder says of its data: enough to predict without the examples themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnjax import texts
from nnjax.data.source import Arrays, Dataset
from nnjax.errors import UserError

SPLITS = ('train', 'valid', 'test')


class Described:
    """A source of which everything is known but its examples."""

    def __init__(self, spec: Mapping[str, tuple[tuple[int, ...], np.dtype]], size: int, name: str):
        self.spec, self.fingerprint = dict(spec), name
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        raise UserError('the examples that this run was trained on are not open here')


def describe(dataset: Dataset) -> dict[str, Any]:
    """A data set -> a JSON value."""
    splits = {split: getattr(dataset, split) for split in SPLITS}
    return {
        'spec': {name: [list(s), _name(d)] for name, (s, d) in dataset.train.spec.items()},
        'splits': {n: [len(s), s.fingerprint] for n, s in splits.items() if s is not None},
        'labels': dataset.labels,
        'columns': dataset.columns,
        'categories': dict(dataset.categories),
        'rate': dataset.rate,
    }


def described(saved: Mapping[str, Any]) -> Dataset:
    """What `describe` gave -> the data set."""
    spec = {name: (tuple(shape), _dtype(kind)) for name, (shape, kind) in saved['spec'].items()}
    return Dataset(
        **{split: Described(spec, *known) for split, known in saved['splits'].items()},
        labels=tuple(saved['labels']),
        columns=tuple(saved['columns']),
        categories={name: tuple(values) for name, values in saved['categories'].items()},
        rate=saved.get('rate'),  # which older runs do not say
    )


def _name(dtype: np.dtype) -> str:
    return 'text' if np.dtype(dtype).kind == 'T' else np.dtype(dtype).name


def _dtype(name: str) -> np.dtype:
    return texts.TEXT if name == 'text' else np.dtype(name)

"""Prepared TFDS data sets: found without importing TFDS, decoded once, then kept as arrays."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from nnjax.data import builders, cache
from nnjax.data.source import Arrays, Rows, Source
from nnjax.errors import UserError, nearest

KEPT_BYTES = 1 << 30  # splits that decode to less are kept in memory, and as arrays on disk


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set on disk: its folder, split sizes, class names and a hash of its description."""

    name: str
    path: Path
    splits: dict[str, int]
    labels: tuple[str, ...]
    digest: str


def open(name: str, data_dir: str | None = None) -> Prepared:
    """A data set by name; nnjax's own are prepared first.

    Raises:
      UserError: an unknown name, or a data set that is not prepared, with the command that does it.
    """
    places = (
        [Path(data_dir)] if data_dir else [builders.data_dir(), Path.home() / 'tensorflow_datasets']
    )
    path = _find(name, places)
    if path is None and name in builders.OWN:
        print(f'preparing {name} (once) ...', file=sys.stderr)
        builders.prepare(name, data_dir)
        path = _find(name, places)
    if path is None:
        _refuse(name, places)
    return _describe(name, path)


def _find(name: str, places: list[Path]) -> Path | None:
    """The newest version's folder under the first place that has one."""
    for place in places:
        found = [p.parent for p in (place / name).glob('*/dataset_info.json')]
        if found:
            return max(
                found, key=lambda p: [int(n) if n.isdigit() else 0 for n in p.name.split('.')]
            )
    return None


def _refuse(name: str, places: list[Path]) -> None:
    try:
        names = builders.known()
    except ImportError:
        names = list(builders.OWN)
    if name.split('/')[0] not in names:
        raise UserError(
            f'unknown data set {name!r}{nearest(name, names)} '
            f"(nnjax's own: {', '.join(builders.OWN)}; or any TFDS name)"
        )
    raise UserError(
        f'{name} is not prepared (looked in {", ".join(map(str, places))}); '
        f'run: nnjax data prepare {name}'
    )


def _describe(name: str, path: Path) -> Prepared:
    raw = (path / 'dataset_info.json').read_bytes()
    info = json.loads(raw)
    splits = {s['name']: sum(map(int, s.get('shardLengths', []))) for s in info.get('splits', [])}
    names = path / 'label.labels.txt'
    labels = tuple(names.read_text().split('\n')) if names.is_file() else ()
    sizes = sorted((p.name, p.stat().st_size) for p in path.iterdir())
    digest = hashlib.sha256(raw + repr(sizes).encode()).hexdigest()[:16]
    return Prepared(name, path, splits, tuple(x for x in labels if x), digest)


def split(prepared: Prepared, expression: str, what: str) -> Source:
    """'train', 'train[:55000]', 'train+test' of a data set -> its source; `what` is for errors.

    A small split is decoded in one go and kept under the cache folder, so that the next run neither
    decodes nor imports TFDS.
    """
    base = expression.split('[')[0].split('+')[0].strip()
    if base not in prepared.splits:
        raise UserError(
            f'data.{what}={expression!r}: {prepared.name} has the splits '
            f'{", ".join(prepared.splits)}{nearest(base, prepared.splits)}'
        )
    key = hashlib.sha256(f'{prepared.digest} {expression}'.encode()).hexdigest()[:12]
    name = f'{prepared.name.replace("/", "-")}-{prepared.path.name}-{key}'
    kept = cache.arrays(name, lambda: _decoded(prepared, expression, what))
    return Rows(kept) if kept else _Stream(prepared, expression, what, key)


def _data_source(prepared: Prepared, expression: str, what: str):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(prepared.path))
        return builder, builder.as_data_source(split=expression)
    except Exception as error:
        first = (str(error).splitlines() or [''])[0]
        raise UserError(f'data.{what}={expression!r} of {prepared.name}: {first}') from None


def _decoded(prepared: Prepared, expression: str, what: str) -> Arrays:
    """All of a split, or {} where that is too much to keep or examples differ in shape."""
    _, source = _data_source(prepared, expression, what)
    if len(source) == 0:
        raise UserError(f'data.{what}={expression!r} of {prepared.name} is empty')
    first = _stack([source[0]])
    if sum(a.nbytes for a in first.values()) * len(source) > KEPT_BYTES:
        return {}
    return _stack(source.__getitems__(list(range(len(source)))))


def _stack(examples: list[dict]) -> Arrays:
    """Examples of one shape -> arrays; texts are left out, labels are int32."""
    fields = {}
    for name in examples[0]:
        values = [np.asarray(example[name]) for example in examples]
        if values[0].dtype.kind not in 'biuf':
            continue
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise UserError(
                f'field {name!r} has examples of different shapes, {sorted(shapes)[:2]}'
            )
        array = np.stack(values)
        fields[name] = array.astype(np.int32) if array.dtype == np.int64 else array
    return fields


class _Stream:
    """A split too large to keep: batches are decoded as they are asked for."""

    def __init__(self, prepared: Prepared, expression: str, what: str, key: str):
        _, self._source = _data_source(prepared, expression, what)
        self.fingerprint = key
        self.spec = {n: (a.shape[1:], a.dtype) for n, a in _stack([self._source[0]]).items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return _stack(self._source.__getitems__([int(i) for i in indices]))

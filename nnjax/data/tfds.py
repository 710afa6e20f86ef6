"""Prepared TFDS data sets: found without importing TFDS, decoded once, then kept as arrays."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnjax import texts
from nnjax.data import builders, images, kept
from nnjax.data.source import Arrays, Joined, Rows, Slice, Source
from nnjax.data.split import Piece
from nnjax.errors import UserError, nearest

KEPT_BYTES = kept.KEPT_BYTES


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set on disk: its folder, split sizes, class names and a hash of its description."""

    name: str
    path: Path
    splits: dict[str, int]
    labels: tuple[str, ...]
    digest: str


def open(name: str, data_dir: str | None = None) -> Prepared:
    """A data set by name, NAME[/CONFIG][:VERSION]; nnjax's own are prepared first.

    Raises:
      UserError: an unknown name, or a data set that is not prepared, with the command that does it.
    """
    if data_dir:
        places = [Path(data_dir).expanduser()]
    else:
        places = [builders.data_dir(), Path.home() / 'tensorflow_datasets']
    path = _find(name, places)
    if path is None and name in builders.OWN:
        builders.prepare(name, data_dir)
        path = _find(name, places)
    if path is None:
        _refuse(name, places)
    return _describe(name, path)


def _find(name: str, places: list[Path]) -> Path | None:
    """The folder of the version asked for, else the newest, under the first place that has one."""
    name, _, version = name.partition(':')
    if not re.fullmatch(r'[\w.+-]+(/[\w.+-]+)?', name):
        return None
    for place in places:
        # A version's folder: not a half-prepared '1.0.0.incomplete...'.
        found = [
            p.parent
            for p in (place / name).glob('*/dataset_info.json')
            if re.fullmatch(r'\d+\.\d+\.\d+', p.parent.name) and version in ('', p.parent.name)
        ]
        if found:
            return max(found, key=lambda p: [int(n) for n in p.name.split('.')])
    return None


def _refuse(name: str, places: list[Path]) -> None:
    try:
        names = builders.known()
    except ImportError:
        names = list(builders.OWN)
    base = re.split('[/:]', name)[0]
    if base not in names:
        raise UserError(
            f'unknown data set {name!r}{nearest(base, names)} '
            f"(nnjax's own: {', '.join(builders.OWN)}; or any TFDS name)"
        )
    configs = sorted(
        {
            f'{base}/{p.parents[1].name}'
            for place in places
            for p in (place / base).glob('*/*/dataset_info.json')
        }
    )
    hint = f'prepared: {", ".join(configs)}; or ' if configs else ''
    raise UserError(
        f'{name} is not prepared (looked in {", ".join(map(str, places))}); {hint}where there are '
        f'a network and TensorFlow, run: {builders.recipe(name, places[0])} and, if that is '
        f'another machine, copy the folder {base} from there'
    )


def _describe(name: str, path: Path) -> Prepared:
    raw = (path / 'dataset_info.json').read_bytes()
    try:
        info = json.loads(raw)
        splits = {s['name']: sum(map(int, s.get('shardLengths', []))) for s in info['splits']}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f'{path}/dataset_info.json is damaged; delete the folder '
            f'and run: nnjax data prepare {name}'
        ) from None
    kind = info.get('fileFormat', 'tfrecord')
    if kind != 'array_record':
        raise UserError(
            f'{name} in {path} is prepared as {kind}, which only TensorFlow reads; prepare it '
            f'again with TensorFlow: {builders.recipe(name, "FOLDER")} and set data.data_dir=FOLDER'
        )
    names = path / 'label.labels.txt'
    labels = names.read_text(encoding='utf-8').splitlines() if names.is_file() else []
    sizes = sorted((p.name, p.stat().st_size) for p in path.iterdir())
    digest = hashlib.sha256(raw + repr(sizes).encode()).hexdigest()[:16]
    return Prepared(name, path, splits, tuple(x for x in labels if x), digest)


def sources(
    prepared: Prepared,
    wanted: Mapping[str, Sequence[Piece]],
    size: tuple[int, int] | None = None,
) -> dict[str, Source]:
    """{what: pieces of splits} -> {what: its source}, images scaled and cut to `size`, if given.

    A small split is decoded in one go and kept under the cache folder, so that the next run neither
    decodes nor imports TFDS; of a large one, the piece is, if that is small.
    """

    @functools.cache
    def whole(split: str) -> Arrays:
        return _kept(prepared, Piece(split, 0, prepared.splits[split]), size)

    def one(piece: Piece) -> Source:
        count, rows = prepared.splits[piece.split], np.arange(piece.low, piece.high)
        if arrays := whole(piece.split):
            return Rows(arrays) if len(rows) == count else Slice(Rows(arrays), rows)
        if len(rows) < count and (arrays := _kept(prepared, piece, size)):
            return Rows(arrays)
        return Slice(Stream(prepared, piece.split, size), rows)

    def joined(pieces: Sequence[Piece]) -> Source:
        return one(pieces[0]) if len(pieces) == 1 else Joined([one(piece) for piece in pieces])

    return {what: joined(pieces) for what, pieces in wanted.items()}


def _kept(prepared: Prepared, piece: Piece, size: tuple[int, int] | None) -> Arrays:
    """All examples of a piece, or {} where that is too much."""

    def decoded() -> Arrays:
        stream = Stream(prepared, piece.split, size)
        example = sum(np.prod(shape) * dtype.itemsize for shape, dtype in stream.spec.values())
        rows = np.arange(piece.low, piece.high)
        return stream[rows] if (example + _text_bytes(stream)) * len(rows) <= KEPT_BYTES else {}

    key = f'{prepared.digest} {tuple(piece)}' + (f' {size}' if size else '')
    name = re.sub('[/:]', '-', prepared.name)
    key = hashlib.sha256(key.encode()).hexdigest()[:12]
    return kept.arrays(f'{name}-{prepared.path.name}-{key}', decoded)


def _text_bytes(stream: 'Stream') -> float:
    """Bytes that the texts of an example have, about."""
    names = texts.fields(stream.spec)
    some = stream[np.unique(np.linspace(0, len(stream) - 1, 16).astype(int))] if names else {}
    return sum(np.mean([len(text.encode()) for text in some[name].tolist()]) for name in names)


class Stream:
    """A whole split, decoded a batch at a time, as it is asked for."""

    def __init__(self, prepared: Prepared, split: str, size: tuple[int, int] | None = None):
        self._place = f'{prepared.name}, {split}'
        self.fingerprint = f'{prepared.digest}-{split}' + (f'-{size[0]}x{size[1]}' if size else '')
        self._source, shapes = _opened(prepared, split)
        if size and not shapes:
            raise UserError(f'data.size={size}: {prepared.name} has no images of 8 bits')
        self._images = {name: (*(size or s[:2]), s[2]) for name, s in shapes.items()}
        for name, shape in self._images.items():
            if None in shape:
                raise UserError(
                    f'{prepared.name}: images of the field {name!r} differ in size; set data.size '
                    'to scale and cut all to one size, such as --config.data.size=224'
                )
        self.spec = {name: (a.shape[1:], a.dtype) for name, a in self[np.arange(1)].items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        examples = self._source.__getitems__([int(i) for i in indices])

        def encoded(field: str) -> Callable[[int], tuple[bytes, str]]:
            return lambda n: (examples[n][field], f'{self._place}[{indices[n]}], {field}')

        found = {
            name: images.decode_all(len(examples), shape, encoded(name))
            for name, shape in self._images.items()
        }
        rest = [{n: v for n, v in e.items() if n not in found} for e in examples]
        try:
            return found | _stack([_answered(example) for example in rest])
        except UnicodeDecodeError as error:
            row = next(i for i, e in zip(indices, rest) if error.object in e.values())
            raise UserError(f'{self._place}[{row}] is no text in UTF-8: {error.reason}') from None


def _opened(prepared: Prepared, split: str) -> tuple[Any, dict[str, tuple[int | None, ...]]]:
    """A whole split -> (TFDS's data source, shapes of the images it leaves encoded)."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(prepared.path))
        shapes = {
            name: feature.shape
            for name, feature in builder.info.features.items()
            if type(feature) is tfds.features.Image  # a subclass is more than an image
            and feature.np_dtype == np.uint8
            and feature.shape[2:] in ((1,), (3,))
        }
        decoders = {name: tfds.decode.SkipDecoding() for name in shapes}
        source = builder.as_data_source(split=split, decoders=decoders or None)
        source[0]
        return source, shapes
    except Exception as error:  # whatever a foreign or damaged folder makes TFDS raise
        first = (str(error).splitlines() or [''])[0]
        raise UserError(
            f'{prepared.path} cannot be read ({type(error).__name__}: {first}); '
            f'delete the folder and run: nnjax data prepare {prepared.name}'
        ) from None


def _answered(example: dict) -> dict:
    """An example with features as SQuAD's: `answers` become `answer`, one a line, and `answer_start`.

    `answer_start` is the first one's; where there is no answer it is -1.
    """
    answers = example.get('answers')
    if not isinstance(answers, dict) or set(answers) != {'text', 'answer_start'}:
        return example
    found = dict.fromkeys(_text(answer) for answer in answers['text'])
    starts = [*answers['answer_start'], -1]
    rest = {name: value for name, value in example.items() if name != 'answers'}
    return {**rest, 'answer': '\n'.join(found), 'answer_start': np.int32(starts[0])}


def _stack(examples: list[dict]) -> Arrays:
    """Examples of one shape -> arrays; 64 bits become 32, lists and what is nested are left out."""
    fields = {}
    for name, first in examples[0].items():
        if isinstance(first, str | bytes):
            fields[name] = texts.array(_text(example[name]) for example in examples)
            continue
        values = [np.asarray(example[name]) for example in examples]
        if values[0].dtype.kind not in 'biuf':
            continue
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise UserError(
                f'field {name!r} has examples of different shapes, {sorted(shapes)[:2]}'
            )
        array = np.stack(values)
        narrow = {'int64': np.int32, 'float64': np.float32}.get(array.dtype.name)
        fields[name] = array.astype(narrow) if narrow else array
    return fields


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()

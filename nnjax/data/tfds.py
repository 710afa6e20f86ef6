"""Prepared TFDS data sets: found without importing TFDS, decoded once, then kept as arrays."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnjax import texts
from nnjax.data import builders, images, kept, tfds_folder
from nnjax.data.source import Arrays, Joined, Rows, Slice, Source
from nnjax.data.split import Piece
from nnjax.errors import UserError, nearest

KEPT_BYTES = kept.KEPT_BYTES


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set on disk: its folder, split sizes, class names and a hash of its description.

    `rate` is how many samples a second its sounds have, if it has any and says so.
    """

    name: str
    path: Path
    splits: dict[str, int]
    labels: tuple[str, ...]
    digest: str
    rate: int | None = None


class Form(NamedTuple):
    """What examples are brought to.

    Attributes:
      size: (height, width) of every image.
      length: samples of every sound.
      cut: whether the middle of a longer sound is used; else it is refused.
    """

    size: tuple[int, int] | None = None
    length: int | None = None
    cut: bool = False

    def __str__(self) -> str:
        """Part of a name; '' where nothing is asked."""
        size = f'-{self.size[0]}x{self.size[1]}' if self.size else ''
        return size + (f'-{self.length}{"-cut" if self.cut else ""}' if self.length else '')


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
    rate = builders.rate(name) or tfds_folder.rate(path)
    return Prepared(name, path, splits, tuple(x for x in labels if x), digest, rate)


def sources(
    prepared: Prepared,
    wanted: Mapping[str, Sequence[Piece]],
    form: Form = Form(),
) -> dict[str, Source]:
    """{what: pieces of splits} -> {what: its source}, of examples of one form.

    A small split is decoded in one go and kept under the cache folder, so that the next run neither
    decodes nor imports TFDS; of a large one, the piece is, if that is small.
    """

    @functools.cache
    def whole(split: str) -> Arrays:
        return _kept(prepared, Piece(split, 0, prepared.splits[split]), form)

    def one(piece: Piece) -> Source:
        count, rows = prepared.splits[piece.split], np.arange(piece.low, piece.high)
        if arrays := whole(piece.split):
            return Rows(arrays) if len(rows) == count else Slice(Rows(arrays), rows)
        if len(rows) < count and (arrays := _kept(prepared, piece, form)):
            return Rows(arrays)
        return Slice(Stream(prepared, piece.split, form), rows)

    def joined(pieces: Sequence[Piece]) -> Source:
        return one(pieces[0]) if len(pieces) == 1 else Joined([one(piece) for piece in pieces])

    return {what: joined(pieces) for what, pieces in wanted.items()}


def _kept(prepared: Prepared, piece: Piece, form: Form) -> Arrays:
    """All examples of a piece, or {} where that is too much."""

    def decoded() -> Arrays:
        stream = Stream(prepared, piece.split, form)
        example = sum(np.prod(shape) * dtype.itemsize for shape, dtype in stream.spec.values())
        rows = np.arange(piece.low, piece.high)
        return stream[rows] if (example + _text_bytes(stream)) * len(rows) <= KEPT_BYTES else {}

    key = f'{prepared.digest} {tuple(piece)}{form}'
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

    def __init__(self, prepared: Prepared, split: str, form: Form = Form()):
        self._place = f'{prepared.name}, {split}'
        self._form = form
        self.fingerprint = f'{prepared.digest}-{split}{form}'
        self._opened = _opened(prepared, split)
        shapes, size = self._opened.images, form.size
        if size and not shapes:
            raise UserError(f'data.size={size}: {prepared.name} has no images of 8 bits')
        self._images = {name: (*(size or s[:2]), s[2]) for name, s in shapes.items()}
        for name, shape in self._images.items():
            if None in shape:
                raise UserError(
                    f'{prepared.name}: images of the field {name!r} differ in size; set data.size '
                    'to scale and cut all to one size, such as --config.data.size=224'
                )
        if bool(self._opened.sound) != bool(form.length):
            raise UserError(
                f'{prepared.name}: sounds of the field {self._opened.sound!r} differ in length; '
                'set data.length to the samples of the longest, such as --config.data.length=16000'
                if self._opened.sound
                else f'data.length={form.length}: {prepared.name} has no sounds of many lengths'
            )
        self.spec = {name: (a.shape[1:], a.dtype) for name, a in self[np.arange(1)].items()}

    def __len__(self) -> int:
        return len(self._opened.source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        examples = self._opened.source.__getitems__([int(i) for i in indices])
        places = [f'{self._place}[{i}]' for i in indices]

        def encoded(field: str) -> Callable[[int], tuple[bytes, str]]:
            return lambda n: (examples[n][field], f'{places[n]}, {field}')

        found = {
            name: images.decode_all(len(examples), shape, encoded(name))
            for name, shape in self._images.items()
        }
        read = {*found, self._opened.sound, *self._opened.spoken}
        if self._opened.sound:
            found |= tfds_folder.heard(
                examples, places, self._opened, self._form.length, self._form.cut
            )
        rest = [{n: v for n, v in e.items() if n not in read} for e in examples]
        try:
            return found | tfds_folder.stack([tfds_folder.answered(example) for example in rest])
        except UnicodeDecodeError as error:
            place = next(p for p, e in zip(places, rest) if error.object in e.values())
            raise UserError(f'{place} is no text in UTF-8: {error.reason}') from None


def _opened(prepared: Prepared, split: str) -> tfds_folder.Opened:
    """A whole split."""
    try:
        return tfds_folder.split(str(prepared.path), split)
    except UserError:
        raise
    except Exception as error:  # whatever a foreign or damaged folder makes TFDS raise
        first = (str(error).splitlines() or [''])[0]
        raise UserError(
            f'{prepared.path} cannot be read ({type(error).__name__}: {first}); '
            f'delete the folder and run: nnjax data prepare {prepared.name}'
        ) from None

"""Sound files of the user's own -> a source: a folder by class, or a list of files and their texts."""

import contextlib
import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nnjax import texts
from nnjax.data import images, kept, sounds
from nnjax.data.source import ROWS, Arrays, Rows, Source
from nnjax.data.text.lines import whole
from nnjax.errors import UserError, unknown

LEAVE_OUT = 'leave such sounds out: --config.data.skip_corrupt=True'


def by_class(
    root: Path,
    rate: int,
    seconds: float | None,
    labels: tuple[str, ...] | None = None,
    skip_corrupt: bool = False,
) -> tuple[Source, tuple[str, ...]]:
    """ROOT/CLASS/*.wav -> (source of 'audio', 'audio_length' and 'label', class names in order).

    Sounds longer than `seconds` are cut about their middle, with a note.

    Raises:
      UserError: no folder or class, or what `Recordings` refuses.
    """
    sounds.library()
    if not root.is_dir():
        raise UserError(f'no folder {root}')
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != '.')
    if not classes:
        raise UserError(f'{root} has no folders; sounds belong in one folder a class')
    names = labels or tuple(classes)
    paths, numbers = [], []
    for name in classes:
        if name not in names:
            raise unknown(f'class in {root}', name, names)
        found = sounds.below(root / name)
        paths += found
        numbers += [names.index(name)] * len(found)
    fields = {'label': np.array(numbers, np.int32)}
    short = [os.path.relpath(path, root) for path in paths]
    return source(str(root), paths, fields, rate, seconds, True, skip_corrupt, short), names


def manifest(path: Path, rate: int, seconds: float | None, skip_corrupt: bool = False) -> Source:
    """A .jsonl or .tsv of 'path' and 'text' -> source of 'audio', 'audio_length' and 'text'.

    Paths are relative to the list's folder. A sound longer than `seconds` is refused: what is cut
    off its text would still say.

    Raises:
      UserError: a line that is none, naming it, or what `Recordings` refuses.
    """
    sounds.library()
    rows = _rows(path)
    paths = [str(path.parent / Path(row['path']).expanduser()) for row in rows]
    missing = [p for p in paths if not os.path.isfile(p)]
    if missing:
        raise UserError(f'{path}: {len(missing)} of {len(paths)} files are missing: {missing[0]}')
    fields = {'text': texts.array(row['text'] for row in rows)}
    short = [row['path'] for row in rows]
    return source(str(path), paths, fields, rate, seconds, False, skip_corrupt, short)


def source(
    owner: str,
    paths: Sequence[str],
    fields: Arrays,
    rate: int,
    seconds: float | None,
    cut: bool,
    skip_corrupt: bool,
    names: Sequence[str],
) -> Source:
    """Files and the other fields of their examples -> a source; small sets are kept decoded.

    Every file's header is read. `names` are the files as the set calls them, wherever it lies;
    `owner` is what messages call the set; `cut` says whether a sound that is longer than `seconds`
    is cut or refused.
    """
    good, headers, first = [], [], ''
    for number, path in enumerate(paths):
        try:
            headers.append(sounds.header(path))
            good.append(number)
        except UserError as error:
            first = first or str(error)
    if first and not skip_corrupt:
        bad = len(paths) - len(good)
        raise UserError(
            f'{bad} of {len(paths)} sounds of {owner} cannot be used, the first: {first}; delete '
            f'them, or {LEAVE_OUT}'
        )
    if not good:
        raise UserError(f'none of the {len(paths)} sounds of {owner} can be used: {first}')
    lengths = np.array([-(-h.samples * rate // h.rate) for h in headers])
    most = int(lengths.max()) if seconds is None else round(seconds * rate)
    long = np.flatnonzero(lengths > most)
    if long.size and not cut:
        raise UserError(
            f'{long.size} of {len(paths)} sounds of {owner} are longer than {seconds:g} s, the first '
            f'{paths[good[long[0]]]}: set data.seconds={lengths.max() / rate:.1f} or cut them'
        )
    _note(owner, len(good), long.size, f'are longer than {most / rate:g} s: their middle is used')
    several = sum(h.channels > 1 for h in headers)
    _note(owner, len(good), several, 'have several channels: their mean is used')
    others = sum(h.rate != rate for h in headers)
    _note(owner, len(good), others, f'are not at {rate} samples a second: they are converted')
    keep = np.array(good)
    if skip_corrupt:
        keep = _whole(owner, [paths[n] for n in good], keep, len(paths))
    chosen = [paths[n] for n in keep]
    own = {name: array[keep] for name, array in fields.items()}
    made = Recordings(chosen, own, rate, most, [names[n] for n in keep])
    if len(made) * most * 2 > kept.KEPT_BYTES:
        made.keep()
        return made
    arrays = kept.arrays(f'sounds-{made.fingerprint}', lambda: made[np.arange(len(made))])
    return Rows(arrays, made.names)


def read(inputs: Iterable[str], spec: Mapping, rate: int | None) -> tuple[list[str], Arrays]:
    """Sound files and folders of them -> (names, their samples and lengths), as `spec` has them.

    Several channels become their mean, another rate is converted, with a note on standard error. Of
    a sound that is too long the middle is used, where sounds have no length; else it is refused.
    """
    for path in map(Path, inputs):
        if not path.is_dir() and path.suffix.lower() not in sounds.SUFFIXES:
            raise UserError(
                f'{path}: this run takes sounds: {", ".join(sounds.SUFFIXES)} files or folders of them'
            )
    if rate is None:
        raise UserError('this run has no features of sound that say a rate, such as log_mel')
    names = [
        name
        for path in map(Path, inputs)
        for name in (sounds.below(path) if path.is_dir() else [str(path)])
    ]
    size = spec['audio'][0][0]
    audio, lengths, long, others = np.zeros((len(names), size), np.int16), [], 0, 0
    for row, name in enumerate(names):
        others += sounds.header(name)[1:] != (rate, 1)
        x = sounds.decode(name, rate)
        if len(x) > size and 'audio_length' in spec:
            raise UserError(
                f'{name} lasts {len(x) / rate:.1f} s, this run was trained on {size / rate:.1f} s at '
                'most: cut it into pieces'
            )
        long += len(x) > size
        audio[row], lengths = sounds.fitted(x, size), [*lengths, min(len(x), size)]
    for count, what in ((others, f'converted to one channel of {rate} Hz'), (long, 'cut')):
        if count:
            print(f'{count} of {len(names)} sounds were {what}', file=sys.stderr)
    found = {'audio': audio}
    if 'audio_length' in spec:
        found['audio_length'] = np.array(lengths, np.int32)
    return names, found


def are_arrays(inputs: Iterable[str], spec: Mapping) -> bool:
    """Whether these are files of arrays, which sounds without a length may come from."""
    kinds = {Path(text).suffix.lower() for text in inputs}
    return kinds <= {'.npy', '.npz'} and 'audio_length' not in spec


class Recordings:
    """Sound files, decoded as they are asked for, or once and kept."""

    def __init__(
        self, paths: Sequence[str], fields: Arrays, rate: int, most: int, names: Sequence[str]
    ):
        self._paths, self._fields, self._rate, self._most = paths, fields, rate, most
        self._kept: tuple[np.ndarray, np.ndarray] | None = None
        self.names = names
        self.spec = {
            'audio': ((most,), np.dtype(np.int16)),
            'audio_length': ((), np.dtype(np.int32)),
            **{name: (array.shape[1:], array.dtype) for name, array in fields.items()},
        }
        check = hashlib.sha256(repr((rate, most)).encode())
        for path in paths:
            stat = os.stat(path)
            check.update(f'{path}\0{stat.st_size}\0{stat.st_mtime_ns}'.encode())
        for name, array in sorted(texts.to_file(fields).items()):
            check.update(name.encode() + np.ascontiguousarray(array).tobytes())
        self.fingerprint = check.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        found = self._decoded(indices)
        return {
            'audio': np.stack([sounds.fitted(x, self._most) for x in found]),
            'audio_length': np.array([len(x) for x in found], np.int32),
            **{name: array[indices] for name, array in self._fields.items()},
        }

    def keep(self) -> None:
        """Decodes all now, or finds them as they were decoded before: in a file, without padding."""
        places = np.arange(len(self))
        parts = (places[n : n + ROWS] for n in range(0, len(self), ROWS))
        sounds_of = lambda: (x for part in parts for x in self._decoded(part))
        self._kept = kept.samples(f'samples-{self.fingerprint}', len(self), sounds_of)

    def _decoded(self, indices: np.ndarray) -> list[np.ndarray]:
        """The samples of some, cut where they are too long."""
        if self._kept:
            whole, ends = self._kept
            return [whole[ends[n - 1] if n else 0 : ends[n]] for n in indices.tolist()]
        found: list[np.ndarray] = [np.zeros(0, np.int16)] * len(indices)

        def one(number: int) -> None:
            x = _heard(self._paths[indices[number]], self._rate)
            found[number] = sounds.fitted(x, min(len(x), self._most))

        try:
            images.each(len(indices), one)
        except UserError as error:
            raise UserError(f'{error}; delete it, or {LEAVE_OUT}') from None
        return found


def _heard(path: str, rate: int) -> np.ndarray:
    """A file's samples; silence is refused."""
    x = sounds.decode(path, rate)
    if not x.any():
        raise UserError(f'{path} is silent: all its {len(x)} samples are zero')
    return x


def _whole(owner: str, paths: list[str], numbers: np.ndarray, total: int) -> np.ndarray:
    """Those of the numbers whose files can be decoded and are not silent; says which cannot."""
    fine = np.zeros(len(paths), bool)

    def one(number: int) -> None:
        with contextlib.suppress(UserError):
            _heard(paths[number], 8000)
            fine[number] = True

    images.each(len(paths), one)
    if not fine.any():
        raise UserError(f'none of the {total} sounds of {owner} can be used')
    if fine.sum() < total:
        print(
            f'left out {total - int(fine.sum())} of {total} sounds of {owner} that are damaged or '
            'silent',
            file=sys.stderr,
        )
    return numbers[fine]


def _note(owner: str, total: int, count: int, what: str) -> None:
    if count:
        print(f'{count} of {total} sounds of {owner} {what}', file=sys.stderr)


def _rows(path: Path) -> list[dict[str, str]]:
    """Lines of a list, each with 'path' and 'text'."""
    if path.suffix not in ('.jsonl', '.tsv'):
        raise UserError(f'{path}: expected a .jsonl or a .tsv of path and text')
    lines = whole(path).split('\n')  # a text may hold other marks of a line's end
    if path.suffix == '.tsv':
        try:
            rows = list(csv.DictReader(lines, delimiter='\t', quoting=csv.QUOTE_NONE))
        except csv.Error as error:
            raise UserError(f'{path}: {error}') from None
        if not rows or not {'path', 'text'} <= set(rows[0]):
            raise UserError(f'{path}: its first line must name the columns path and text, by tabs')
    else:
        rows = [_json(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for number, row in enumerate(rows, 1):
        if not all(isinstance(row.get(name), str) for name in ('path', 'text')):
            raise UserError(f'{path}, entry {number}: no path and text')
    if not rows:
        raise UserError(f'{path} names no sounds')
    return rows


def _json(path: Path, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UserError(f'{path}, line {number} is no JSON object')
    return row

"""Sources of texts: what a config's `data` section may bind, see `nnjax.data.sources`."""

from pathlib import Path

import numpy as np

from nnjax import texts
from nnjax.data import split, tfds
from nnjax.data.source import Dataset, Rows, is_share, share
from nnjax.data.text import lines, records
from nnjax.errors import UserError
from nnjax.fields import Count

Pair = tuple[str, str]


def Jsonl(
    path: str,
    valid: str | None = '10%',
    test: str | None = '10%',
    fields: tuple[str, ...] = (),
    label: str | None = None,
    group: str | None = None,
    unique: bool = True,
) -> Dataset:
    """JSON lines, an object a line: texts, numbers, and lists of texts as one text, one a line.

    Args:
      path: the file
      valid: another file, or a share or number held out, or None
      test: another file, or a share or number held out, or None
      fields: those to keep; none means all
      label: field of the class, which becomes 'label'; texts become classes in alphabetical order
      group: field whose equal values stay in one split; shares and numbers are then of its values
      unique: leave out rows that equal an earlier one, before anything is held out
    """
    read = lambda path: lines.objects(Path(path).expanduser())
    paths = {'train': path, 'valid': valid, 'test': test}
    return records.dataset(read, paths, fields, label, group, unique)


def Table(
    path: str,
    valid: str | None = '10%',
    test: str | None = '10%',
    fields: tuple[str, ...] = (),
    label: str | None = None,
    group: str | None = None,
    unique: bool = True,
) -> Dataset:
    """A table of texts with a header: by tabs and without quotes where it ends in .tsv, else CSV.

    Args:
      path: the file
      valid: another file, or a share or number held out, or None
      test: another file, or a share or number held out, or None
      fields: columns to keep; none means all
      label: column of the class, which becomes 'label'; classes are in alphabetical order
      group: column whose equal values stay in one split; shares and numbers are then of its values
      unique: leave out rows that equal an earlier one, before anything is held out
    """
    read = lambda path: lines.table(Path(path).expanduser())
    paths = {'train': path, 'valid': valid, 'test': test}
    return records.dataset(read, paths, fields, label, group, unique)


def Parallel(
    train: Pair,
    valid: Pair | str | None = '10%',
    test: Pair | str | None = '10%',
    unique: bool = True,
) -> Dataset:
    """Two files of text, line by line translations: the fields 'source' and 'target'.

    Where a share is held out, all translations of a source are in one split.

    Args:
      train: file of the sources, file of the targets
      valid: two other files, or a share or number of the different sources held out, or None
      test: two other files, or a share or number of the different sources held out, or None
      unique: leave out pairs that equal an earlier one, before anything is held out
    """
    given = {'train': train, 'valid': valid, 'test': test}
    for what, pair in given.items():
        if isinstance(pair, str) and not is_share(pair):
            raise UserError(
                f"data.{what}={pair!r}: expected two files such as ('a.de', 'a.en'), or a share "
                "such as '10%'"
            )

    names = {w: p if isinstance(p, str | None) else ' and '.join(p) for w, p in given.items()}

    def read(name: str) -> list[dict[str, str]]:
        pair = next(pair for what, pair in given.items() if names[what] == name)
        columns = lines.parallel(*(Path(one).expanduser() for one in pair))
        return [{'source': source, 'target': target} for source, target in zip(*columns)]

    held = any(isinstance(pair, str) for pair in given.values())
    return records.dataset(read, names, group='source' if held else None, unique=unique)


def Text(
    path: str | None = None,
    name: str | None = None,
    length: Count = 256,
    valid: str | None = '5%',
    test: str | None = '5%',
    data_dir: str | None = None,
) -> Dataset:
    """One long text, to predict each character: the field 'text', windows of length + 1 characters.

    A window begins with the last character of the one before, so that each but the first is
    predicted once. The end of the text is test, what is before it validation.

    Args:
      path: a file
      name: or a TFDS set of long texts, such as kjv or tiny_shakespeare; its splits are joined
      length: characters to predict in a window
      valid: share of the text, or number of characters, or None
      test: share of the text, or number of characters, or None
      data_dir: folder of prepared data sets; default is nnjax's and then ~/tensorflow_datasets
    """
    if (path is None) == (name is None):
        raise UserError('sources.Text needs either path=FILE or name=TFDS_NAME')
    whole = lines.whole(Path(path).expanduser()) if path else _joined(name, data_dir)
    rows: dict[str, Rows] = {}
    end = len(whole)
    for what, text in (('test', test), ('valid', valid)):
        if text is not None:
            count = _count(text, len(whole), what)
            rows[what], end = _windows(whole[max(0, end - count) : end], length, what), end - count
    if end < 2:
        raise UserError(
            f'data.valid and data.test leave nothing of {len(whole)} characters to train'
        )
    return Dataset(_windows(whole[:end], length, 'train'), rows.get('valid'), rows.get('test'))


def _joined(name: str, data_dir: str | None) -> str:
    """The texts of all splits of a TFDS set, in the order train, validation, test."""
    opened = tfds.open(name, data_dir)
    order = [n for n in ('train', 'valid', 'validation', 'test') if n in opened.splits]
    pieces = split.parse('+'.join(order or opened.splits), opened.splits, 'data.name')
    found = tfds.sources(opened, {'all': pieces})['all']
    if 'text' not in found.spec:
        raise UserError(f'{name} has no field text (it has: {", ".join(found.spec)})')
    return ''.join(found[np.arange(len(found))]['text'].tolist())


def _count(text: str, size: int, what: str) -> int:
    if not is_share(text):
        raise UserError(f"data.{what}={text!r}: expected a share such as '5%' or a number")
    return share(text, size)


def _windows(text: str, length: int, what: str) -> Rows:
    if len(text) < 2:
        raise UserError(f'the {what} part of the text has {len(text)} characters')
    starts = range(0, len(text) - 1, length)
    return Rows({'text': texts.array(text[start : start + length + 1] for start in starts)})

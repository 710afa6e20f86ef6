"""CSV tables -> arrays: a header, numeric columns, one column of classes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnjax.data.source import Arrays
from nnjax.errors import UserError, unknown


class Table(NamedTuple):
    """A table of examples: 'features' [N, F] and 'label' [N], class names, names of the F columns."""

    arrays: Arrays
    labels: tuple[str, ...]
    columns: tuple[str, ...]


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """A CSV file with a header -> (column names, rows of texts), at least one row.

    Raises:
      UserError: no file, no text, no rows, a row of another length, a column twice.
    """
    if not path.is_file():
        raise UserError(f'no file {path}')
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            header, *rows = [line for line in csv.reader(file) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f'{path} is no CSV text: {error}') from None
    if not rows:
        raise UserError(f'{path} has no rows under a header')
    header = [name.strip() for name in header]
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise UserError(f'{path} has the column {min(twice)!r} twice')
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(f'{path}, line {number}: {len(row)} values under {len(header)} columns')
    return header, rows


def numbers(
    path: Path, header: Sequence[str], rows: list[list[str]], columns: Sequence[str]
) -> np.ndarray:
    """Rows of texts under `header` -> float32 [N, columns], in the order of `columns`.

    Raises:
      UserError: a column that is not there, the place of the first text that is no finite number.
    """
    for name in columns:
        if name not in header:
            raise unknown(f'column of {path}', name, header)
    places = [header.index(name) for name in columns]
    rows = [[row[place] for place in places] for row in rows]
    with np.errstate(over='ignore'):  # beyond float32 is infinite, and refused below
        try:
            table = np.array(rows, np.float64).reshape(len(rows), len(columns)).astype(np.float32)
            if np.isfinite(table).all():
                return table
        except ValueError:
            pass
        for number, row in enumerate(rows, 2):
            for column, text in zip(columns, row):
                place = f'{path}, line {number}, column {column!r}: {text!r}'
                try:
                    value = np.float32(float(text))
                except ValueError:
                    raise UserError(f'{place} is no number') from None
                if not np.isfinite(value):
                    raise UserError(f'{place} is not finite')
    raise AssertionError('unreachable')


def examples(
    path: Path, label: str, ignore: Sequence[str] = (), like: Table | None = None
) -> Table:
    """A CSV file -> its examples: numeric columns are features, column `label` is the class.

    Classes are the different texts of the label, whole numbers in numerical order and before
    others. `like` is a table whose classes and columns this one must have; its own order of columns
    does not matter.

    Raises:
      UserError: besides `read` and `numbers`, an unknown column or class, a missing label.
    """
    header, rows = read(path)
    for name in (label, *ignore):
        if name not in header:
            raise unknown(f'column of {path}', name, header)
    place = header.index(label)
    texts = [row[place].strip() for row in rows]
    if '' in texts:
        raise UserError(f'{path}, line {texts.index("") + 2}: no class in column {label!r}')
    labels = like.labels if like else tuple(sorted(set(texts), key=_natural))
    for text in sorted(set(texts) - set(labels)):
        raise unknown(f'class in {path}', text, labels)
    rest = tuple(name for name in header if name != label and name not in ignore)
    columns = like.columns if like else rest
    if not columns:
        raise UserError(f'{path} has no column besides {label!r}')
    number = {name: n for n, name in enumerate(labels)}
    arrays = {
        'features': numbers(path, header, rows, columns),
        'label': np.array([number[text] for text in texts], np.int32),
    }
    return Table(arrays, labels, columns)


def _natural(text: str) -> tuple[int, int, str]:
    try:
        return 0, int(text), text
    except ValueError:
        return 1, 0, text

"""CSV tables -> arrays: a header, columns of numbers and of categories, what is to be predicted."""

import csv
import importlib.util
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnjax.data.source import Arrays
from nnjax.data.text.lines import whole
from nnjax.errors import UserError, unknown

MISSING = ('', '?', 'na', 'n/a', 'nan', 'null', 'none')  # texts, in any case, that say nothing
MOST = 63  # categories of a column that are told apart: the most frequent


class Texts(NamedTuple):
    """A CSV file: its path, column names, rows of texts, and each row's last line in the file."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> list[str]:
        """A column's texts.

        Raises:
          UserError: there is no such column.
        """
        if name not in self.header:
            raise unknown(f'column of {self.path}', name, self.header)
        place = self.header.index(name)
        return [row[place].strip() for row in self.rows]

    def only(self, places: Sequence[int] | np.ndarray) -> 'Texts':
        """Some of the rows."""
        lines = [self.lines[n] for n in places]
        return self._replace(rows=[self.rows[n] for n in places], lines=lines)


class Table(NamedTuple):
    """A table of examples.

    Attributes:
      arrays: 'features' [N, F], NaN where a value is missing; 'features_categories' [N, K], where a
        column is no number, 0 for what is missing, rare or new; 'label' [N] and 'target' [N, T] as
        far as they were asked for.
      labels: class names.
      columns: names of the F columns.
      categories: {name: its texts} of the K columns; the first is number 1.
      notes: what a reader should know of the columns, a line each.
    """

    arrays: Arrays
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    notes: list[str]


def find(path: str) -> Path:
    """A file's path, or PACKAGE:PATH in an installed Python package, which is not imported.

    Raises:
      UserError: the package is not installed.
    """
    package, colon, rest = path.partition(':')
    if not colon or not re.fullmatch(r'\w+', package) or not rest.endswith('.csv'):
        return Path(path).expanduser()
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f'{path}: the Python package {package} is not there: pip install {package}')
    return Path(found.submodule_search_locations[0]) / rest


def read(path: Path) -> Texts:
    """A CSV file with a header -> its texts, at least one row.

    Raises:
      UserError: no file, no text, no rows, a row of another length, a column twice.
    """
    reader = csv.reader(io.StringIO(whole(path), newline=''))
    try:
        numbered = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise UserError(f'{path} is no CSV text: {error}') from None
    if len(numbered) < 2:
        raise UserError(f'{path} has no rows under a header')
    (_, header), *numbered = numbered
    header = [name.strip() for name in header]
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise UserError(f'{path} has the column {min(twice)!r} twice')
    for line, row in numbered:
        if len(row) != len(header):
            raise UserError(f'{path}, line {line}: {len(row)} values under {len(header)} columns')
    lines, rows = zip(*numbered)
    return Texts(path, header, list(rows), list(lines))


def numbers(texts: Texts, columns: Sequence[str]) -> np.ndarray:
    """Columns -> float32 [N, columns], in their order; NaN where a value is missing.

    Raises:
      UserError: a column that is not there, the place of the first text that is no finite number.
    """
    found = np.zeros((len(texts.rows), len(columns)), np.float32)
    for place, name in enumerate(columns):
        found[:, place] = _numbers(texts, name)
    return found


def _numbers(texts: Texts, name: str) -> np.ndarray:
    column = texts.column(name)
    plain = ['nan' if text.lower() in MISSING else text for text in column]
    with np.errstate(over='ignore'):  # beyond float32 is infinite, and refused below
        try:
            values = np.array(plain, np.float64).astype(np.float32)
        except ValueError:
            values = None
        if values is not None and not np.isinf(values).any():
            return values
        for line, text in zip(texts.lines, plain):
            place = f'{texts.path}, line {line}, column {name!r}: {text!r}'
            if not _is_number(text):
                raise UserError(f'{place} is no number')
            if np.isinf(np.float32(float(text))):
                raise UserError(f'{place} is not finite')
    raise AssertionError('unreachable')


def fit(texts: Texts, names: Iterable[str]) -> None:
    """Refuses a table that lacks one of the training table's columns `names`."""
    lacking = [repr(name) for name in names if name not in texts.header]
    if lacking:
        raise UserError(
            f'{texts.path} lacks the column{"s" * (len(lacking) > 1)} {", ".join(lacking)} of the '
            f'training table (it has: {", ".join(texts.header)})'
        )


def numbered(texts: Texts, categories: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Columns of categories -> int32 [N, columns]; 0 for a text that is none of them."""
    found = np.zeros((len(texts.rows), len(categories)), np.int32)
    for place, (name, known) in enumerate(categories.items()):
        number = {text: n for n, text in enumerate(known, 1)}
        found[:, place] = [number.get(text, 0) for text in texts.column(name)]
    return found


def examples(
    path: Path,
    label: str | None = None,
    ignore: Sequence[str] = (),
    like: Table | None = None,
    target: Sequence[str] = (),
    unique: bool = False,
    train: Callable[[int], np.ndarray] = np.arange,
) -> Table:
    """A CSV file -> its examples; column `label` is the class, columns `target` are to be predicted.

    Any other column is numeric if most of its values are numbers, and then all must be; else its
    texts are categories. Classes are the different texts of the label, whole numbers in numerical
    order and before others. `like` is a table whose classes, columns and categories this one must
    have; its own order of columns does not matter. `unique` leaves out rows that equal an earlier one
    in all that is used of them. `train` chooses of so many rows those to train on, from which kinds
    of columns and categories are learned.

    Raises:
      UserError: besides `read` and `numbers`, an unknown column or class, a missing label or target,
        a column without any value, or of as many texts as a name has.
    """
    texts = read(path)
    wanted = [*([label] if label else []), *target]
    for name in (*wanted, *ignore):
        texts.column(name)
    rest = tuple(name for name in texts.header if name not in (*wanted, *ignore))
    if not rest:
        raise UserError(f'{path} has no column besides {", ".join(map(repr, wanted))}')
    if like:
        rest = (*like.columns, *like.categories)
        fit(texts, rest)
    if unique:
        texts = _unique(texts, (*wanted, *rest))
    arrays, labels = {}, ()
    if label:
        arrays['label'], labels = _classes(texts, label, like and like.labels)
    if target:
        arrays['target'] = _targets(texts, target, like is None)
    if like:
        categories = like.categories
    else:
        learned = texts.only(train(len(texts.rows)))
        categories = {name: kinds for name in rest if (kinds := _categories(learned, name))}
    columns = like.columns if like else tuple(name for name in rest if name not in categories)
    arrays['features'] = numbers(texts, columns)
    if categories:
        arrays['features_categories'] = numbered(texts, categories)
    notes = _notes(texts, columns, categories, arrays)
    return Table(arrays, labels, columns, dict(categories), notes)


def _unique(texts: Texts, names: Sequence[str]) -> Texts:
    """Without the rows that equal an earlier one in the columns `names`."""
    rows = list(zip(*map(texts.column, names)))
    kept = sorted({row: n for n, row in reversed(list(enumerate(rows)))}.values())
    return texts.only(kept)


def _classes(texts: Texts, label: str, known) -> tuple[np.ndarray, tuple[str, ...]]:
    """The classes [N], int32, and their names."""
    column = texts.column(label)
    if '' in column:
        line = texts.lines[column.index('')]
        raise UserError(f'{texts.path}, line {line}: no class in column {label!r}')
    labels = known or tuple(sorted(set(column), key=_natural))
    for text in sorted(set(column) - set(labels)):
        raise unknown(f'class in {texts.path}', text, labels)
    number = {name: n for n, name in enumerate(labels)}
    return np.array([number[text] for text in column], np.int32), labels


def _targets(texts: Texts, target: Sequence[str], train: bool) -> np.ndarray:
    """What is to be predicted, float32 [N, T]."""
    found = numbers(texts, target)
    for name, values in zip(target, found.T):
        if np.isnan(values).any():
            line = texts.lines[int(np.isnan(values).argmax())]
            raise UserError(f'{texts.path}, line {line}: no value in column {name!r}')
        if train and (values == values[0]).all():
            raise UserError(f'{texts.path}: {name!r} is always {values[0]:g}: nothing to predict')
    return found


def _categories(texts: Texts, name: str) -> tuple[str, ...]:
    """The texts of a column that are told apart, sorted; () for a column of numbers."""
    counts = Counter(text for text in texts.column(name) if text.lower() not in MISSING)
    count = counts.total()
    if not count:
        raise UserError(f'{texts.path}: column {name!r} has no value: list it in data.ignore')
    if 2 * sum(counts[text] for text in counts if _is_number(text)) > count:
        return ()
    if len(counts) > MOST and 2 * len(counts) > count:
        raise UserError(
            f'{texts.path}: column {name!r} has {len(counts):,} different texts in {count:,} rows, '
            'as a name has, not a category: list it in data.ignore'
        )
    return tuple(sorted((text for text, _ in counts.most_common(MOST)), key=_natural))


def _notes(texts: Texts, columns, categories: Mapping, arrays: Arrays) -> list[str]:
    notes = []
    for name, values in zip(columns, arrays['features'].T):
        missing = np.isnan(values)
        if missing.any():
            line = texts.lines[int(missing.argmax())]
            notes.append(
                f'{texts.path}: {missing.sum():,} of {len(values):,} values of {name!r} are '
                f"missing, first in line {line}; prepare='impute' fills them"
            )
        elif (values == values[0]).all() and len(values) > 1:
            notes.append(f'{texts.path}: {name!r} is always {values[0]:g}: it tells nothing')
    for name, values in zip(categories, arrays.get('features_categories', np.zeros((0, 0))).T):
        if none := int((values == 0).sum()):
            notes.append(
                f'{texts.path}: {none:,} of {len(values):,} values of {name!r} are missing, rare '
                'or new: one category of their own'
            )
    return notes


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _natural(text: str) -> tuple[int, int, str]:
    try:
        return 0, int(text), text
    except ValueError:
        return 1, 0, text

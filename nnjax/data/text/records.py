"""Rows of texts and numbers -> a dataset: repeated rows left out, groups kept together."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnjax import texts
from nnjax.data import files
from nnjax.data.source import Arrays, Dataset, Rows, Slice, Source, hold_out, is_share
from nnjax.errors import UserError, unknown

Record = Mapping[str, Any]
Split = str | None


def dataset(
    read: Callable[[str], Sequence[Record]],
    paths: Mapping[str, Split],
    fields: Sequence[str] = (),
    label: str | None = None,
    group: str | None = None,
    unique: bool = True,
) -> Dataset:
    """Files of records, one a split -> their Dataset.

    Args:
      read: a file -> its records, all of the same fields.
      paths: a file for train; for valid and test a file, or a share or number held out, or None.
      fields: those to keep; none means all.
      label: the field of the class, which becomes 'label'; texts become classes.
      group: a field whose equal values stay in one split; shares are then of its values.
      unique: leaves out rows of train that equal an earlier one, before anything is held out.

    Raises:
      UserError: an unknown field, a class that train does not have, nothing left.
    """
    own = {what: text for what, text in paths.items() if text and not is_share(text)}
    columns = {what: _columns(read(path), fields, label, group, path) for what, path in own.items()}
    if unique:
        columns['train'] = _unique(columns['train'], own['train'])
    groups = columns['train'].get(group) if group else None
    keep = lambda found: {n: v for n, v in found.items() if n != group or n in fields or not fields}
    arrays = {what: keep(found) for what, found in columns.items()}
    _known_classes(arrays, own)
    splits, labels = files.numeric(arrays, own['train'])
    rows: dict[str, Source] = {what: Rows(found) for what, found in splits.items()}
    number = None if groups is None else np.unique(groups, return_inverse=True)[1]
    for what in ('test', 'valid'):  # in this order, so that test does not depend on valid
        if (text := paths[what]) and what not in rows:
            rows['train'], rows[what], number = _held(rows['train'], number, text, what)
    for what, source in rows.items():
        if source.spec != rows['train'].spec:
            raise UserError(
                f'{own[what]} has the fields {", ".join(source.spec)} of other kinds than '
                f'{own["train"]} with {", ".join(rows["train"].spec)}'
            )
    return Dataset(rows['train'], rows.get('valid'), rows.get('test'), labels)


def _columns(records, fields, label, group, path) -> Arrays:
    """Records -> a column each field; texts have NumPy's fixed width no longer than here."""
    names = [*dict.fromkeys([*fields, *filter(None, (label, group))])] if fields else [*records[0]]
    for name in (*names, *filter(None, (label, group))):
        if name not in records[0]:
            raise unknown(f'field of {path}', name, records[0])
    found = {}
    for name in names:
        values = [record[name] for record in records]
        kinds = {isinstance(value, str) for value in values}
        if len(kinds) > 1:
            row = [isinstance(value, str) for value in values].index(not isinstance(values[0], str))
            raise UserError(f'{path}, row {row + 1}: {name!r} is a text in some rows only')
        text = kinds.pop()
        column = texts.array(values) if text else np.array(values)
        found['label' if name == label else name] = np.array(values) if name == label else column
    return found


def _unique(columns: Arrays, path: str) -> Arrays:
    rows = list(zip(*(column.tolist() for column in columns.values())))
    first = np.array(sorted({row: n for n, row in reversed(list(enumerate(rows)))}.values()))
    if len(first) < len(rows):
        print(
            f'{path}: left out {len(rows) - len(first):,} of {len(rows):,} rows, which equal '
            'earlier ones',
            file=sys.stderr,
        )
    return {name: column[first] for name, column in columns.items()}


def _known_classes(arrays: Mapping[str, Arrays], own: Mapping[str, str]) -> None:
    known = arrays['train'].get('label', np.zeros(0))
    for what, found in arrays.items():
        if 'label' in found and known.dtype.kind == found['label'].dtype.kind == 'U':
            for name in sorted(set(found['label'].tolist()) - set(known.tolist())):
                raise unknown(f'class in {own[what]}', name, set(known.tolist()))


def _held(source: Source, groups: np.ndarray | None, text: str, what: str):
    """-> (the rest, those held out, the groups of the rest)."""
    if groups is None:
        return *hold_out(source, text, what), None
    _, held = hold_out(Rows({'group': np.unique(groups)}), text, what)
    out = np.isin(groups, held[np.arange(len(held))]['group'])
    kept, others = np.flatnonzero(~out), np.flatnonzero(out)
    return Slice(source, kept), Slice(source, others), groups[kept]

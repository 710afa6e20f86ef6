"""Texts to predict: lines of files or of standard input, or fields of JSON lines and tables."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from nnjax import texts
from nnjax.data.source import Arrays
from nnjax.data.text import lines
from nnjax.errors import UserError, unknown

STANDARD = '-'  # in the place of a file


def read(
    inputs: Iterable[str], spec: Mapping[str, tuple], field: str = ''
) -> tuple[list[str], Arrays]:
    """Files -> (a name each, arrays of texts [N]), in the fields of the training split's `spec`.

    A line of a file, or of standard input ('-'), is its own name, and a text of `field`, or of the
    only one there is. An object of JSON lines (.jsonl) and a row of a table (.tsv, .csv) have those
    that they name.

    Raises:
      UserError: what cannot be read, naming the line; files of other fields; lines where `field` is
        none of several.
    """
    known = texts.fields(spec)
    field = known[0] if len(known) == 1 else field
    names: list[str] = []
    found: dict[str, list[str]] = {}
    for text in inputs:
        rows = _records(text, known, field)
        if found and set(rows[0]) != set(found):
            raise UserError(
                f'{text} has the fields {", ".join(rows[0])}, those before it {", ".join(found)}'
            )
        alone = len(rows[0]) == 1
        names += [next(iter(r.values())) if alone else f'{text}:{n}' for n, r in enumerate(rows, 1)]
        for name in rows[0]:
            found.setdefault(name, []).extend(str(row[name]) for row in rows)
    return names, {name: texts.array(values) for name, values in found.items()}


def typed(given: Iterable[str], spec: Mapping[str, tuple]) -> tuple[list[str], Arrays]:
    """'FIELD=TEXT' ... -> the one example that they make.

    Raises:
      UserError: no '=', an unknown field, an empty text.
    """
    known, found = texts.fields(spec), {}
    for text in given:
        name, equals, value = text.partition('=')
        if not equals or not value.strip():
            raise UserError(f"--text={text!r}: expected FIELD=TEXT, such as {known[0]}='...'")
        if name not in known:
            raise unknown('field of text', name, known)
        found[name] = texts.array([value.strip()])
    return [' | '.join(array[0] for array in found.values())], found


def _records(text: str, known: list[str], field: str) -> list[dict]:
    """A file -> its records, each with the same of the `known` fields; a line is a `field`."""
    path, kind = Path(text), Path(text).suffix.lower()
    if text == STANDARD or kind not in ('.jsonl', '.tsv', '.tab', '.csv'):
        if field not in known:
            raise UserError(
                f'{text}: lines have one field, this run reads {", ".join(known)}: name them, in a '
                f".jsonl, .tsv or .csv file or as --text {known[0]}='...'"
            )
        if text != STANDARD:
            return [{field: row} for row in lines.read(path)]
        raw = lines.decoded(sys.stdin.buffer.read(), 'standard input')
        return [{field: row} for row in lines.split(raw, 'standard input')]
    rows = lines.objects(path) if kind == '.jsonl' else lines.table(path)
    mine = [name for name in known if name in rows[0]]
    if not mine:
        raise UserError(f'{path} has none of the fields of text: {", ".join(known)}')
    return [{name: row[name] for name in mine} for row in rows]

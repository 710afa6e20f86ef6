"""Files of text -> lines, rows of a table, JSON objects; what is wrong is named by its line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from nnjax.errors import UserError


def whole(path: Path) -> str:
    """A file's text, see `decoded`.

    Raises:
      UserError: no file, bytes that are no UTF-8, nothing in it.
    """
    if not path.is_file():
        raise UserError(f'no file {path}')
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from None


def decoded(raw: bytes, name: str) -> str:
    """UTF-8 -> its text; a mark of byte order is left out, and ends of lines are '\\n'.

    Raises:
      UserError: bytes that are no UTF-8, nothing in it; the line has the file's `name`.
    """
    try:
        text = raw.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        number = raw.count(b'\n', 0, error.start) + 1
        raise UserError(
            f'{name}, line {number}: byte 0x{raw[error.start]:02x} is not UTF-8; '
            'convert it, as with: iconv -f latin1 -t utf-8'
        ) from None
    if not text.strip():
        raise UserError(f'{name} is empty')
    return text.replace('\r\n', '\n')


def read(path: Path) -> list[str]:
    """A file's lines, without spaces at their ends.

    Raises:
      UserError: besides `whole`, an empty line.
    """
    return split(whole(path), str(path))


def split(text: str, name: str) -> list[str]:
    """A text -> its lines, without spaces at their ends, none of them empty."""
    found = [line.strip() for line in text.removesuffix('\n').split('\n')]
    if '' in found:
        raise UserError(f'{name}, line {found.index("") + 1} is empty')
    return found


def parallel(first: Path, second: Path) -> tuple[list[str], list[str]]:
    """Two files -> their lines, one file's the translations of the other's.

    Raises:
      UserError: besides `read`, files of unequal length.
    """
    left, right = read(first), read(second)
    if len(left) != len(right):
        raise UserError(
            f'{first} has {len(left)} lines, {second} has {len(right)}: '
            'each line must have its translation'
        )
    return left, right


def objects(path: Path) -> list[dict[str, Any]]:
    """JSON lines -> objects of equal keys: texts, numbers, and lists of texts as one text, one a line.

    Raises:
      UserError: besides `read`, a line that is no object, other keys or values.
    """
    found = []
    for number, line in enumerate(read(path), 1):
        place = f'{path}, line {number}'
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f'{place} is no JSON: {error}') from None
        if not isinstance(row, dict):
            raise UserError(
                f'{place}: expected an object such as {{"text": "...", "label": "..."}}'
            )
        if found and set(row) != set(found[0]):
            raise UserError(
                f'{place} has the fields {", ".join(row)}; line 1 has {", ".join(found[0])}'
            )
        found.append({name: _value(value, f'{place}, {name!r}') for name, value in row.items()})
    return found


def _value(value: Any, place: str) -> Any:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = '\n'.join(value)
    if not isinstance(value, str | bool | int | float):
        raise UserError(f'{place}: expected a text, a number or a list of texts')
    if isinstance(value, str) and not value.strip():
        raise UserError(f'{place} is empty')
    return value


def table(path: Path) -> list[dict[str, str]]:
    """A table with a header -> its rows of texts: .tsv by tabs without quotes, else CSV.

    Raises:
      UserError: besides `whole`, a column twice, a row of other length, an empty cell.
    """
    tabs = path.suffix.lower() in ('.tsv', '.tab')
    options = {'delimiter': '\t', 'quoting': csv.QUOTE_NONE} if tabs else {'strict': True}
    reader = csv.reader(io.StringIO(whole(path).rstrip('\n'), newline=''), **options)
    found: list[dict[str, str]] = []
    header: list[str] = []
    try:
        for row in reader:
            place = f'{path}, line {reader.line_num}'
            if not row:
                raise UserError(f'{place} is empty')
            if not header:
                header = [name.strip() for name in row]
                if len(set(header)) < len(header):
                    raise UserError(f'{path} has a column twice: {", ".join(header)}')
                continue
            if len(row) != len(header):
                raise UserError(f'{place}: {len(row)} values under {len(header)} columns')
            cells = [cell.strip() for cell in row]
            if '' in cells:
                raise UserError(f'{place}: no text in column {header[cells.index("")]!r}')
            found.append(dict(zip(header, cells)))
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num}: {error}') from None
    if not found:
        raise UserError(f'{path} has no rows under a header')
    return found

"""Split expressions as TFDS writes them: 'train', 'train[:55000]', 'train[-10%:]', 'train+test'."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nnjax.errors import UserError, nearest

_PIECE = re.compile(r'([\w-]+)(?:\[([^\]:]*):([^\]:]*)\])?')
_BOUND = re.compile(r'(-?\d[\d_]*)|(-?\d+(?:\.\d+)?)%')


class Piece(NamedTuple):
    """Rows low .. high - 1 of a split."""

    split: str
    low: int
    high: int


def parse(text: str, sizes: Mapping[str, int], what: str) -> tuple[Piece, ...]:
    """An expression, {split: examples} -> its pieces; `what` names the field in errors.

    Bounds are row numbers or percentages, rounded to the nearest row; negative ones count from the
    end.

    Raises:
      UserError: an unknown split, a bound beyond its size, no example at all, no expression.
    """
    pieces = tuple(_piece(part.strip(), sizes, f'{what}={text!r}') for part in text.split('+'))
    if overlap(pieces, pieces) != sum(piece.high - piece.low for piece in pieces):
        raise UserError(f'{what}={text!r} holds an example twice')
    return pieces


def overlap(some: Sequence[Piece], others: Sequence[Piece]) -> int:
    """How many examples two expressions share, counted once for each pair of pieces."""
    return sum(
        max(0, min(a.high, b.high) - max(a.low, b.low))
        for a in some
        for b in others
        if a.split == b.split
    )


def _piece(text: str, sizes: Mapping[str, int], place: str) -> Piece:
    found = _PIECE.fullmatch(text)
    if not found:
        raise UserError(f"{place}: expected a split such as 'train', 'train[:5000]', 'train[:80%]'")
    name, low, high = found.groups()
    if name not in sizes:
        raise UserError(f'{place}: the splits are {", ".join(sizes)}{nearest(name, sizes)}')
    size = sizes[name]
    low, high = _bound(low, 0, size, place), _bound(high, size, size, place)
    if not low < high:
        raise UserError(f'{place} is empty ({name} has {size} examples)')
    return Piece(name, low, high)


def _bound(text: str | None, default: int, size: int, place: str) -> int:
    if not (text or '').strip():
        return default
    found = _BOUND.fullmatch(text.strip())
    if not found:
        raise UserError(f'{place}: {text.strip()!r} is no row number or percentage')
    row = int(found[1]) if found[1] else round(float(found[2]) * size / 100)
    if abs(row) > size:
        raise UserError(f'{place}: {text.strip()} is beyond the {size} examples')
    return row + size if row < 0 else row

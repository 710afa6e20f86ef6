"""Lengths of training in any unit: '60 epochs', '5%', '2000 steps', '1000000 examples'."""

import math
import re

from nnjax.errors import UserError

_PATTERN = re.compile(r'\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*(epochs?|steps?|examples?|%)\s*')


def valid(text: str) -> bool:
    """Whether `parse` accepts the text."""
    return bool(_PATTERN.fullmatch(text))


def parse(text: str) -> tuple[float, str]:
    """'5 epochs' -> (5.0, 'epoch'); the unit is one of epoch, step, example, %."""
    match = _PATTERN.fullmatch(text)
    if not match:
        raise UserError(
            f"{text!r} is no duration (write '3 epochs', '5%', '200 steps' or '9000 examples')"
        )
    return float(match[1]), match[2].rstrip('s')


def steps(text: str, *, size: int, batch: int, total: int | None = None) -> int:
    """Duration, examples in the training split, examples in a step, steps in all -> whole steps.

    A part of a step counts as one; '%' is of `total`, so the total itself cannot be a percentage.
    """
    number, unit = parse(text)
    if unit == '%':
        if total is None:
            raise UserError(f'total={text!r} must be in epochs, steps or examples')
        exact = number / 100 * total
    else:
        exact = number * {'epoch': size / batch, 'step': 1, 'example': 1 / batch}[unit]
    return math.ceil(exact - 1e-9)

"""An n-gram of the symbols that a run transcribes, counted in texts, for the beam of tasks.ctc."""

from collections.abc import Iterable

import numpy as np

from nnjax.data.preparation import by_words
from nnjax.data.source import columns
from nnjax.errors import UserError
from nnjax.ops import ctc
from nnjax.training.setup import Setup

MOST = 1 << 26  # numbers in a table


def counted(made: Setup, order: int, lines: Iterable[str] | None = None) -> np.ndarray:
    """Lines of text, by default those of the training split -> log p of a symbol, [V] * order.

    Symbols are the run's, letters or words; others are left out, capitals made small where it has
    none.

    Raises:
      UserError: the run transcribes nothing, no line has a symbol of its, or the table is too
        large.
    """
    field = made.task.texts.get('transcript')
    if field is None:
        raise UserError('an n-gram is for a run of tasks.ctc')
    vocabulary = made.prepare.vocabularies[field]
    size = getattr(made.program.model, 'vocabulary', vocabulary.size)
    if order < 1 or size**order > MOST:
        raise UserError(
            f'order={order}: {size} symbols allow 1 to {int(np.log(MOST) / np.log(size))}'
        )
    if lines is None:
        lines = columns(made.dataset.train, [field])[field].tolist()
    names = vocabulary.names
    number = {name: place for place, name in enumerate(names) if name}
    small = not any(name != name.lower() for name in names)
    whole = by_words(names)
    rows = []
    for line in lines:
        words = (line.lower() if small else line).split()
        symbols = words if whole else ' '.join(words)
        rows.append([number[symbol] for symbol in symbols if symbol in number])
    rows = [row for row in rows if row]
    if not rows:
        raise UserError(f'no line has a symbol that this run writes: {"".join(number)!r}')
    ids = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return ctc.counted(ids, np.array([len(row) for row in rows]), size, order)

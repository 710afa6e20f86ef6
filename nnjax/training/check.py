"""Examples that nothing can be learned from, found on the host before a run begins."""

from collections.abc import Callable

import numpy as np

from nnjax.data.description import SPLITS, Described
from nnjax.data.preparation import FIT_BYTES
from nnjax.data.source import ROWS, Arrays, Dataset
from nnjax.errors import UserError

Check = Callable[[Arrays], tuple[int, str] | None]  # arrays [N, ...] -> (a bad row, what of it)


def examples(dataset: Dataset, check: Check, size: int) -> None:
    """Refuses the first example that `check` finds, by its split and row.

    Of a split of more than 256 MiB, `size` bytes an example, so much of it is read, evenly spaced.

    Raises:
      UserError: there is one.
    """
    for split in SPLITS:
        source = getattr(dataset, split)
        if source is None or isinstance(source, Described):
            continue
        count = min(len(source), max(1, FIT_BYTES // max(1, size)))
        rows = np.arange(count) * len(source) // count
        for start in range(0, count, ROWS):
            some = rows[start : start + ROWS]
            if found := check(source[some]):
                row, what = found
                raise UserError(f'{split} example {some[row]}: {what}')

"""What is said once for each split that is read, however many parts it is read in."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Split:
    """Rows that are read in parts, for what is said of them.

    Attributes:
      name, size: of the split, and how many rows it has.
      read: {what: how many rows of it were read without a cut one, None once one was said}.
    """

    def __init__(self, name: str, size: int):
        self.name, self.size, self.read = name, size, {}


_SPLIT: ContextVar[Split | None] = ContextVar('split', default=None)


@contextlib.contextmanager
def reading(split: Split) -> Iterator[None]:
    """What is filled inside is of this split."""
    token = _SPLIT.set(split)
    try:
        yield
    finally:
        _SPLIT.reset(token)


def now() -> Split | None:
    """The split that is being read here."""
    return _SPLIT.get()

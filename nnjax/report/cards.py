"""What a page shows of a task's predictions: sections of cards, as `page` lays them out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nnjax.report.folder import Run
from nnjax.report.svg import Markup


@dataclasses.dataclass(frozen=True)
class Card:
    """A picture with a title, a word beside it and a note below; `full` is as wide as the page."""

    title: str
    body: Markup
    key: str = ''
    note: str = ''
    full: bool = False


class Section(NamedTuple):
    """Cards under one heading; `id` is the page's anchor."""

    id: str
    title: str
    cards: Sequence[Card]


def sections(run: Run) -> list[Section]:
    """Whatever the run's predictions contain; each kind looks for its own."""
    from nnjax.report import codes, numbers, rates, scenes

    kinds: tuple[Callable[[Run], list[Section]], ...] = (
        numbers.sections,
        codes.sections,
        rates.sections,
        scenes.sections,
    )
    return [section for kind in kinds for section in kind(run)]

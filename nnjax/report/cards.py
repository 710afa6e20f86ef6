"""Sections of cards, as `page` lays them out."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

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

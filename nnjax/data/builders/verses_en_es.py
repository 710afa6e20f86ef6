"""Bible verses, English to Spanish, as a TFDS data set, from two Debian packages."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnjax.data.builders import made, sword
from nnjax.data.text import duplicates

SHARE = 20  # one verse of so many for validation and for test


def builder(source: str | None = None):
    """Folder with both modules -> the builder class.

    Raises:
      UserError: one is not there.
    """
    paths = [sword.folder('verses_en_es', module, source) for module in sword.MODULES]
    examples = functools.cache(lambda: _split(*paths))
    return made.builder(
        'verses_en_es',
        'Real texts, in the public domain: verses of the King James Bible and of Reina-Valera '
        '(1909). Pairs whose lengths differ by more than a factor of two are left out, equal pairs '
        'are kept once, and verses that are nearly alike in English are in one split.',
        {'source': str, 'target': str},
        {name: lambda name=name: examples()[name] for name in ('train', 'valid', 'test')},
    )


def _split(english: Path, spanish: Path) -> dict[str, list[dict]]:
    found = pairs(sword.verses(english), sword.verses(spanish))
    groups = duplicates.groups([source for source, _ in found])
    share = len(found) // SHARE
    parts = zip(('test', 'valid', 'train'), duplicates.apart(groups, [share, share]))
    return {name: list(_examples(found, rows)) for name, rows in parts}


def _examples(found: list[tuple[str, str]], rows: np.ndarray) -> Iterator[dict]:
    for row in rows:
        source, target = found[row]
        yield {'source': source, 'target': target}


def pairs(english: list[str], spanish: list[str]) -> list[tuple[str, str]]:
    """Verses of the same places -> different pairs that may be translations of each other."""
    found = dict.fromkeys(zip(english, spanish, strict=True))
    return [(a, b) for a, b in found if a and b and 0.5 <= len(b) / len(a) <= 2]

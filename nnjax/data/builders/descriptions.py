"""Descriptions of Debian's packages, English to German, French and Italian, as a TFDS data set."""

import functools
import os
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnjax.data.builders import made
from nnjax.data.text import duplicates
from nnjax.errors import UserError

LANGUAGES = ('de', 'fr', 'it')
HELPER = '/usr/lib/apt/apt-helper'
COMMAND = f'apt-get update -o Acquire::Languages=en,{",".join(LANGUAGES)}'
SHARE = 20  # one package of so many for validation and for test
Description = tuple[str, list[str]]  # package, paragraphs


def builder(source: str | None = None):
    """Folder of apt's lists -> the builder class.

    Raises:
      UserError: the descriptions of a language are not there.
    """
    folder = Path(source or Path(os.environ.get('NNJAX_DEB_ROOT') or '/') / 'var/lib/apt/lists')
    english, *others = (_find(folder, language) for language in ('en', *LANGUAGES))
    origin = functools.cache(lambda: read(english, 'en'))

    @functools.cache
    def parts(number: int) -> dict[str, list[dict]]:
        return split(sentences(origin(), read(others[number], LANGUAGES[number])))

    def of(number: int, what: str):
        return lambda: parts(number)[what]

    return made.builder(
        'descriptions',
        'Real texts: sentences of the descriptions of Debian packages and their translations by '
        'the Debian Description Translation Project; each has its own licence, so do not publish '
        'them. Splits de, de_valid, de_test and so on for fr and it. A package is in one of '
        'training, valid and test for all languages; valid and test have no sentence that is nearly '
        'one of training in their language.',
        {'source': str, 'target': str},
        {
            language + what: of(number, what)
            for number, language in enumerate(LANGUAGES)
            for what in ('', '_valid', '_test')
        },
        version='2.0.0',
    )


def _find(folder: Path, language: str) -> Path:
    found = sorted(
        folder.glob(f'*_main_i18n_Translation-{language}*'), key=lambda p: -p.stat().st_size
    )
    if not found:
        raise UserError(
            f'descriptions is not prepared: no Translation-{language} in {folder}; run: {COMMAND}'
        )
    return found[0]


def read(path: Path, language: str) -> dict[str, Description]:
    """apt's list of descriptions -> {hash of the English one: package and plain paragraphs}.

    The first paragraph is the short description; lists and tables are left out, as ''.

    Raises:
      UserError: a packed list that apt's own helper cannot read.
    """
    if path.suffix in ('.lz4', '.xz', '.gz', '.bz2', '.zst'):
        try:
            raw = subprocess.run([HELPER, 'cat-file', path], capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f'{path} cannot be read by {HELPER}: {error}') from None
    else:
        raw = path.read_bytes()
    found = {}
    for entry in raw.decode('utf-8', 'replace').split('\n\n'):
        name = re.search(r'^Package: (.*)$', entry, re.M)
        digest = re.search(r'^Description-md5: (\w+)$', entry, re.M)
        text = re.search(rf'^Description-{language}: (.*(?:\n .*)*)', entry, re.M)
        if name and digest and text:
            short, _, long = text[1].partition('\n')
            found[digest[1]] = (
                name[1],
                [short, *map(_paragraph, re.split(r'^ \.$', long, flags=re.M))],
            )
    return found


def _paragraph(text: str) -> str:
    lines = [line[1:] for line in text.split('\n') if line.strip()]
    listed = any(re.match(r'[\s*-]', line) for line in lines)
    return '' if listed else ' '.join(' '.join(lines).split())


def sentences(
    origin: dict[str, Description], translated: dict[str, Description]
) -> list[tuple[str, str, str]]:
    """Descriptions -> (package, English sentence, translation), each English sentence once.

    Paragraphs are matched by number, and sentences within a paragraph; where numbers differ, or the
    lengths by more than a factor of two, or nothing is translated, the pair is left out.
    """
    found: dict[str, tuple[str, str, str]] = {}
    for digest, (package, paragraphs) in translated.items():
        theirs = origin.get(digest, ('', []))[1]
        if len(theirs) != len(paragraphs):
            continue
        for ours, other in zip(theirs, paragraphs):
            pairs = _sentences(ours), _sentences(other)
            if len(pairs[0]) == len(pairs[1]):
                for a, b in zip(*pairs):
                    if a and b and a != b and 0.5 <= len(b) / len(a) <= 2:
                        found.setdefault(a, (package, a, b))
    return list(found.values())


def _sentences(paragraph: str) -> list[str]:
    return [part.strip() for part in re.split(r'(?<=[.!?]) +(?=[A-ZÄÖÜÉÈÀ])', paragraph)]


def split(found: list[tuple[str, str, str]]) -> dict[str, list[dict]]:
    """Sentences with their packages -> train '', '_valid' and '_test', by a hash of the package."""
    rank = np.array([zlib.crc32(name.encode()) for name, _, _ in found])
    part = np.minimum(rank * SHARE >> 32, 2)  # 0 test, 1 validation, 2 train
    groups = duplicates.groups([source for _, source, _ in found])
    latest = np.zeros(groups.max() + 1, np.int64)
    np.maximum.at(latest, groups, part)
    keep = part == latest[groups]  # what a later part also has is left out

    def rows(number: int) -> Iterator[dict]:
        for row in np.flatnonzero(keep & (part == number)):
            yield {'source': found[row][1], 'target': found[row][2]}

    return {name: list(rows(n)) for n, name in enumerate(('_test', '_valid', ''))}

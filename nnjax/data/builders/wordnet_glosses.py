"""WordNet's definitions of nouns in 25 classes as a TFDS data set, from Debian's wordnet-base."""

import functools
import re
from pathlib import Path

from nnjax.data.builders import made
from nnjax.data.text import duplicates
from nnjax.errors import UserError

# The lexicographer files 04 .. 28 of lexnames(5WN).
CLASSES = (
    'act animal artifact attribute body cognition communication event feeling food group location '
    'motive object person phenomenon plant possession process quantity relation shape state '
    'substance time'
).split()
FIRST = 4  # the file of the first class
TEST = 12_000


def builder(source: str | None = None):
    """Folder with data.noun -> the builder class.

    Raises:
      UserError: it is not there.
    """
    path = made.debian('wordnet_glosses', 'wordnet-base', 'usr/share/wordnet', source, 'data.noun')
    found = functools.cache(lambda: _split(unique(glosses(path / 'data.noun'))))
    return made.builder(
        'wordnet_glosses',
        'Real texts: the glosses of WordNet 3.0 nouns (Princeton University), without their '
        'examples; the class is the lexicographer file. A gloss that occurs twice is kept once, '
        'one with two classes not at all. 12,000 for test, none of them nearly a gloss of '
        'train.',
        {'text': str, 'label': CLASSES},
        {name: lambda name=name: found()[name] for name in ('train', 'test')},
        version='1.1.0',
    )


def _split(found: list[tuple[str, int]]) -> dict[str, list[dict]]:
    groups = duplicates.groups([text for text, _ in found])
    parts = zip(('test', 'train'), duplicates.apart(groups, [min(TEST, len(found) // 5)]))
    return {
        name: [{'text': found[row][0], 'label': found[row][1]} for row in rows.tolist()]
        for name, rows in parts
    }


def glosses(file: Path) -> list[tuple[str, int]]:
    """data.noun, see wndb(5WN) -> (definition without examples, class) of every noun that has one."""
    found = []
    for number, line in enumerate(file.read_text(encoding='utf-8').split('\n'), 1):
        if not line or line.startswith('  '):  # the licence
            continue
        fields, bar, gloss = line.partition(' | ')
        parts = fields.split()
        if not bar or len(parts) < 5 or not parts[1].isdigit():
            raise UserError(f'{file}, line {number}: no line of data.noun')
        if 0 <= (label := int(parts[1]) - FIRST) < len(CLASSES):
            found.append((gloss.split('; "')[0].strip(), label))
    return found


def unique(examples: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Examples of different words, in their order; texts of two classes are left out."""
    labels: dict[str, set[int]] = {}
    key = lambda text: ' '.join(re.findall(r'\w+', text.lower()))
    for text, label in examples:
        labels.setdefault(key(text), set()).add(label)
    seen = {words for words, classes in labels.items() if len(classes) > 1}
    kept = []
    for text, label in examples:
        if key(text) and key(text) not in seen:
            seen.add(key(text))
            kept.append((text, label))
    return kept

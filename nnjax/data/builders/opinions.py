"""Opinions, good or bad, as a TFDS data set: generated, and such that the order of words matters."""

import random
from collections.abc import Callable, Iterator

from nnjax.data.builders import made

CLASSES = ('bad', 'good')
THINGS = 'soup bread coffee room bed view waiter price music garden pool breakfast'.split()
VERBS = 'was seemed felt'.split()
WORDS = (
    'awful boring cold dirty dull poor sad terrible'.split(),
    'charming clean fine fresh great lovely perfect warm'.split(),
)
STRENGTHS = ['', 'really ', 'very ', 'quite ']
NEGATIONS = ['not ', 'never ', 'hardly ', 'far from ']
# What two opinions that differ are joined by; {b} is the one that counts.
TURNS = ['{a}, but {b}', '{a}, yet {b}', 'although {a}, {b}', '{b}, although {a}']
SPLITS = {'train': 4_000, 'valid': 500, 'test': 1_000}


def clause(rng: random.Random, label: int, unseen: bool) -> str:
    """An opinion of that class. A quarter of the pairs of modifier and word is met in test alone."""
    pick = lambda items: items[int(rng.random() * len(items))]
    negated = rng.random() < 0.5
    pairs = [
        modifier + word
        for i, modifier in enumerate(NEGATIONS if negated else STRENGTHS)
        for j, word in enumerate(WORDS[label != negated])
        if (i == j % 4) == unseen
    ]
    return f'the {pick(THINGS)} {pick(VERBS)} {pick(pairs)}'


def opinion(rng: random.Random, label: int, unseen: bool) -> str:
    """One opinion, two that agree, or two that differ, the second of which counts."""
    form = rng.random()
    counts = clause(rng, label, unseen)
    if form < 0.25:
        return counts
    if form < 0.5:
        return f'{clause(rng, label, unseen)} and {counts}'
    turn = TURNS[int(rng.random() * len(TURNS))]
    return turn.format(a=clause(rng, 1 - label, unseen), b=counts)


def examples(split: str) -> Iterator[dict]:
    """A split's examples, the classes in turn; no text occurs twice, in it or in train."""
    rng, count = random.Random(f'opinions {split}'), 0
    seen = {row['text'] for row in examples('train')} if split == 'valid' else set()
    while count < SPLITS[split]:
        label = count % 2
        text = opinion(rng, label, split == 'test')
        if text not in seen:
            seen.add(text)
            count += 1
            yield {'text': text, 'label': label}


def builder(source: str | None = None):
    """-> the builder class; nothing is read, so `source` has no meaning."""

    def of(split: str) -> Callable[[], Iterator[dict]]:
        return lambda: examples(split)

    return made.builder(
        'opinions',
        'Generated: 4,000 + 500 + 1,000 sentences of one or two opinions, with negations and '
        'contrasts. Each opinion in test joins a modifier and a word that training never joins.',
        {'text': str, 'label': CLASSES},
        {split: of(split) for split in SPLITS},
        version='1.1.0',
    )

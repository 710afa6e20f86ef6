"""Questions about short stories, after bAbI (Weston et al., 2015), as a TFDS data set: generated."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nnjax.data.builders import made

PEOPLE = 'Mary John Sandra Daniel Fred Julie Bill Emma'.split()
PLACES = 'kitchen garden office bathroom hallway bedroom park school'.split()
THINGS = 'apple football milk book key lamp'.split()
# A sentence is a verb and a manner. Those of equal place in both lists are met in test alone.
MOVE = 'moved went travelled journeyed'.split(), ['', ' back', ' quickly', ' straight']
TAKE = ['picked up', 'took', 'grabbed'], ['', ' there']
DROP = ['dropped', 'put down', 'left'], ['', ' there']
# Sentences, where they are not 6 to 14. From short stories it is learned what is asked: where most
# are long, a network finds no more than that the answer is a place. So `train` has more of them.
LENGTHS = {'train': (2, 14), 'long': (15, 24)}
SKEW = {'train': 2}  # the power of an even draw that makes the length, where it is not 1
SPLITS = {'train': 50_000, 'valid': 1_000, 'test': 1_000, 'long': 1_000}


class Found(NamedTuple):
    """Where a person or thing is: a place, and where in the story it is written."""

    place: str
    start: int


class Story:
    """A story being told: its text, who is where, who has what, and where things lie."""

    def __init__(self, rng: random.Random, unseen: bool):
        self._rng, self._unseen = rng, unseen
        self.text = ''
        self.people: dict[str, Found] = {}
        self._has: dict[str, str] = {}  # person: thing
        self._lies: dict[str, Found] = {}

    @property
    def things(self) -> dict[str, Found]:
        """Things that someone has touched; who has a thing takes it along."""
        return self._lies | {thing: self.people[who] for who, thing in self._has.items()}

    def go_on(self) -> None:
        """One more sentence."""
        who, chance = self._pick(PEOPLE), self._rng.random()
        if who in self._has and chance < 0.4:
            self._lies[self._has[who]] = self.people[who]
            self._tell(DROP, f'{who} {{}} the {self._has.pop(who)}{{}}.')
        elif (near := self._near(who)) and who not in self._has and chance < 0.25:
            self._has[who] = thing = self._pick(near)
            self._lies.pop(thing, None)
            self._tell(TAKE, f'{who} {{}} the {thing}{{}}.')
        else:
            here = self.people[who].place if who in self.people else ''
            place = self._pick([place for place in PLACES if place != here])
            self._tell(MOVE, f'{who} {{}}{{}} to the {place}.')
            self.people[who] = Found(place, len(self.text) - len(place) - 1)

    def _near(self, who: str) -> list[str]:
        """Things that are where a person is; those never mentioned may be anywhere."""
        if who not in self.people:
            return []
        here, had = self.people[who], self._has.values()
        return [t for t in THINGS if t not in had and self._lies.get(t, here).place == here.place]

    def _tell(self, template: tuple[Sequence[str], Sequence[str]], sentence: str) -> None:
        pairs = [
            (verb, manner)
            for i, verb in enumerate(template[0])
            for j, manner in enumerate(template[1])
            if (i == j) == self._unseen
        ]
        self.text += ' ' * bool(self.text) + sentence.format(*self._pick(pairs))

    def _pick(self, items: Sequence):
        return items[int(self._rng.random() * len(items))]


def question(
    rng: random.Random, sentences: tuple[int, int], unseen: bool, thing: bool, skew: int = 1
) -> dict:
    """A story of that many sentences and a question, about a thing (two facts) or a person (one)."""
    low, high = sentences
    # Drawn once: a story without what is asked about is told anew as long as it was, for things
    # are rare in short stories, and it is from these that two facts are joined first.
    length = low + int(rng.random() ** skew * (high - low + 1))
    while True:
        story = Story(rng, unseen)
        for _ in range(length):
            story.go_on()
        known = story.things if thing else story.people
        if known:
            asked = sorted(known)[int(rng.random() * len(known))]
            return {
                'context': story.text,
                'question': f'Where is {"the " * thing}{asked}?',
                'answer': known[asked].place,
                'answer_start': known[asked].start,
            }


def examples(split: str) -> Iterator[dict]:
    """A split's examples, half of them about things; no story occurs twice in it."""
    rng, seen = random.Random(f'stories {split}'), set()
    length, skew = LENGTHS.get(split, (6, 14)), SKEW.get(split, 1)
    while len(seen) < SPLITS[split]:
        found = question(rng, length, split == 'test', bool(len(seen) % 2), skew)
        if found['context'] not in seen:
            seen.add(found['context'])
            yield found


def builder(source: str | None = None):
    """-> the builder class; nothing is read, so `source` has no meaning."""

    def of(split: str) -> Callable[[], Iterator[dict]]:
        return lambda: examples(split)

    return made.builder(
        'stories',
        'Generated: stories of 6 to 14 sentences, in training 2 to 14 and more of them short, about '
        'people, places and things, and a question whose answer is a place in the sentence that '
        'says it. Every sentence of `test` joins a verb and a manner that training never joins; '
        'stories of `long` have 15 to 24 sentences.',
        {'context': str, 'question': str, 'answer': str, 'answer_start': int},
        {split: of(split) for split in SPLITS},
        version='1.3.0',
    )

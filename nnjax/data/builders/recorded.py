"""What the sets of recorded speech have in common: files and texts -> splits of examples."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nnjax.data import sounds
from nnjax.data.builders import made
from nnjax.data.order import permutation
from nnjax.errors import UserError

Utterances = list[tuple[Path, str]]
SHARES = {'test': (0.0, 0.15), 'valid': (0.15, 0.25), 'train': (0.25, 1.0)}


def builder(name: str, about: str, utterances: Callable[[], Utterances], rate: int, seconds: int):
    """-> a builder class of the utterances that last no longer than `seconds`.

    Every text is there once, so that no text is in two splits; splits are a permutation of seed 0.
    """

    @functools.cache
    def found() -> Utterances:
        texts: dict[str, Path] = {}
        for path, text in utterances():
            head = sounds.header(path)
            if text and head.samples <= seconds * head.rate:
                texts.setdefault(text, path)
        if not texts:
            raise UserError(f'{name} cannot be prepared: none of its sounds has a text')
        rows = sorted(texts.items())
        places = np.arange(len(rows))
        order = permutation(0, np.zeros_like(places), places, len(rows))
        return [(rows[n][1], rows[n][0]) for n in order]

    def examples(split: str) -> Iterator[dict]:
        low, high = (round(share * len(found())) for share in SHARES[split])
        for path, text in found()[low:high]:
            x = sounds.decode(path, rate)[: seconds * rate]
            yield {
                'audio': np.pad(x, (0, seconds * rate - len(x))),
                'audio_length': len(x),
                'text': text,
            }

    splits = {split: functools.partial(examples, split) for split in ('train', 'valid', 'test')}
    fields = {'audio': seconds * rate, 'audio_length': int, 'text': str}
    return made.builder(name, about, fields, splits)

"""Asterisk's English prompts and their transcripts as a TFDS data set, from two Debian packages."""

import gzip
import re
from pathlib import Path

from nnjax.data.builders import made, recorded

RATE, SECONDS = 8000, 6
FOLDER = 'usr/share/asterisk/sounds/en_US_f_Allison'
TEXTS = 'usr/share/doc/asterisk-core-sounds-en'
DIGITS = 'zero one two three four five six seven eight nine'.split()


def builder(source: str | None = None):
    """Root of the unpacked packages -> the builder class.

    Raises:
      UserError: a package is not there.
    """
    root = Path(source) if source else None
    name, package = 'asterisk_prompts', 'asterisk-core-sounds-en'
    at = lambda folder: str(root / folder) if root else None
    listed = made.debian(name, package, TEXTS, at(TEXTS), 'core-sounds-en.txt.gz')
    folder = made.debian(name, f'{package}-wav', FOLDER, at(FOLDER), 'activated.wav')

    def utterances() -> recorded.Utterances:
        lines = gzip.decompress((listed / 'core-sounds-en.txt.gz').read_bytes())
        rows = (line.partition(':') for line in lines.decode(errors='replace').splitlines())
        found = ((folder / f'{key.strip()}.wav', plain(text)) for key, colon, text in rows if colon)
        return [(path, text) for path, text in found if path.is_file() and text]

    return recorded.builder(
        name,
        "Real speech: one talker's telephone prompts of at most 6 s, 8 kHz (CC-BY-SA 3.0), stage "
        'directions and prompts with other numbers than digits left out.',
        utterances,
        RATE,
        SECONDS,
    )


def plain(text: str) -> str:
    """A transcript -> lower case letters, apostrophes and spaces; '' where it is not what is said."""
    text = re.sub(r'\[.*?\]|\(.*?\)|<.*?>', ' ', text.lower())
    text = re.sub(r'\b\d\b', lambda found: DIGITS[int(found[0])], text)
    return '' if re.search(r'\d', text) else ' '.join(re.sub(r"[^a-z']+", ' ', text).split())

"""The Czech dialogues of the game Fish Fillets as a TFDS data set, from two Debian packages."""

import re
from pathlib import Path

from nnjax.data.builders import made, recorded

RATE, SECONDS = 8000, 6
FOLDER = 'usr/share/games/fillets-ng'
PACE = (2.3, 17.0)  # letters a second: a subtitle beyond is not what is said
LINE = re.compile(
    r'dialogId\(\s*"([^"]+)"\s*,\s*"[^"]*"\s*,\s*"(?:[^"\\]|\\.)*"\s*\)\s*'
    r'dialogStr\(\s*"((?:[^"\\]|\\.)*)"\s*\)',
    re.DOTALL,
)


def builder(source: str | None = None):
    """Folder of the game's data -> the builder class.

    Raises:
      UserError: a package is not there.
    """
    name = 'fillets_dialogues'
    folder = made.debian(name, 'fillets-ng-data', FOLDER, source, 'script/airplane/dialogs_cs.lua')
    made.debian(name, 'fillets-ng-data-cs', FOLDER, source, 'sound/airplane/cs/let-m-divna.ogg')
    return recorded.builder(
        name,
        'Real speech, acted, with effects: Czech lines of at most 6 s, 8 kHz, and their subtitles, '
        'which may differ from what is said (GPL-2).',
        lambda: utterances(folder),
        RATE,
        SECONDS,
    )


def utterances(folder: Path) -> recorded.Utterances:
    """Every line that has a sound and a subtitle of a likely length."""
    from nnjax.data import sounds

    found = []
    for script in sorted(folder.glob('script/*/dialogs_cs.lua')):
        for name, text in LINE.findall(script.read_text('utf-8', 'replace')):
            path = folder / 'sound' / script.parent.name / 'cs' / f'{name}.ogg'
            if path.is_file():
                head = sounds.header(path)
                said = ' '.join(re.sub(r'[^\w ]+|[\d_]', ' ', text.lower()).split())
                if PACE[0] <= len(said) * head.rate / head.samples <= PACE[1]:
                    found.append((path, said))
    return found

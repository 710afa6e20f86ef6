"""The King James Bible as one long text, a TFDS data set, from Debian's sword-text-kjv."""

from nnjax.data.builders import made, sword


def builder(source: str | None = None):
    """Folder with the module engKJV2006eb -> the builder class.

    Raises:
      UserError: it is not there.
    """
    path = sword.folder('kjv', 'engKJV2006eb', source)
    return made.builder(
        'kjv',
        'Real text, in the public domain: the King James Bible, a verse a line, 4.1 million '
        'characters. The last twentieth is test, the one before it validation.',
        {'text': str},
        {
            'train': lambda: _part(path, 0, 18),
            'valid': lambda: _part(path, 18, 19),
            'test': lambda: _part(path, 19, 20),
        },
    )


def _part(path, low: int, high: int) -> list[dict]:
    """The characters from `low` to `high` twentieths."""
    text = '\n'.join(verse for verse in sword.verses(path) if verse)
    return [{'text': text[len(text) * low // 20 : len(text) * high // 20]}]

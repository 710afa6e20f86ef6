"""Number words, English to German, as a TFDS data set: generated, exact, compositional."""

from collections.abc import Iterator

from nnjax.data.builders import made

COUNT = 10_000
UNITS = (
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen '
    'fifteen sixteen seventeen eighteen nineteen'
).split()
TENS = '_ _ twenty thirty forty fifty sixty seventy eighty ninety'.split()
EINER = (
    'null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn '
    'fünfzehn sechzehn siebzehn achtzehn neunzehn'
).split()
ZEHNER = '_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig'.split()


def english(number: int) -> str:
    """0 .. 9999 in words: 'two thousand, three hundred and forty-five'."""
    thousands, rest = divmod(number, 1000)
    if thousands and not rest:
        return f'{UNITS[thousands]} thousand'
    if thousands:
        joint = ', ' if rest >= 100 else ' and '
        return f'{UNITS[thousands]} thousand{joint}{english(rest)}'
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f'{UNITS[hundreds]} hundred' + (f' and {english(rest)}' if rest else '')
    tens, units = divmod(number, 10)
    if number < 20:
        return UNITS[number]
    return TENS[tens] + (f'-{UNITS[units]}' if units else '')


def german(number: int) -> str:
    """0 .. 9999 in words: 'zweitausenddreihundertfünfundvierzig'."""
    if not number:
        return EINER[0]
    thousands, hundreds, rest = number // 1000, number // 100 % 10, number % 100
    head = (f'{_ein(thousands)}tausend' if thousands else '') + (
        f'{_ein(hundreds)}hundert' if hundreds else ''
    )
    tens, units = divmod(rest, 10)
    if rest < 20:
        return head + (EINER[rest] if rest else '')
    return head + (f'{_ein(units)}und' if units else '') + ZEHNER[tens]


def _ein(digit: int) -> str:
    """A digit before 'tausend', 'hundert' or 'und'."""
    return 'ein' if digit == 1 else EINER[digit]


def split(number: int) -> str:
    """Which split a number belongs to, by its digits of the hundreds and of the units.

    16 pairs of them are met in the test alone, four others in validation; each digit is met in
    training in other pairs.
    """
    hundreds, units = number // 100 % 10, number % 10
    if 1 <= hundreds <= 8 and units:
        turn = (units - 2 * hundreds) % 9
        if turn in (0, 4):
            return 'test'
        if turn == 7 and hundreds % 2:
            return 'valid'
    return 'train'


def builder(source: str | None = None):
    """-> the builder class; nothing is read, so `source` has no meaning."""
    return made.builder(
        'number_words',
        'Generated: 0 to 9,999 in English and German words; 8,000 for training, 400 for validation '
        'and 1,600 for test, whose pairs of hundreds and units no other split has.',
        {'source': str, 'target': str},
        {name: lambda name=name: _examples(name) for name in ('train', 'valid', 'test')},
    )


def _examples(name: str) -> Iterator[dict]:
    for number in range(COUNT):
        if split(number) == name:
            yield {'source': english(number), 'target': german(number)}

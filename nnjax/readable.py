"""Numbers and times as people read them, and which scores lead where there is room for a few."""

from collections.abc import Iterable, Mapping

LEADING = (
    'wer',
    'cer',
    'exact_match',
    'bleu',
    'f1',
    'bits_per_character',
    'accuracy',
    'macro_f1',
    'nmi',
    'r2',
    'rmse',
    'elbo',
    'AP',
    'AP50',
    'AP75',
    'eer',
    'tar_at_far_1e-3',
    'auc',
    'mse',
    'loss',
)


def human(number: float, unit: str = '') -> str:
    """1234567 -> '1.2 M'; with unit 'B' in powers of 1024: '1.2 MiB'."""
    base, infix = (1024, 'i') if unit else (1000, '')
    power = 0
    while round(number, 1) >= base and power < 6:
        number, power = number / base, power + 1
    digits = f'{number:.0f}' if not power or number >= 99.95 else f'{number:.1f}'
    prefix = ' kMGTPE'[power].strip()
    return f'{digits} {prefix.upper() + infix if unit and prefix else prefix}{unit}'.rstrip()


def duration(seconds: float) -> str:
    """0.00021 -> '0.21 ms'; 75 -> '1 min 15 s'; 7500 -> '2 h 5 min'."""
    if seconds < 0.0995:
        return f'{seconds * 1000:.2g} ms'
    if seconds < 0.9995:
        return f'{seconds * 1000:.0f} ms'
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'


def leading(names: Iterable[str]) -> list[str]:
    """Names of scores, those that say most first; the others keep their order."""
    return sorted(names, key=lambda name: LEADING.index(name) if name in LEADING else len(LEADING))


def scores(record: Mapping, most: int) -> str:
    """A line of metrics.jsonl -> 'loss 0.05  accuracy 0.99': the loss and `most` that lead."""
    names = [n for n in LEADING if n != 'loss' and record.get(n) is not None][:most]
    if record.get('loss') is not None:
        names.insert(0, 'loss')
    return '  '.join(f'{name} {record[name]:.4g}' for name in names)

"""Markup from values, and the arithmetic of axes: ticks, domains, short numbers."""

import html
import math
from collections.abc import Iterable, Sequence


class Markup(str):
    """Finished markup: neither `tag` nor a template escapes it again."""

    def __html__(self) -> str:
        return self


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """tag('text', 'a < b', x=1, class_='dim') -> '<text x="1" class="dim">a &lt; b</text>'.

    Children and values are escaped unless they are Markup; floats keep two decimals; None leaves
    an attribute out; `_` in a name becomes `-`.
    """
    written = ''.join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = ''.join(
        child if isinstance(child, Markup) else html.escape(str(child)) for child in children
    )
    return Markup(f'<{name}{written}>{inner}</{name}>')


def join(parts: Iterable[Markup]) -> Markup:
    return Markup(''.join(parts))


def _attribute(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.2f}'.rstrip('0').rstrip('.')


def short(value: float, digits: int = 4) -> str:
    """A number to read: 0.9833, 12.5, 1,797, 3.1e-05, 'nan'."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f'{int(value):,}'
    return f'{value:,.0f}' if 1000 <= abs(value) < 1e15 else f'{value:.{digits}g}'


def score(value: float) -> str:
    """A metric's value with four decimals, so that a column of them lines up; else as `short`."""
    return f'{value:.4f}' if 1e-3 <= abs(value) < 10 else short(value)


def domain(values: Sequence[float], log: bool, pad: float = 0.05) -> tuple[float, float]:
    """finite values -> the axis' (low, high), never of zero length; from zero where that is near."""
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** pad if high > low else 2.0
        return low / room, high * room
    if low == high:
        return min(0.0, low * 1.25), max(0.0, low * 1.25) or (0.0 if low else 1.0)
    room = (high - low) * pad
    return (0.0 if 0 <= low < 0.3 * high else low - room), high + room


def wants_log(values: Sequence[float], spread: float) -> bool:
    """Whether values are positive and their largest is over `spread` times their smallest."""
    return len(values) > 2 and min(values) > 0 and max(values) > spread * min(values)


def ticks(low: float, high: float, log: bool, count: int = 5) -> list[float]:
    """About `count` round values within [low, high]: 1, 2 or 5 times a power of ten."""
    if log:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
            found = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
            if len(found) >= 3:
                return found[:: math.ceil(len(found) / (count + 2))]
        return found or [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_label(value: float) -> str:
    """A tick as short as it can be: '0', '0.25', '20k', '1e-05'."""
    if value == 0:
        return '0'
    if 10_000 <= abs(value) < 1e15:
        for size, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
            if abs(value) >= size:
                return f'{value / size:.4g}{unit}'
    return f'{value:.4g}'

"""A cost card and a model's table as text."""

from collections.abc import Iterator

from nnjax.analysis.cost import Card, Row
from nnjax.readable import duration, human


def render(card: Card, rows: list[Row], width: int = 88) -> str:
    """The model's table and the run's costs, as plain text lines of at most `width` columns."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=width, color_system=None)
    layers = Table(box=None, show_footer=True, pad_edge=False, padding=(0, 2, 0, 0))
    total = human(sum(r.parameters for r in rows)), human(sum(r.flops for r in rows))
    for header, footer in (('layer', 'total'), ('type', ''), ('output', '')):
        layers.add_column(header, footer, overflow='fold')
    for header, footer in zip(('parameters', 'FLOPs'), total):
        layers.add_column(header, footer, justify='right', no_wrap=True)
    for row in rows:
        name = '/'.join(row.path) or '(itself)'
        shapes = ', '.join('x'.join(map(str, shape)) or 'scalar' for shape in row.outputs)
        layers.add_row(name, row.kind, shapes, human(row.parameters), human(row.flops))
    costs = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    costs.add_column(no_wrap=True)
    costs.add_column(overflow='fold')
    for line in _lines(card):
        costs.add_row(*line)
    title = 'One example, forward; each layer without its sublayers'
    with console.capture() as capture:
        console.print(title, layers, '', costs, sep='\n')
    return '\n'.join(line.rstrip() for line in capture.get().splitlines())


def _lines(card: Card) -> Iterator[tuple[str, str]]:
    """(name, value) of everything on a card."""
    trained = f' ({card.parameters - card.frozen:,} train)' if card.frozen else ''
    yield 'parameters', f'{card.parameters:,}{trained}'
    yield 'FLOPs a step', f'{human(card.step_flops)} (forward, backward and update)'
    if card.epoch_flops is not None:
        yield 'FLOPs an epoch', f'{human(card.epoch_flops)} ({card.steps_per_epoch:,} steps)'
    yield 'FLOPs a run', f'{human(card.run_flops)} ({card.steps:,} steps)'
    if card.peak_bytes is not None:
        resident = human(card.resident_bytes, 'B')
        yield 'peak memory', f'{human(card.peak_bytes, "B")} ({resident} of it resident data)'
    yield 'compile', duration(card.compile_seconds)
    if card.seconds is not None:
        rate = card.step_flops / card.step_seconds
        yield 'step', f'{duration(card.step_seconds)}, measured on zeros ({human(rate)}FLOP/s)'
        yield 'whole run', f'{duration(card.seconds)} predicted'
    if card.arguments:
        yield 'arguments', f'{", ".join(card.arguments)} (a new value compiles nothing)'
    for note in card.notes:
        yield 'note', note

"""The points of a sweep, from an experiment's sweep() or from flags."""

import ast
from typing import Any

from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.sweep import points as sweeps
from nnjax.sweep.points import Distribution, Point


def points(config, spec: str, flags: Any) -> list[Point]:
    """--grid, --random and --seeds, or the experiment's own sweep().

    Raises:
      UserError: neither is there, or a flag is no list of values.
    """
    grid, space = _axes(config, flags)
    if bool(space) != (flags.points is not None):
        raise UserError('--random=FIELD=... and --points=N go together')
    if grid or space:
        parts = [grid] if grid else []
        if space:
            parts.append(sweeps.random(space, flags.points))
        found = sweeps.product(*parts)
    else:
        found = _own(spec, flags.seeds is not None)
        if flags.seeds is not None:  # in the place of the points' own
            found = [{p: v for p, v in point.items() if p != 'seed'} for point in found]
            found = [point for n, point in enumerate(found) if point not in found[:n]]
    return found if flags.seeds is None else sweeps.seeds(found, flags.seeds)


def space(config, flags: Any) -> dict[str, Distribution | list]:
    """--random and --grid as what a search chooses from.

    Raises:
      UserError: a field is in both, or a flag is no list of values.
    """
    grid, found = _axes(config, flags)
    if twice := grid.keys() & found.keys():
        raise UserError(f'{min(twice)} is in --grid and in --random: choose one')
    return {**found, **grid}


def _axes(config, flags: Any) -> tuple[dict[str, list], dict[str, Distribution | list]]:
    """What --grid and --random say of each field."""
    grid = {path: _grid(config, path, text) for path, text in map(_split, flags.grid)}
    return grid, {path: _space(config, path, text) for path, text in map(_split, flags.random)}


def _own(spec: str, seeds: bool) -> list[Point]:
    module, _ = configs.experiment(spec)
    if not callable(getattr(module, 'sweep', None)):
        if seeds:
            return [{}]
        raise UserError(
            f'{spec} has no sweep() function; give --grid, --random with --points, or --seeds'
        )
    return configs.called(spec, lambda: list(module.sweep()))


def _split(text: str) -> tuple[str, str]:
    path, equals, values = text.partition('=')
    if not equals or not values.strip():
        raise UserError(f'{text!r}: expected FIELD=VALUE,VALUE ...')
    return path.strip(), values.strip()


def _grid(config, path: str, text: str) -> list:
    return [configs.parse(config, path, value) for value in _commas(text)]


def _space(config, path: str, text: str) -> Distribution | list:
    kinds = {'log': sweeps.log, 'uniform': sweeps.uniform, 'integer': sweeps.integer}
    kind, _, rest = text.partition('(')
    if kind.strip() not in kinds:
        return _grid(config, path, text)
    try:
        low, high = ast.literal_eval(f'({rest}')
    except (ValueError, SyntaxError, TypeError):
        raise UserError(f'{path}={text!r}: expected {kind.strip()}(low, high)') from None
    for limit in (low, high):
        configs.parse(config, path, str(limit))
    return kinds[kind.strip()](low, high)


def _commas(text: str) -> list[str]:
    """Splits at commas outside brackets and quotes."""
    parts, depth, quote = [''], 0, ''
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '"\'':
            quote = letter
        else:
            depth += (letter in '([{') - (letter in ')]}')
        if letter == ',' and not depth and not quote:
            parts.append('')
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]

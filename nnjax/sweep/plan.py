"""From points to groups: the points of a group differ in traced numbers and seeds alone.

So a group is one program. What an override is, an argument of the step or a part of the program,
follows from the config: no list of either is kept anywhere.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable
from typing import Any

import jax
from ml_collections import ConfigDict

from nnjax import build, duration
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.sweep.points import Point, configuration
from nnjax.training.setup import Setup


@dataclasses.dataclass(frozen=True)
class Group:
    """Points of one program.

    Attributes:
      config: the config of its first point.
      static: the overrides that make this program, the same in all its points.
      numbers: which points of the sweep.
      key: what the program depends on, as text: groups of one key are one group.
    """

    config: ConfigDict
    static: Point
    numbers: tuple[int, ...]
    key: str


def check(config: ConfigDict, points: Iterable[Any]) -> list[Point]:
    """The points, complete and checked: every one has a seed, every value is of its field's type.

    Raises:
      UserError: no point, one that is there twice, an unknown field or a value outside its type.
    """
    whole = []
    for point in points:
        if not isinstance(point, dict):
            raise UserError(f'a point of a sweep is a dict {{path: value}}, got {point!r}')
        own = config.copy_and_resolve_references()
        here = {**point, 'seed': point.get('seed', config.seed)}
        whole.append({path: configs.put(own, path, value) for path, value in here.items()})
    if not whole:
        raise UserError('the sweep has no points')
    seen: dict[str, int] = {}
    for number, point in enumerate(whole):
        text = json.dumps(point, sort_keys=True)
        if text in seen:
            raise UserError(f'points {seen[text]} and {number} are the same: {show(point)}')
        seen[text] = number
    return whole


def apply(config: ConfigDict, point: Point) -> ConfigDict:
    """The config with a point's values, locked."""
    changed = config.copy_and_resolve_references()
    for path, value in point.items():
        configs.put(changed, path, value)
    return changed


def groups(config: ConfigDict, points: list[Point]) -> list[Group]:
    """The points by program, in the order of their first ones."""
    found: dict[str, list[int]] = {}
    made: dict[str, Group] = {}
    for number, point in enumerate(points):
        own = apply(config, point)
        key, static = _static(own, point)
        found.setdefault(key, []).append(number)
        made.setdefault(key, Group(own, static, (), key))
    return [dataclasses.replace(made[key], numbers=tuple(found[key])) for key in found]


def hyperparameters(config: ConfigDict, point: Point, made: Setup) -> build.Hyperparameters:
    """A point's arguments of the step, in a group of this Setup."""
    values = build.hyperparameters(apply(config, point), made.steps)
    return {**values, 'total': made.hyperparameters['total']}  # a smoke test's is two steps


def describe(groups: list[Group], points: list[Point], waves: list, devices: int) -> list[str]:
    """What runs how, for a person."""
    configurations = {configuration(point) for point in points}
    lines = [
        f'{len(points)} points: {len(configurations)} configurations, '
        f'{len(groups)} program{"s" * (len(groups) > 1)}, on {devices} device{"s" * (devices > 1)}'
    ]
    for wave in waves:
        traced = [p for p in points[wave.points[0]] if p not in groups[wave.group].static]
        how = f'{wave.each} lanes wide' if wave.each > 1 else 'one lane'
        lines.append(
            f'program {wave.group}: {show(groups[wave.group].static) or "the config as it is"}; '
            f'{len(wave.points)} points that differ in {", ".join(traced)}; '
            f'{how} on each device'
        )
    return lines


def show(point: Point) -> str:
    """'optim.lr=0.1 seed=3', numbers short."""
    text = lambda v: f'{v:.4g}' if isinstance(v, float) else str(v)
    return ' '.join(f'{path}={text(value)}' for path, value in point.items())


def _static(config: ConfigDict, point: Point) -> tuple[str, Point]:
    """What a config's program depends on, as text, and the point's values that belong to it."""
    # The numbers themselves do not matter here, only which there are.
    steps = functools.partial(duration.steps, size=1, batch=1, total=1)
    values = build.hyperparameters(config, lambda text: max(1, steps(text)))
    traced = {*build.traced_paths(values), 'seed'} - {'total'}  # a length of its own runs alone
    leaves = configs.leaves(configs.from_json(configs.to_json(config)))
    rest = {path: value for path, value in leaves if path not in traced}
    rest |= {'traced': sorted(traced), 'shapes': str(jax.tree.map(jax.numpy.shape, values))}
    return json.dumps(rest, sort_keys=True), {p: v for p, v in point.items() if p not in traced}

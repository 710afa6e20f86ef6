"""Lanes against each other on their way: successive halving, and population-based training.

What happens at a rung is a function of the records there, the sweep's seed and the step: a resumed
sweep decides the same again.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from nnjax import config as configs
from nnjax import duration, schema
from nnjax.errors import UserError
from nnjax.sweep.points import configuration
from nnjax.training import loop
from nnjax.training.hook import Hook


@dataclasses.dataclass(frozen=True)
class Halving:
    """Successive halving (Jamieson & Talwalkar, 2016, arXiv 1502.07943) of configurations.

    A configuration stays or goes with all its seeds, by their mean. Where the metric is a score, all
    go on at rungs whose validation is not scored.

    Attributes:
      keep: of so many configurations one goes on at each rung.
      first: the first rung, as a part of the training; each next one lies `keep` times later.
    """

    keep: int = 3
    first: str = '5%'

    def __post_init__(self):
        number, unit = duration.parse(self.first)
        if self.keep < 2:
            raise UserError(f'halving keeps one of {self.keep}: expected at least 2')
        if unit == '%' and not 0 < number < 100:
            raise UserError(
                f'the first rung at {self.first!r}: expected more than 0 %, less than 100 %'
            )

    def steps(self, made) -> list[int]:
        """The steps of a run's rungs."""
        found, at = [], max(1, made.steps(self.first))
        while at < made.total:
            found.append(at)
            at *= self.keep
        return found


def halve(
    waves: list, halving: Halving, log, best: tuple[str, str], stopped: Callable[[], str]
) -> None:
    """Drives the waves side by side from rung to rung, then to the end."""
    plans = [halving.steps(lanes.made) for lanes in waves]
    for rung in range(max(map(len, plans), default=0)):
        last: dict[int, dict] = {}
        for lanes, steps in zip(waves, plans):
            at = steps[min(rung, len(steps) - 1)]
            loop.drive(lanes, at, stopped)
            if lanes.step == at:
                _validate(lanes, log)
            last |= _valid(log.records, lanes.indices, at)
        points = {p: point for lanes in waves for p, point in zip(lanes.indices, lanes.points)}
        gone = _worst(last, points, best, halving.keep) if _measured(last, best) else set()
        for lanes in waves:
            here = {
                lane: last[lanes.indices[lane]]
                for lane in lanes.lanes
                if lanes.indices[lane] in gone
            }
            lanes.drop(here)
    for lanes in waves:
        loop.drive(lanes, lanes.made.total, stopped)
        lanes.finish()
        lanes.close()


def after_validation(lanes, every: int, act: Callable[[], None]) -> None:
    """Adds to what lanes do on their way: `act` every so many steps, behind a validation there."""
    place = 1 + next(n for n, h in enumerate(lanes.hooks) if h.act == lanes.evaluate)
    lanes.hooks.insert(place, Hook(every, act))


def _validate(lanes, log) -> None:
    """Validates the lanes where they stand, if that is not done yet."""
    if len(_valid(log.records, lanes.indices, lanes.step)) < len(lanes.lanes):
        lanes.evaluate()


def _valid(records, indices, step: int) -> dict[int, dict]:
    """{point: its validation record at `step`}, of these points."""
    wanted = set(indices)
    return {
        r['point']: {n: v for n, v in r.items() if n != 'dropped'}
        for r in records
        if r['split'] == 'valid' and r['step'] == step and r['point'] in wanted
    }


def _measured(records: dict[int, dict], best: tuple[str, str]) -> bool:
    """Whether all have the metric; a score is not in every validation."""
    return all(best[1] in record for record in records.values())


def _worst(last: dict[int, dict], points: dict[int, dict], best, keep: int) -> set[int]:
    """The points of all configurations but one of `keep`, by their mean over seeds."""
    seeds: dict[str, list[int]] = {}
    for point in last:
        seeds.setdefault(configuration(points[point]), []).append(point)
    means = {}
    for those in seeds.values():
        values = [last[point].get(best[1]) for point in those]
        means[those[0]] = {best[1]: math.nan if None in values else sum(values) / len(values)}
    order = ranked(means, best)
    gone = set(order[math.ceil(len(order) / keep) :])
    return {point for those in seeds.values() if those[0] in gone for point in those}


def ranked(records: dict[int, dict], best: tuple[str, str]) -> list[int]:
    """Points by their metric, the best first; equals by number."""
    direction, metric = best
    sign = -1 if direction == 'max' else 1

    def order(point: int):
        value = records[point].get(metric)
        known = value is not None and math.isfinite(value)
        return not known, sign * value if known else 0, point

    return sorted(records, key=order)


@dataclasses.dataclass(frozen=True)
class Population:
    """Population-based training (Jaderberg et al., 2017, arXiv 1711.09846), truncation selection.

    At every exchange the worst quarter of the lanes goes on from copies of the best quarter, with
    each swept number multiplied by 0.8 or 1.25, by whichever keeps it in its field's range, else by
    neither. Seeds, and so data and noise, stay a lane's own.

    Attributes:
      every: between two exchanges.
      part: how large the two ends are.
      factors: what numbers are multiplied by.
    """

    every: str = '10%'
    part: float = 0.25
    factors: tuple[float, ...] = (0.8, 1.25)

    def join(self, lanes, log, best: tuple[str, str]) -> None:
        """Adds the exchange to what the lanes do on their way."""
        every = max(1, lanes.made.steps(self.every))
        after_validation(lanes, every, lambda: self._exchange(lanes, log, best))

    def _exchange(self, lanes, log, best) -> None:
        if lanes.step == lanes.made.total:
            return
        _validate(lanes, log)
        values = _valid(log.records, lanes.indices, lanes.step)
        if not _measured(values, best):
            return
        order = [lanes.indices.index(point) for point in ranked(values, best)]
        order = [lane for lane in order if lane in set(lanes.lanes)]
        count = int(len(order) * self.part)
        if not count:
            return
        rng = np.random.default_rng([int(lanes.seeds[0]), lanes.step])
        sources = {lane: int(rng.choice(order[:count])) for lane in order[-count:]}
        numbers = jax.tree.map(np.copy, lanes.numbers)
        changed: dict[int, dict[str, Any]] = {}
        for lane, source in sources.items():
            changed[lane] = {}
            for path in lanes.swept:
                leaf = _at(numbers, path)
                leaf[lane], changed[lane][path] = self._varied(lanes, path, leaf[source], rng)
        lanes.exchange(sources, numbers)
        log.write(
            [
                {
                    **values[lanes.indices[lane]],
                    'copied_from': lanes.indices[source],
                    'changed': changed[lane],
                }
                for lane, source in sources.items()
            ]
        )
        lanes.save()

    def _varied(self, lanes, path: str, number: np.ndarray, rng) -> tuple[np.ndarray, Any]:
        """A field's number -> another one of its range, as the step takes it and as a config does."""
        field = configs.field_of(lanes.made.config, path)[2]
        steps = isinstance(lanes.points[0][path], str)  # of a duration
        for factor in (*rng.permutation(self.factors), 1):
            new = np.asarray(number * factor, number.dtype)
            new = np.round(new) if steps else new
            value = f'{new:.0f} steps' if steps else new.tolist()
            if _allowed(field, value, path):
                break
        return new, value


def _allowed(field: schema.Field, value: Any, path: str) -> bool:
    try:
        field.check(value, path)
    except UserError:
        return False
    return True


def _at(tree: dict, path: str):
    for name in path.split('.'):
        tree = tree[name]
    return tree

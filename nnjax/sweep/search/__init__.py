"""What a search is asked for: a space, and how Optuna goes through it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from nnjax import duration, schema
from nnjax.errors import UserError
from nnjax.sweep.points import Distribution, Point

Sampler = Literal['tpe', 'cmaes', 'random', 'nsga2']
Prune = Literal['none', 'halving', 'median']
Axis = Distribution | Sequence  # numbers between two limits, or values to choose from
Space = Mapping[str, Axis]


@dataclasses.dataclass(frozen=True)
class Search:
    """How a space is searched.

    Attributes:
      trials: of the study, by all its workers together.
      sampler: tree-structured Parzen estimators (Watanabe, 2023, arXiv 2304.11127), CMA-ES
        (Hansen, 2016, arXiv 1604.00772; Optuna pickles its state into the storage, so use only one
        that you trust), independent draws, or NSGA-II (Deb et al., 2002).
      batch: trials side by side; None is the devices' first multiple from 8 on.
      prune: drop a lane when its validations are worse than those of other trials: asynchronous
        successive halving (Li et al., 2018, arXiv 1810.05934), or below the median.
      rung: no lane is pruned before this part of its training.
      objectives: 'max accuracy' ...: validation metrics and 'parameters'; none is the config's
        `best`. The first chooses the best step, where all are read, and ranks the table.
      seeds: runs of every trial, whose mean is told; None is one run of the config's seed.
      storage: a database's URL; None is optuna.db in the sweep folder.
      study: its name there; None is the experiment's.
    """

    trials: int = 64
    sampler: Sampler = 'tpe'
    batch: int | None = None
    prune: Prune = 'none'
    rung: str = '5%'
    objectives: tuple[str, ...] = ()
    seeds: int | None = None
    storage: str | None = None
    study: str | None = None

    def check(self, space: Space) -> None:
        """Raises UserError where these do not go together, or where Optuna is missing."""
        for name, allowed in (('sampler', Sampler), ('prune', Prune)):
            schema.Field(name, allowed).check(getattr(self, name), name)
        for name in ('trials', 'batch', 'seeds'):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f'{name}={value}: expected at least 1')
        if not space:
            raise UserError(
                'a search needs a space: --random=FIELD=log(a,b) ..., --grid=FIELD=VALUE,VALUE ...'
            )
        numbers = [path for path, axis in space.items() if isinstance(axis, Distribution)]
        if self.sampler == 'cmaes' and len(numbers) < 2:
            raise UserError(
                f'sampler=cmaes needs two or more fields of numbers, got {len(numbers)}; '
                'use sampler=tpe'
            )
        if self.sampler == 'cmaes' and len(self.objectives) > 1:
            raise UserError('sampler=cmaes takes one objective; use tpe or nsga2')
        if self.prune != 'none' and len(self.objectives) > 1:
            raise UserError('trials of several objectives cannot be pruned: use prune=none')
        if self.prune != 'none' and (self.seeds or 1) > 1:
            raise UserError('trials of several seeds cannot be pruned: use prune=none')
        duration.parse(self.rung)
        try:
            import cmaes  # noqa: F401
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--search=optuna needs {error.name}: pip install 'nnjax[search]'"
            ) from None


def corners(space: Space) -> list[Point]:
    """Points in which each value, and each limit, of every field occurs: what can go wrong."""
    ends = {
        path: [axis.at(0), axis.at(1 - 1e-9)] if isinstance(axis, Distribution) else list(axis)
        for path, axis in space.items()
    }
    first = {path: values[0] for path, values in ends.items()}
    return [first] + [{**first, path: v} for path, values in ends.items() for v in values[1:]]

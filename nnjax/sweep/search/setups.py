"""The programs of a search, for all its batches."""

import dataclasses

from ml_collections import ConfigDict

from nnjax.sweep import plan, sweep, width
from nnjax.sweep.points import Point
from nnjax.sweep.programs import Programs
from nnjax.sweep.width import Wave
from nnjax.training import parallel
from nnjax.training.setup import Setup


class Setups:
    """A search's programs: each is set up, measured and compiled once.

    Attributes:
      made: their Setups, in the order of their first points.
      run: their executables.
    """

    def __init__(self, config: ConfigDict, points: list[Point], runner: str):
        """Sets up the programs of some points, so that mistakes surface."""
        self._config, self._runner = config, runner
        self._numbers: dict[str, int] = {}
        self._first: dict[int, Wave] = {}
        self.made: list[Setup] = []
        self.run = Programs(parallel.spread(config.devices))
        self._groups(points)

    def restore(self, points: list[Point], waves: list[Wave]) -> None:
        """Goes on with what a folder holds."""
        self._groups(points)
        for wave in waves:
            self._first.setdefault(wave.group, wave)

    def _groups(self, points: list[Point]) -> list[tuple[int, plan.Group]]:
        """Points by program: [(an index of `made`, their group) ...]."""
        found = plan.groups(self._config, points)
        for group in found:
            if group.key not in self._numbers:
                self._numbers[group.key] = len(self.made)
                self.made.append(sweep.set_up(group))
        return [(self._numbers[group.key], group) for group in found]

    def waves(self, points: list[Point], begin: int, usual: int) -> list[Wave]:
        """The points from `begin` on in waves.

        A program is made once, for a batch of `usual` points, though fewer may be its.
        """
        found = []
        for number, group in self._groups(points[begin:]):
            group = dataclasses.replace(group, numbers=tuple(begin + n for n in group.numbers))
            if number not in self._first:
                batch = dataclasses.replace(group, numbers=group.numbers[:1] * usual)
                self._first[number] = self._waves(number, batch, points, self._runner)[0]
            first = self._first[number]
            room = first.room or len(first.points)
            for wave in self._waves(number, group, points, 'loop'):
                found.append(Wave(number, wave.points, first.each, room))
        return found

    def _waves(self, number: int, group: plan.Group, points, runner: str) -> list[Wave]:
        return width.waves([group], [self.made[number]], self.run, points, runner, False)

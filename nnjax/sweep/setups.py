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
        self._widths: dict[int, int] = {}
        self.made: list[Setup] = []
        self.run = Programs(parallel.spread(config.devices))
        self._groups(points)

    def restore(self, points: list[Point], waves: list[Wave]) -> None:
        """Goes on with what a folder holds."""
        self._groups(points)
        self._widths = {wave.group: wave.each for wave in waves}

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

        A program keeps the width that it had first: that of its share of a batch of `usual` points.
        """
        found = []
        groups = self._groups(points[begin:])
        for number, group in groups:
            group = dataclasses.replace(group, numbers=tuple(begin + n for n in group.numbers))
            if number not in self._widths:
                share = group.numbers[:1] * -(-usual // len(groups))
                like = dataclasses.replace(group, numbers=share)
                self._widths[number] = self._waves(number, like, points, self._runner)[0].each
            for wave in self._waves(number, group, points, 'loop'):
                found.append(Wave(number, wave.points, self._widths[number]))
        return found

    def _waves(self, number: int, group: plan.Group, points, runner: str) -> list[Wave]:
        return width.waves([group], [self.made[number]], self.run, points, runner, False)

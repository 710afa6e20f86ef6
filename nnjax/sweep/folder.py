"""A sweep folder: sweep.json, metrics.jsonl, environment.json, groups/, best/."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax import schema
from nnjax.errors import UserError
from nnjax.sweep.points import Point
from nnjax.training.folder import Folder, write


class SweepFolder(Folder):
    """Reads and writes one sweep folder; a record's 'point' is its index in `points()`."""

    KIND, FILE = 'sweep folder', 'sweep.json'

    def create(
        self,
        config: ConfigDict,
        experiment: str,
        data: str,
        points: list[Point],
        plan: dict[str, Any],
    ) -> None:
        """Writes sweep.json and the environment.

        Args:
          config: the base config, which each point changes.
          experiment: its name.
          data: the training data's fingerprint.
          points: the fields that each lane sets, 'seed' among them.
          plan: JSON values of the runner's own.
        """
        super().create(config, experiment, data, points=points, plan=plan)

    def grow(self, points: list[Point], plan: dict[str, Any]) -> None:
        """Replaces the points by these, of which the saved ones are the first, and the plan."""
        saved = json.loads((self.path / self.FILE).read_text())
        saved |= {'points': points, 'plan': plan}
        write(self.path / self.FILE, json.dumps(saved, indent=2))

    @property
    def best(self) -> Path:
        """Where the winner lies as a run folder."""
        return self.path / 'best'

    @property
    def groups(self) -> Path:
        """Where the runner's checkpoints lie."""
        return self.path / 'groups'

    def points(self) -> list[Point]:
        """The points in order, lists as tuples.

        Raises:
          UserError: no sweep folder, or a damaged one.
        """
        points = self.saved('points')['points']
        whole = isinstance(points, list) and all(
            isinstance(point, dict) and 'seed' in point for point in points
        )
        if not whole:
            raise UserError(
                f'{self.path / self.FILE} is damaged: its points are no fields and seed'
            )
        return [{path: configs.tuples(value) for path, value in point.items()} for point in points]

    def same(self, config: ConfigDict, points: list[Point], data: str) -> None:
        """Raises a UserError unless config, points and the data's fingerprint are this folder's."""
        if changes := self.changes(config):
            raise UserError(
                f'{self.path} was made with another config ({"; ".join(changes[:3])}); '
                'name a new --workdir'
            )
        if self.points() != points:
            raise UserError(
                f'{self.path} holds another sweep, of {len(self.points())} points; '
                'name a new --workdir'
            )
        if self.data() != data:
            raise UserError(f'{self.path} was trained on other data; name a new --workdir')

    def plan(self) -> dict[str, Any]:
        """What the runner saved of its plan."""
        return self.saved('plan')['plan']

    def ranking(self) -> tuple[str, str]:
        """('max', 'accuracy'): the direction and the validation metric that rank the points."""
        return schema.best(str(self.config()[1].get('best')))

"""One worker's trials: asked in batches, trained as lanes, told."""

import contextlib
import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from nnjax.errors import UserError
from nnjax.sweep import plan, rungs, sweep, table, winner
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.lanes import Lanes
from nnjax.sweep.points import Point
from nnjax.sweep.records import Log
from nnjax.sweep.search import Search
from nnjax.sweep.search.setups import Setups
from nnjax.sweep.search.study import Study
from nnjax.sweep.width import Wave
from nnjax.training import loop


class Trials:
    """The trials of a sweep folder, or of none."""

    def __init__(
        self,
        config: ConfigDict,
        how: Search,
        saved: dict[str, Any],
        study: Study,
        setups: Setups,
        folder: SweepFolder | None,
        goals: list[tuple[str, str]],
        say: Callable[[str], None],
    ):
        """Begins with what the folder holds.

        Args:
          config: the base config.
          how: what was asked for.
          saved: what the plan keeps of it.
          study: where trials are asked and told.
          setups: the programs so far.
          folder: the sweep folder, made.
          goals: (direction, metric) of each objective.
          say: as `sweep.sweep` takes it.
        """
        self._config, self._how, self._saved, self._study = config, how, saved, study
        self._setups, self._folder, self._goals, self._say = setups, folder, goals, say
        self._plan = folder.plan() if folder else {'search': saved, 'trials': [], 'waves': []}
        self.points = folder.points() if folder else []
        self._trials = {number: points for number, points in self._plan['trials']}
        self._waves = [Wave(**wave) for wave in self._plan['waves']]
        setups.restore(self.points, self._waves)
        self._indices = {_key(point): index for index, point in enumerate(self.points)}
        self._log = Log(folder, goals[0], self.points, say)
        self._told, self._changed = study.ended(), False
        if max(self._trials, default=-1) >= study.count():
            raise UserError(f'{folder.path} speaks of trials that its storage has not')

    def work(self, stopped) -> None:
        """Trains what a kill has left, then batch after batch, until the study has its trials."""
        self._train(stopped)
        asked = self._study.mine(self._trials)
        while self._ask(asked):
            self._train(stopped)
            asked = []

    def result(self) -> sweep.Result:
        """The ranked table of this worker's points; the winner is written."""
        rows = table.rank(self.points, self._log.records, self._goals[0])
        for number, values in self._study.front().items() if len(self._goals) > 1 else ():
            named = zip((metric for _, metric in self._goals), values)
            self._say(f'no trial beats {number}: ' + ', '.join(f'{n} {v:.4g}' for n, v in named))
        if self._folder:
            if self._changed:
                shutil.rmtree(self._folder.best, ignore_errors=True)  # of fewer trials
            winner.write(self._folder, rows, self._waves, self._setups.made, self.points)
        run, path = self._setups.run, self._folder and self._folder.path
        return sweep.Result(rows, self.points, self._log.records, run.count, run.seconds, path)

    def _ask(self, asked: list[tuple[int, Point]]) -> bool:
        """Fills up a batch, and notes it; False where the study has all its trials."""
        while len(asked) < self._saved['batch']:
            trial = self._study.ask(self._how.trials)
            if trial is None:
                break
            asked.append(trial)
        begin = len(self.points)
        for number, values in asked:
            self._trials[number] = self._points(values)
        usual = self._saved['batch'] * (self._how.seeds or 1)
        waves = self._setups.waves(self.points, begin, usual)
        self._waves += waves
        self._plan['trials'] = [[number, points] for number, points in self._trials.items()]
        self._plan['waves'] = [dataclasses.asdict(wave) for wave in self._waves]
        if asked:
            if self._folder:
                self._folder.grow(self.points, self._plan)
            numbers = [number for number, _ in asked]
            self._say(
                f'trials {numbers[0]} to {numbers[-1]} of {self._how.trials}: '
                f'{len(self.points) - begin} new points'
            )
        return bool(asked)

    def _points(self, values: Point) -> list[int]:
        """A trial's points, one a seed; those that an earlier trial had are not run again."""
        seeds = range(self._how.seeds) if self._how.seeds else [self._config.seed]
        found = []
        for point in plan.check(self._config, [{**values, 'seed': seed} for seed in seeds]):
            index = self._indices.setdefault(_key(point), len(self.points))
            if index == len(self.points):
                self.points.append(point)
            found.append(index)
        return found

    def _train(self, stopped) -> None:
        """Drives the waves to their end, and tells."""
        over = self._log.over()
        for number, wave in enumerate(self._waves):
            if over.issuperset(wave.points):
                continue
            made = self._setups.made[wave.group]
            lanes = sweep.begin(
                self._config, self.points, wave, made, self._setups.run, self._log, number
            )
            with contextlib.closing(lanes):
                self._join(lanes)
                loop.drive(lanes, made.total, stopped)
                lanes.finish()
            self._tell()
        self._tell()

    def _join(self, lanes: Lanes) -> None:
        """Adds to what lanes do on their way: at each validation, may each go on?"""
        every = max(1, lanes.made.steps(self._config.eval_every))
        if self._how.prune != 'none':
            owners = {points[0]: number for number, points in reversed(self._trials.items())}
            prune = lambda: self._prune(lanes, owners, -(-lanes.step // every))
            rungs.after_validation(lanes, every, prune)
        if self._config.score_every:
            rungs.after_validation(lanes, every, lambda: self._check(lanes))

    def _here(self, lanes: Lanes) -> dict[int, dict]:
        """{point: its validation record of the lanes' step}."""
        here = lambda record: record['step'] == lanes.step
        records = itertools.takewhile(here, reversed(self._log.records))
        return {r['point']: r for r in records if r['split'] == 'valid'}

    def _check(self, lanes: Lanes) -> None:
        """Raises a UserError where a scored validation lacks an objective."""
        records = self._here(lanes).values() if lanes.made.scores_at(lanes.step) else ()
        for record in records:
            known = {n for n, v in record.items() if isinstance(v, float)} - {'epoch', 'seconds'}
            for direction, metric in self._goals:
                if metric not in {*known, 'parameters'}:
                    raise UserError(
                        f"objective='{direction} {metric}': there is no {metric!r} "
                        f'(there are: {", ".join(sorted({*known, "parameters"}))})'
                    )

    def _prune(self, lanes: Lanes, owners: dict[int, int], at: int) -> None:
        valid, metric = self._here(lanes), self._goals[0][1]
        if lanes.step == lanes.made.total or not any(metric in r for r in valid.values()):
            return  # at an evaluation without a score there is nothing to go by
        gone = {}
        for lane in lanes.lanes:
            point = lanes.indices[lane]
            value = valid[point].get(metric)
            value = math.nan if value is None else value
            if not self._study.keeps(owners[point], value, at):
                gone[lane] = valid[point]
        lanes.drop(gone)

    def _tell(self) -> None:
        """Tells the trials whose points have come to their end; keeps the best's checkpoints."""
        over = self._log.over()
        new = {
            number: points
            for number, points in self._trials.items()
            if number not in self._told and over.issuperset(points)
        }
        records: dict[int, list[dict]] = {p: [] for points in new.values() for p in points}
        for record in self._log.records:
            if record['point'] in records:
                records[record['point']].append(record)
        for number, points in new.items():
            measured = [self._measured(records[point]) for point in points]
            bad = [r['step'] for p in points for r in records[p] if r.get('diverged')]
            values = None if None in measured else [sum(v) / len(v) for v in zip(*measured)]
            self._study.tell(number, values, {'diverged': bad[0]} if bad else {})
            self._told.add(number)
            self._changed = True
        if new and self._folder:
            self._forget(over)

    def _measured(self, records: list[dict]) -> list[float] | None:
        """A point's objectives at its best step; None where it came to no good end."""
        last = records[-1]
        if not last.get('finished'):
            return None
        valid = [r for r in records if r['split'] == 'valid']
        at = next((r for r in valid if r['step'] == last['best_step']), {})
        here = {**at, 'parameters': last['parameters'], self._goals[0][1]: last['best_value']}
        values = [here.get(metric) for _, metric in self._goals]
        known = all(value is not None and math.isfinite(value) for value in values)
        return [float(value) for value in values] if known else None

    def _forget(self, over: set[int]) -> None:
        """Removes the checkpoints of waves that hold no best point."""
        rows = table.rank(self.points, self._log.records, self._goals[0])
        kept = {lane.index for lane in rows[0].lanes}
        kept |= {p for number in self._study.front() for p in self._trials.get(number, ())}
        for number, wave in enumerate(self._waves):
            if over.issuperset(wave.points) and kept.isdisjoint(wave.points):
                shutil.rmtree(self._folder.groups / str(number), ignore_errors=True)


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)

"""Points in, ranked table out: one program for all points that differ in numbers alone."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nnjax import schema
from nnjax.errors import UserError
from nnjax.sweep import plan, rungs, table, winner
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.lanes import Lanes
from nnjax.sweep.points import Point
from nnjax.sweep.programs import Programs
from nnjax.sweep.records import Log
from nnjax.sweep.width import Wave, waves
from nnjax.training import loop, parallel
from nnjax.training.setup import Setup, setup


@dataclasses.dataclass(frozen=True)
class Result:
    """What a sweep leaves.

    Attributes:
      rows: the configurations, the best on validation first.
      points: every point, as it ran.
      records: every line of metrics.jsonl; `record['point']` is an index of `points`.
      compilations: of train steps.
      compile_seconds: what they took.
      folder: the sweep folder, or None.
    """

    rows: list[table.Row]
    points: list[Point]
    records: list[dict[str, Any]]
    compilations: int
    compile_seconds: float
    folder: Path | None


def sweep(
    config: ConfigDict,
    points: Iterable[Point],
    workdir: str | Path | None = None,
    *,
    experiment: str = '',
    runner: str = 'auto',
    halving: rungs.Halving | None = None,
    population: rungs.Population | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Trains every point to its end, or goes on from the sweep folder's last checkpoints.

    Args:
      config: the experiment's config, which each point changes.
      points: dicts {config path: value}, see `nnjax.sweep.points`.
      workdir: the sweep folder; None writes nothing.
      experiment: the name saved with the sweep.
      runner: 'lanes' (as many side by side as fit), 'loop' (one a device), or 'auto': the faster.
      halving: drop the worse lanes at rungs.
      population: let the worse lanes go on from copies of the better, with changed numbers.
      say: is given lines for a person.

    Raises:
      UserError: the points or the config cannot run, or are not the folder's.
      Interrupted: SIGTERM or SIGINT came; checkpoints were written.
    """
    if runner not in ('auto', 'lanes', 'loop'):
        raise UserError(f'runner={runner!r}: expected one of auto, lanes, loop')
    points = plan.check(config, points)
    groups = plan.groups(config, points)
    if runner == 'lanes' and len(groups) > 1:
        names = ', '.join(sorted({path for group in groups for path in group.static}))
        raise UserError(
            f'runner=lanes makes one program, but {names} is part of the program: '
            f'{len(groups)} are needed; use runner=auto'
        )
    folder = SweepFolder(workdir) if workdir is not None else None
    made = [set_up(group) for group in groups]
    if folder and folder.exists:
        folder.same(config, points, made[0].dataset.train.fingerprint)
        if 'waves' not in folder.plan():
            raise UserError(f'{workdir} was begun by another runner; leave --runner as it was')
    spread = parallel.spread(config.devices)
    run = Programs(spread)
    if folder and folder.exists:
        all_waves = [Wave(**wave) for wave in folder.plan()['waves']]
    else:
        all_waves = waves(groups, made, run, points, runner, bool(halving or population))
        if folder:
            saved = {'waves': [dataclasses.asdict(wave) for wave in all_waves]}
            folder.create(config, experiment, made[0].dataset.train.fingerprint, points, saved)
    for text in plan.describe(groups, points, all_waves, spread.devices):
        say(text)

    best = schema.best(config.best)
    log = Log(folder, best, points, say)
    todo = [number for number, wave in enumerate(all_waves) if not log.ended(wave.points)]
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(loop.signals())

        def start(number: int) -> Lanes:
            wave = all_waves[number]
            lanes = begin(config, points, wave, made[wave.group], run, log, number)
            stack.callback(lanes.close)
            return lanes

        if halving:
            rungs.halve([start(number) for number in todo], halving, log, best, stopped)
        for number in [] if halving else todo:
            lanes = start(number)
            if population:
                population.join(lanes, log, best)
            loop.drive(lanes, lanes.made.total, stopped)
            lanes.finish()
            lanes.close()
    rows = table.rank(points, log.records, best)
    if folder:
        winner.write(folder, rows, all_waves, made, points)
    return Result(rows, points, log.records, run.count, run.seconds, folder and folder.path)


def begin(
    config: ConfigDict,
    points: list[Point],
    wave: Wave,
    made: Setup,
    run: Programs,
    log: Log,
    number: int,
) -> Lanes:
    """The lanes of wave `number`, at their start or where its last checkpoint has them."""
    mine = [points[p] for p in wave.points]
    numbers = [plan.hyperparameters(config, point, made) for point in mine]
    path = log.folder and log.folder.groups / str(number)
    which, each, say = list(wave.points), wave.each, log.write
    lanes = Lanes(made, run, mine, numbers, which, each, path, say, wave.room)
    log.forget(lanes)
    return lanes


def set_up(group: plan.Group) -> Setup:
    """A group's parts; its lanes share the devices, so each is set up for one."""
    if group.config.parallel not in ('auto', 'jit'):
        raise UserError(
            f'parallel={group.config.parallel!r} gives every point all devices; '
            'a sweep spreads its lanes over them: leave it at auto, or use --runner=processes'
        )
    own = group.config.copy_and_resolve_references()
    with own.unlocked():
        own.parallel = 'jit'
    return setup(own)

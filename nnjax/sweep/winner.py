"""The best point of a sweep as an ordinary run folder: evaluate, predict and export work on it."""

import dataclasses
import math
import shutil

import jax

from nnjax import schema
from nnjax.sweep import plan, programs, seats, table
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.points import Point
from nnjax.sweep.width import Wave
from nnjax.training import evaluate, runner
from nnjax.training.checkpoint import Checkpoints
from nnjax.training.folder import RunFolder
from nnjax.training.setup import Setup


def write(
    folder: SweepFolder,
    rows: list[table.Row],
    waves: list[Wave],
    made: list[Setup],
    points: list[Point],
) -> None:
    """Writes `best/`: the best seed of the first row, if it came to its end."""
    if folder.best.exists() or not rows or rows[0].state != 'finished':
        return
    experiment, config = folder.config()
    direction, _ = schema.best(config.best)
    sign = -1 if direction == 'max' else 1
    finite = lambda lane: sign * lane.valid if math.isfinite(lane.valid) else 0
    point = min(rows[0].lanes, key=finite).index
    number, wave = next((n, w) for n, w in enumerate(waves) if point in w.points)
    own = made[wave.group]
    checkpoints = Checkpoints(folder.groups / str(number))
    template = programs.template(own, len(wave.points))
    whole = jax.device_get(checkpoints.restore(template, lambda leaf: own.placement.replicated))
    checkpoints.close()
    lane = seats.pick({n: whole[n] for n in ('carry', 'best', 'numbers')}, wave.points.index(point))
    own = dataclasses.replace(own, hyperparameters=lane.pop('numbers'))

    aside = folder.path / '.best'  # a kill leaves no half of it
    shutil.rmtree(aside, ignore_errors=True)
    run = RunFolder(aside)
    changed = {**rows[0].changes, 'seed': points[point]['seed']}
    run.create(plan.apply(config, changed), experiment, own.dataset, own.prepare)
    saved = Checkpoints(run.checkpoints)
    saved.save(int(lane['carry'].state.step), lane)
    saved.close()
    mine = [r for r in folder.records() if r['point'] == point]
    run.append(*({n: v for n, v in r.items() if n != 'point'} for r in mine))
    split = 'test' if own.dataset.test else 'valid'
    source = getattr(own.dataset, split)
    state = runner.best_state(lane['carry'].state, lane['best'])
    if own.task.decide and own.dataset.valid:
        run.save_decided(evaluate.decided(own, evaluate.Evaluator(own, own.dataset.valid), state))
    if source:
        evaluator = evaluate.Evaluator(own, source)
        run.save_predictions(split, evaluate.kept(own, source, evaluator.predictions(state), state))
    aside.rename(folder.best)

"""Points of one group on their way, side by side: what `training.run.Run` is for one."""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nnjax import build, schema
from nnjax.sweep import programs, seats
from nnjax.sweep.points import Point
from nnjax.sweep.rows import Batches, Rows
from nnjax.sweep.seats import Seats
from nnjax.training import checkpoint, feed, fits, initial, paths, runner, step
from nnjax.training.evaluate import Evaluator, on_the_way, score
from nnjax.training.hook import Hook
from nnjax.training.setup import Setup

Tree = Any
SAVE_SECONDS = 10  # between two checkpoints, at least: more often costs more than a kill does


class Lanes:
    """A lane for each point; `training.loop.drive` drives it like a run.

    One call steps them all. A lane that diverges or is dropped takes no time from then on.
    """

    def __init__(
        self,
        made: Setup,
        run: programs.Programs,
        points: list[Point],
        numbers: list[dict],
        indices: list[int],
        each: int,
        checkpoints: Path | None,
        say: Callable[[list[dict]], None],
        room: int = 0,
    ):
        """Begins at step 0, or at the latest checkpoint.

        Args:
          made: the group's Setup.
          run: the sweep's executables.
          points: one for each lane.
          numbers: their arguments of the step.
          indices: their numbers in the sweep.
          each: lanes side by side on each device, at most.
          checkpoints: where the lanes are kept.
          say: is given new records.
          room: for so many lanes the program is made, at least.
        """
        self.made, self.run, self._say = made, run, say
        self.points, self.indices, self._size = points, indices, (each, room)
        self.numbers = seats.stack(numbers)
        self.seeds = np.array([point['seed'] for point in points], np.uint32)
        self.best_of = schema.best(made.config.best)
        self.step = 0
        self._data = run.placement.share(feed.resident(made))
        self._valid = made.dataset.valid and Evaluator(made, made.dataset.valid)
        self._chunked = runner.chunked(made)
        self._checkpoints = checkpoints and checkpoint.Checkpoints(checkpoints, made.config.keep)
        self._first_runs = checkpoints and checkpoints.with_name(f'{checkpoints.name}-first')
        self._seats = self._begin()
        self._rows = Rows(made, self.seeds.tolist(), self.step)
        self._placed()
        self._began = self._window_began = self._saved = time.monotonic()
        self._window_step = self.step

        every = lambda text: max(1, made.steps(text))
        self.hooks = [Hook(every(made.config.log_every), self.log)]
        if self._valid:
            self.hooks.append(Hook(every(made.config.eval_every), self.evaluate))
        if checkpoints:
            self.hooks.append(Hook(every(made.config.save_every), self.save_now_and_then))

    @property
    def lanes(self) -> list[int]:
        """The lanes still on their way."""
        return self._seats.alive

    @property
    def stop(self) -> bool:
        """Whether no lane is left."""
        return not self._seats.alive

    @property
    def swept(self) -> list[str]:
        """The points' fields that are arguments of the step."""
        traced = {*build.traced_paths(self.numbers)} - {'total'}  # the same in all lanes
        return [path for path in self.points[0] if path in traced]

    def _begin(self) -> Seats:
        """Every lane's start, or where the latest checkpoint has them."""
        on = list(range(len(self.points)))
        if self._checkpoints and self._checkpoints.steps():
            placed = lambda leaf: self.run.placement.replicated
            whole = self._checkpoints.restore(programs.template(self.made, len(on)), placed)
            whole = jax.device_get(whole)
            self.numbers, self.step = whole['numbers'], int(whole['step'])
            on = np.flatnonzero(whole['on']).tolist()
            whole = {name: whole[name] for name in ('carry', 'best')}
        else:
            fits.check(self.made)
            given = initial.of_seeds(self.made, self.seeds.tolist(), self._first_runs)
            whole = seats.stack([self._first(lane, given[int(self.seeds[lane])]) for lane in on])
        return Seats(whole, on, *self._size, self.run.placement)

    def _first(self, lane: int, given: Mapping) -> Tree:
        made, numbers = self.made, seats.pick(self.numbers, lane)
        carry, best = runner.first(made, runner.initial(made, self.seeds[lane], numbers, given))
        return jax.device_get({'carry': carry, 'best': best})

    def whole(self) -> Tree:
        """{'carry', 'best'} of all lanes [L, ...], on the host."""
        return self._seats.whole()

    def wait(self) -> None:
        """Returns when every step is done."""
        jax.block_until_ready(self._seats.tree)

    def _placed(self) -> None:
        """Puts what is a lane's own beside its seat; needed after every change of seats."""
        lanes = np.maximum(self._seats.lanes, 0)
        mine = {
            'numbers': seats.pick(self.numbers, lanes),
            'seed': np.searchsorted(self._rows.seeds, self.seeds[lanes]).astype(np.int32),
            'on': self._seats.on,
        }
        self._mine = jax.device_put(mine, self.run.placement.lanes)

    def advance(self, until: int) -> None:
        """Trains every lane to step `until` or a chunk's end before it."""
        count = min(until - self.step, runner.CHUNK)
        if self._chunked:
            tables = self._rows.many(self.step, count, runner.CHUNK)
            self._step(programs.many, (self._data, np.int32(count)), tables)
        else:
            count = min(count, 16)  # between two looks at the signals
            for number in range(self.step, self.step + count):
                self._step(programs.one, self._data, self._rows.one(number))
        self.step += count

    def _step(self, kind: Callable, fixed, batches: Batches) -> None:
        tree, program = self._seats.tree, self.made.program
        tree['carry'] = self.run(
            kind, program, self._seats, self._chunked, tree['carry'], fixed, batches, self._mine
        )

    def check(self) -> None:
        """Ends the lanes whose loss was not finite."""
        found = self._seats.by_lane(self._seats.tree['carry'].bad)
        bad = {lane: int(at) for lane, at in found.items() if at >= 0}
        self._write(
            {**self._about(lane, 'train'), 'step': at, 'diverged': True} for lane, at in bad.items()
        )
        self._leave(bad)

    def log(self) -> None:
        self.check()
        now, count = time.monotonic(), max(1, self.step - self._window_step)
        each = 1000 * (now - self._window_began) / count / max(1, len(self.lanes))
        carry = self._seats.tree['carry']
        found = self._seats.by_lane(carry.sums)
        empty = self._empty(self.made.train_sums)
        self._seats.tree['carry'] = dataclasses.replace(carry, sums=empty)
        self._write(
            {
                **self._about(lane, 'train'),
                **step.means(found[lane]),
                'step_milliseconds': round(each, 4),
            }
            for lane in self.lanes
        )
        self._window_step, self._window_began = self.step, now

    def evaluate(self) -> None:
        """Every lane's averages on the validation split; the better parameters are kept."""
        self.check()
        began = time.monotonic()
        direction, metric = self.best_of
        tree = self._seats.tree
        found = self._averages(tree['carry'].state, self._valid)
        if self.made.scores_at(self.step):
            for lane, alone in self._seats.by_lane(tree['carry'].state).items():
                found[lane] |= on_the_way(self.made, self._own(lane, self._valid), alone)
        value = [found.get(lane, {}).get(metric, np.nan) for lane in self._seats.lanes.tolist()]
        value = np.array(value, np.float32)  # NaN never wins
        tree['best'] = programs.better(tree['best'], tree['carry'].state, value, direction == 'max')
        self._write({**self._about(lane, 'valid'), **found[lane]} for lane in sorted(found))
        if self.made.config.patience and self.step < self.made.total:
            patience = self.made.steps(self.made.config.patience)
            best = self._seats.by_lane(tree['best']['step'])
            late = lambda lane: self.step - best[lane] >= patience
            ended = [lane for lane, record in found.items() if metric in record and late(lane)]
            self._score(ended)
            self._leave(ended)
        self._window_began += time.monotonic() - began

    def _averages(self, state, evaluator: Evaluator) -> dict[int, dict]:
        sums, mine = self._empty(self.made.eval_sums), {**self._mine, 'state': state}
        run = functools.partial(self.run, programs.evaluate, self.made.program, self._seats)
        for batch in evaluator.batches():
            fields = {n: a for n, a in batch.items() if n != 'index'}
            sums = run(self._chunked, sums, (), fields, mine)
        return {lane: step.means(own) for lane, own in self._seats.by_lane(sums).items()}

    def _empty(self, sums: step.Sums) -> step.Sums:
        count = len(self._seats.lanes)
        empty = jax.tree.map(lambda s: np.zeros((count, *s.shape), s.dtype), sums)
        return jax.device_put(empty, self.run.placement.lanes)

    def save_now_and_then(self) -> None:
        """Keeps the lanes, unless that was done seconds ago."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> bool:
        """Keeps the lanes, where there is a folder: whether there is one."""
        self.check()
        if self._checkpoints:
            on = np.isin(np.arange(len(self.points)), self.lanes)
            more = {'numbers': self.numbers, 'on': on, 'step': np.int32(self.step)}
            self._checkpoints.save(self.step, {**self.whole(), **more})
            self._saved = time.monotonic()
        return bool(self._checkpoints)

    def drop(self, last: Mapping[int, dict]) -> None:
        """Ends lanes; `last` are their last validation records."""
        self._write({**record, 'dropped': True} for record in last.values())
        self._leave(last)

    def exchange(self, sources: Mapping[int, int], numbers: Tree) -> None:
        """Lane `target` goes on from where lane `sources[target]` is, with other `numbers`.

        Its seed stays its own, so its data and noise do too.
        """
        self.numbers = numbers
        self._seats.exchange(sources)
        self._placed()

    def _leave(self, lanes: Collection[int]) -> None:
        if lanes:
            self._seats.leave(lanes)
            self._placed()

    def finish(self) -> None:
        """Scores the best parameters of the lanes that came to the end, on the test split."""
        self.save()
        if self._checkpoints:
            self._checkpoints.wait()  # the records say that all is on disk
        self._score(self.lanes)

    def _score(self, lanes: Collection[int]) -> None:
        """Records what the best parameters of lanes that came to an end score on the test split."""
        if not lanes:
            return
        made, tree = self.made, self._seats.tree
        split = 'test' if made.dataset.test else 'valid'
        source = getattr(made.dataset, split)
        evaluator = source and (Evaluator(made, source) if split == 'test' else self._valid)
        state = runner.best_state(tree['carry'].state, tree['best'])
        averages = self._averages(state, evaluator) if source else {}
        host, records = self._seats.by_lane((state, tree['best'])), []
        for lane in sorted(lanes):
            alone, best = host[lane]
            record = {**self._about(lane, split), **averages.get(lane, {})}
            if source and made.scored:
                record |= score(made, self._own(lane, evaluator).predictions(alone))
            if best:
                record |= {'best_step': int(best['step']), 'best_value': float(best['value'])}
            records.append({**record, 'parameters': paths.size(alone.params), 'finished': True})
        self._write(records)

    def _own(self, lane: int, evaluator: Evaluator) -> Evaluator:
        """The same evaluator with a lane's numbers."""
        return evaluator.having(seats.pick(self.numbers, lane))

    def _about(self, lane: int, split: str) -> dict[str, Any]:
        return {
            'point': self.indices[lane],
            'split': split,
            'step': self.step,
            'epoch': round(self.step / self.made.order.epoch, 4),
            'seconds': round(time.monotonic() - self._began, 3),
        }

    def _write(self, records: Iterable[dict]) -> None:
        if records := list(records):
            self._say(records)

    def close(self) -> None:
        if self._checkpoints:
            self._checkpoints.close()

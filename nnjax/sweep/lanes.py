"""Points of one group on their way, side by side: what `training.run.Run` is for one."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax import build, schema
from nnjax.sweep import programs, slots
from nnjax.sweep.points import Point
from nnjax.sweep.slots import Slot
from nnjax.training import checkpoint, feed, paths, runner, step
from nnjax.training.evaluate import Evaluator, score
from nnjax.training.run import Hook
from nnjax.training.setup import Setup

Tree = Any


class Lanes:
    """A lane for each point; `training.loop.drive` drives it like a run.

    Lanes sit in slots of `width`, which the devices share; a slot is stepped by one call. A lane
    that is dropped leaves its seat, and a slot without lanes costs nothing.
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
    ):
        """Begins at step 0, or at the latest checkpoint.

        Args:
          made: the group's Setup.
          run: the sweep's executables.
          points: one for each lane.
          numbers: their arguments of the step.
          indices: their numbers in the sweep.
          each: lanes of a slot on each device.
          checkpoints: where the lanes are kept.
          say: is given new records.
        """
        self.made, self.run, self._say = made, run, say
        self.points, self.indices = points, indices
        self.width = each * run.placement.devices
        self.numbers = slots.stack(numbers)
        self.seeds = np.array([point['seed'] for point in points], np.uint32)
        self.best_of = schema.best(made.config.best)
        self.step, self.stop = 0, False
        self._data = run.placement.share(feed.resident(made))
        self._valid = made.dataset.valid and Evaluator(made, made.dataset.valid)
        self._chunked = runner.chunked(made)
        self._began = self._window_began = self._saved = time.monotonic()
        self._window_step = 0
        self._checkpoints = None
        self._begin(checkpoints)
        self._streams = None if made.resident else self._open()

        every = lambda text: max(1, made.steps(text))
        self.hooks = [Hook(every(made.config.log_every), self.log)]
        if self._valid:
            self.hooks.append(Hook(every(made.config.eval_every), self.evaluate))
        if checkpoints:
            self.hooks.append(Hook(every(made.config.save_every), self.save_now_and_then))

    @property
    def lanes(self) -> list[int]:
        """The lanes still on their way."""
        return sorted(lane for slot in self._slots for lane in slot.real)

    def _begin(self, path: Path | None) -> None:
        lanes = list(range(len(self.points)))
        if path:
            self._checkpoints = checkpoint.Checkpoints(path, self.made.config.keep)
        if self._checkpoints and self._checkpoints.steps():
            whole = self._checkpoints.restore(
                self.template(self.made, len(lanes)), lambda leaf: self.run.placement.replicated
            )
            whole = jax.device_get(whole)
            self.numbers, self.step = whole['numbers'], int(whole['step'])
            lanes = [lane for lane in lanes if whole['on'][lane]]
            self._window_step = self.step
        else:
            whole = slots.stack([self._first(lane) for lane in lanes])
        self._slots = slots.seat(whole, lanes, self.width, self.run.placement)
        self._left = {
            lane: slots.pick({n: whole[n] for n in ('carry', 'best')}, lane)
            for lane in range(len(self.points))
            if lane not in lanes
        }
        self.stop = not lanes

    def _first(self, lane: int) -> Tree:
        made, numbers = self.made, slots.pick(self.numbers, lane)
        init = runner.compiled(made.program, made.placement, 'init')
        batch = {n: np.zeros(s.shape, s.dtype) for n, s in made.batch_shapes(1).items()}
        carry, best = runner.first(made, init(self.seeds[lane], batch, numbers, {}))
        return jax.device_get({'carry': carry, 'best': best})

    @staticmethod
    def template(made: Setup, count: int) -> Tree:
        """The shapes of a checkpoint of so many lanes."""
        carry, best = jax.eval_shape(lambda s: runner.first(made, s), made.state)
        one = {'carry': carry, 'best': best, 'numbers': made.hyperparameters, 'on': np.bool_(True)}
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((count, *jnp.shape(x)), jnp.result_type(x)), one
        )
        return {**shapes, 'step': jax.ShapeDtypeStruct((), np.int32)}

    @property
    def swept(self) -> list[str]:
        """The points' fields that are arguments of the step."""
        return [path for path in self.points[0] if path in build.traced_paths(self.numbers)]

    def wait(self) -> None:
        """Returns when every step is done."""
        jax.block_until_ready([slot.carry for slot in self._slots])

    def _open(self) -> dict:
        return {seed: feed.stream(self.made, self.step, int(seed)) for seed in set(self.seeds)}

    def advance(self, until: int) -> None:
        """Trains every lane to step `until` or a chunk's end before it."""
        made, run = self.made, self.run
        count = min(until - self.step, runner.CHUNK)
        if self._streams is not None or not self._chunked:
            count = min(count, 16)
            for number in range(count):
                self._one(number)
        else:
            tables = self._tables(count, runner.CHUNK)
            for slot in self._slots:
                batches = self._for(slot, tables)
                arguments = (self._data, batches, self._numbers(slot), np.int32(count))
                slot.carry = run(programs.many, made.program, slot.carry, *arguments)
        self.step += count

    def _one(self, number: int) -> None:
        if self._streams is not None:
            batches = {seed: next(self._streams[seed]) for seed in set(self.seeds[self.lanes])}
        else:
            tables = self._tables(1, 1, number)
            batches = {seed: {n: a[0] for n, a in table.items()} for seed, table in tables.items()}
        for slot in self._slots:
            arguments = (self._data, self._for(slot, batches), self._numbers(slot))
            slot.carry = self.run(programs.one, self.made.program, slot.carry, *arguments)

    def _tables(self, count: int, length: int, ahead: int = 0) -> dict:
        seeds = set(self.seeds[self.lanes])
        return {s: feed.table(self.made, self.step + ahead, count, length, int(s)) for s in seeds}

    def _for(self, slot: Slot, batches: dict) -> dict:
        """{seed: batch} -> the batches of a slot's lanes, stacked."""
        return slots.stack([batches[self.seeds[lane]] for lane in slot.lanes])

    def _numbers(self, slot: Slot) -> dict:
        return jax.tree.map(lambda x: x[slot.lanes], self.numbers)

    def check(self) -> None:
        """Ends the lanes whose loss was not finite."""
        bad = {}
        for slot in self._slots:
            for lane, at in zip(slot.lanes, jax.device_get(slot.carry.bad)):
                if lane in slot.real and at >= 0:
                    bad[lane] = int(at)
        self._write(
            {**self._about(lane, 'train'), 'step': at, 'diverged': True} for lane, at in bad.items()
        )
        self._leave(bad)

    def log(self) -> None:
        self.check()
        now, count = time.monotonic(), max(1, self.step - self._window_step)
        each = 1000 * (now - self._window_began) / count / max(1, len(self.lanes))
        found = {}
        for slot in self._slots:
            found |= slots.by_lane(slot, jax.device_get(slot.carry.sums))
            slot.carry = dataclasses.replace(
                slot.carry, sums=self._empty(slot, self.made.train_sums)
            )
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
        found, ended = {}, []
        patience = self.made.config.patience and self.made.steps(self.made.config.patience)
        for slot in self._slots:
            averages = self._averages(slot, slot.carry.state, self._valid)
            found |= {lane: averages[lane] for lane in slot.real}
            value = np.array([averages[lane][metric] for lane in slot.lanes], np.float32)
            slot.best = slots.better(slot.best, slot.carry.state, value, direction == 'max')
            if patience:
                since = self.step - jax.device_get(slot.best['step'])
                ended += [n for n, s in zip(slot.lanes, since) if n in slot.real and s >= patience]
        self._write({**self._about(lane, 'valid'), **found[lane]} for lane in sorted(found))
        if ended and self.step < self.made.total:
            self._score(ended)
            self._leave(ended)
        self._window_began += time.monotonic() - began

    def _averages(self, slot: Slot, state, evaluator: Evaluator) -> dict[int, dict]:
        sums, numbers = self._empty(slot, self.made.eval_sums), self._numbers(slot)
        for batch in evaluator.batches():
            fields = {n: a for n, a in batch.items() if n != 'index'}
            sums = self.run(programs.evaluate, self.made.program, state, sums, fields, numbers)
        found = slots.by_lane(slot, jax.device_get(sums))
        return {lane: step.means(own) for lane, own in found.items()}

    def _empty(self, slot: Slot, sums: step.Sums) -> step.Sums:
        return jax.tree.map(lambda s: np.zeros((len(slot.lanes), *s.shape), s.dtype), sums)

    def save_now_and_then(self) -> None:
        """Keeps the lanes, unless that was done seconds ago."""
        if time.monotonic() - self._saved > 10:
            self.save()

    def save(self) -> None:
        self.check()
        if self._checkpoints:
            self._checkpoints.save(self.step, self._whole())
            self._saved = time.monotonic()

    def _whole(self) -> Tree:
        """Everything that a resumed sweep needs."""
        lanes = self.lanes
        trees = {**self._left, **slots.fetch(self._slots, lanes)}
        seats = slots.stack([trees[lane] for lane in range(len(self.points))])
        on = np.isin(np.arange(len(self.points)), lanes)
        return {**seats, 'numbers': self.numbers, 'on': on, 'step': np.int32(self.step)}

    def drop(self, last: Mapping[int, dict]) -> None:
        """Ends lanes; `last` are their last validation records."""
        self._write({**record, 'dropped': True} for record in last.values())
        self._leave(last)

    def exchange(self, sources: dict[int, int], numbers: Tree) -> None:
        """Lane `target` goes on from where lane `sources[target]` is, with other `numbers`.

        Its seed stays its own, so its data and noise do too.
        """
        self.numbers = numbers
        self._slots = slots.exchange(self._slots, sources, self.width, self.run.placement)

    def _leave(self, lanes: Iterable[int]) -> None:
        lanes = set(lanes)
        if not lanes:
            return
        self._left |= slots.fetch(self._slots, sorted(lanes))
        self._slots = slots.without(self._slots, lanes, self.width, self.run.placement)
        self.stop = not self._slots

    def finish(self) -> None:
        """Scores the best parameters of the lanes that came to the end, on the test split."""
        self.save()
        if self._checkpoints:
            self._checkpoints.wait()  # the records say that all is on disk
        self._score(self.lanes)

    def _score(self, lanes: list[int]) -> None:
        made = self.made
        split = 'test' if made.dataset.test else 'valid'
        source = getattr(made.dataset, split)
        evaluator = source and (Evaluator(made, source) if split == 'test' else self._valid)
        records = []
        for slot in self._slots:
            mine = sorted(slot.real & set(lanes))
            if not mine:
                continue
            state = slot.carry.state
            if self._valid:
                best = slot.best
                state = state.replace(
                    params=best['params'], ema=None, model_state=best['model_state']
                )
            averages = self._averages(slot, state, evaluator) if source else {}
            host = jax.device_get(slot.best) if self._valid else {}
            for lane in mine:
                alone = slots.pick((state, host), list(slot.lanes).index(lane))
                record = {**self._about(lane, split), **averages.get(lane, {})}
                if source:
                    own = evaluator.having(slots.pick(self.numbers, lane))
                    record |= score(made, own.predictions(alone[0])) if made.scored else {}
                if self._valid:
                    record |= {
                        'best_step': int(alone[1]['step']),
                        'best_value': float(alone[1]['value']),
                    }
                record |= {'parameters': paths.size(alone[0].params), 'finished': True}
                records.append(record)
        self._write(records)

    def _about(self, lane: int, split: str) -> dict[str, Any]:
        return {
            'point': self.indices[lane],
            'split': split,
            'step': self.step,
            'epoch': round(self.step * self.made.config.batch / len(self.made.dataset.train), 4),
            'seconds': round(time.monotonic() - self._began, 3),
        }

    def _write(self, records: Iterable[dict]) -> None:
        if records := list(records):
            self._say(records)

    def close(self) -> None:
        if self._checkpoints:
            self._checkpoints.close()

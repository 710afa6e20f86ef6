"""The changing half of a run: the carry, the best parameters, the records, and what is done when."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nnjax import config as configs
from nnjax.errors import Diverged, UserError
from nnjax.training import (
    checkpoint,
    evaluate,
    feed,
    fits,
    freeze,
    hosts,
    initial,
    paths,
    rescue,
    runner,
    step,
)
from nnjax.training.folder import RunFolder
from nnjax.training.hook import Hook
from nnjax.training.progress import Progress
from nnjax.training.setup import Setup
from nnjax.training.state import State


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes:
      metrics: final averages and scores on the test split (validation where there is no test).
      records: every line of metrics.jsonl.
      state: the final state.
      params: the best parameters on validation (the final ones without a validation split).
      folder: the run folder, or None.
    """

    metrics: dict[str, float]
    records: list[dict[str, Any]]
    state: State | None = None
    params: Any = None
    folder: Path | None = None


class Run:
    """One run, in memory and on disk; `loop.train` drives it, benchmarks may too.

    Of several processes the first writes the records; all write the checkpoints.
    """

    def __init__(
        self,
        made: Setup,
        folder: RunFolder | None,
        experiment: str,
        quiet: bool,
        force: bool = False,
    ):
        self.made, self.stop = made, False
        self.folder = folder if hosts.first() else None  # where this process writes
        resumes = folder and checkpoint.steps(folder.checkpoints)
        place = folder and folder.path
        if not resumes:
            fits.check(made)
        given, taken = ({}, '') if resumes else initial.given(made, folder=place, quiet=quiet)
        self._began = self._window_began = time.monotonic()
        self._window_step = 0
        self._data = feed.resident(made)
        self._valid = made.dataset.valid and evaluate.Evaluator(made, made.dataset.valid)
        carry, best = runner.start(made, given)
        self._empty = carry.sums
        self.carry, self.best = made.placement.place(carry), jax.device_get(best)
        self.step, self.records, self.listeners = 0, [], []
        self._checkpoints = None
        if folder:
            self._open(folder, experiment, force)
        self._stream = None if made.resident else feed.stream(made, self.step)
        self._chunked = runner.chunked(made)
        self._progress = Progress(made.total, self.step, quiet or not hosts.first())
        self._announce(taken)

        every = lambda text: max(1, made.steps(text))
        config = made.config
        self.hooks = [Hook(every(config.log_every), self.log)]
        if self._valid:
            self.hooks.append(Hook(every(config.eval_every), self.evaluate))
            if self._missed(self.hooks[-1]):
                self.evaluate()
        if folder:
            self.hooks.append(Hook(every(config.save_every), self.save))

    def _open(self, folder: RunFolder, experiment: str, force: bool) -> None:
        """Creates the run folder, or goes on from its latest checkpoint; `force` is `loop.train`'s."""
        hosts.barrier()  # all have seen the folder as it was
        if self.folder and not folder.exists:
            folder.create(self.made.config, experiment, self.made.dataset, self.made.prepare)
        hosts.barrier()
        if not folder.exists:
            raise UserError(
                f'{folder.path} is not there: --workdir must be one folder that every process sees'
            )
        self._checkpoints = checkpoint.Checkpoints(folder.checkpoints, self.made.config.keep)
        if self._checkpoints.steps():
            saved = self._checkpoints.restore(self._saved(), self.made.placement.sharding)
            self.carry, self.best = saved['carry'], self.made.placement.fetch(saved['best'])
            self.step = int(self.carry.state.step)
        elif self.made.config.get('init_from'):
            self._checkpoints.save(0, self._saved())
            self._checkpoints.wait()  # from here on `init_from` is not read again
        if self.folder:
            if force:
                folder.replace(self.step)
                folder.create(self.made.config, experiment, self.made.dataset, self.made.prepare)
            folder.truncate(self.step)
        hosts.barrier()
        self.records = folder.records()
        self._began -= max([r['seconds'] for r in self.records] + [0])  # that were spent before
        self._window_step = max([r['step'] for r in self.records if r['split'] == 'train'] + [0])

    def _announce(self, taken: str) -> None:
        """What `init_from` gave, and how much trains where `freeze` holds something back."""
        program, params = self.made.program, self.carry.state.params
        if taken:
            self._progress.say(taken)
        if self.made.padding:
            self._progress.say(f'{self.made.padding:.1%} of the training batches is padding')
        if program.freeze:
            trained = paths.size(freeze.trained(program.freeze, params))
            self._progress.say(f'freeze: {trained:,} of {paths.size(params):,} parameters train')

    def _saved(self) -> dict:
        return {'carry': self.carry, 'best': self.best}

    def advance(self, until: int) -> None:
        """Trains to step `until` or a chunk's end before it."""
        made = self.made
        count = min(until - self.step, runner.CHUNK)
        control = (made.hyperparameters,)
        if self._stream is not None:
            count = 1
            self._one(next(self._stream), control)
        elif self._chunked:
            batches = feed.table(made, self.step, count, runner.CHUNK)
            run = runner.compiled(made.program, made.placement, 'many')
            self.carry = run(self.carry, self._data, batches, (*control, np.int32(count)))
        else:
            count = min(count, 16)  # between two looks at the signals
            batches = feed.table(made, self.step, count, count)
            for number in range(count):
                self._one({n: a[number] for n, a in batches.items()}, control)
        self.step += count
        self._progress.update(self.step)

    def _one(self, batch, control) -> None:
        run = runner.compiled(self.made.program, self.made.placement, 'one')
        self.carry = run(self.carry, self._data, batch, control)

    def check(self) -> None:
        """Raises Diverged if a loss was not finite."""
        bad = int(self.carry.bad)
        if bad >= 0:
            saved = self._checkpoints.steps()[-1:] if self._checkpoints else []
            raise Diverged(
                f'the loss is not finite at step {bad} of {self.made.total} '
                f'({"last checkpoint: step " + str(saved[0]) if saved else "no checkpoint yet"}); '
                + (
                    'try a smaller --config.optim.lr or set --config.optim.clip=1.0, '
                    'and see that no label is beyond the classes'
                    if bad
                    else 'nothing was learnt before it: look for NaN in the data, '
                    'and for labels that are no class'
                )
            )

    def log(self) -> None:
        self.check()
        averages = step.means(self.carry.sums)
        now = time.monotonic()
        count = max(1, self.step - self._window_step)
        averages['step_milliseconds'] = round(1000 * (now - self._window_began) / count, 4)
        self._record('train', averages)
        self._window_step, self._window_began = self.step, now
        empty = self.made.placement.place(self._empty)
        self.carry = dataclasses.replace(self.carry, sums=empty)

    def evaluate(self) -> None:
        self.check()
        began = time.monotonic()
        state = self.carry.state
        with rescue.saving(self):
            averages = self._valid(state)
            if self.made.scores_at(self.step):
                averages |= evaluate.on_the_way(self.made, self._valid, state)
        self._progress.show(self._record('valid', averages))
        self._compare(averages)
        self._window_began += time.monotonic() - began  # step time is of training alone

    def _missed(self, hook: Hook) -> bool:
        """Whether the run was saved where validation could not be read; it is scored now."""
        scored = (r['split'] == 'valid' and r['step'] == self.step for r in self.records)
        return self.step > 0 and hook.due(self.step, self.made.total) and not any(scored)

    def _compare(self, averages: dict[str, float]) -> None:
        """Keeps the parameters if they are the best so far; ends the run where patience does."""
        direction, metric = configs.schema.best(self.made.config.best)
        if metric not in averages:
            return
        value = np.float32(averages[metric])
        better = value < self.best['value'] if direction == 'min' else value > self.best['value']
        if better:
            state = self.carry.state
            kept = {'params': state.best_params, 'model_state': state.model_state}
            kept = self.made.placement.fetch(kept)
            self.best = {'step': np.int32(self.step), 'value': value, **kept}
        patience = self.made.config.patience
        if patience is not None and self.step - self.best['step'] >= self.made.steps(patience):
            self.stop = True

    def save(self) -> bool:
        """Writes a checkpoint, where there is a folder: whether there is one."""
        self.check()
        if self._checkpoints:
            began = time.monotonic()
            self._checkpoints.save(self.step, self._saved())
            self._window_began += time.monotonic() - began
        return bool(self._checkpoints)

    def _record(self, split: str, averages: dict[str, float], **more) -> dict[str, Any]:
        epoch = self.step / self.made.order.epoch
        record = {
            'split': split,
            'step': self.step,
            'epoch': round(epoch, 4),
            'seconds': round(time.monotonic() - self._began, 3),
            **averages,
            **more,
        }
        self.records.append(record)
        if self.folder:
            self.folder.append(record)
        for listener in self.listeners:
            listener(record)
        return record

    def finish(self) -> Result:
        """Scores the best parameters on the test split, once."""
        self.check()
        self.save()
        made = self.made
        state = made.placement.place(runner.best_state(self.carry.state, self.best))
        split = 'test' if made.dataset.test else 'valid'
        source = getattr(made.dataset, split)
        metrics = {}
        if source:
            evaluator = evaluate.Evaluator(made, source) if split == 'test' else self._valid
            metrics = evaluator(state)
            predictions = evaluator.predictions(state)
            metrics |= evaluate.score(made, predictions)
            kept = evaluate.kept(made, source, predictions, state)  # of shared arrays: by all
            if self.folder:
                self.folder.save_predictions(split, kept)
        decided = evaluate.decided(made, self._valid, state)
        if self.folder and decided:
            self.folder.save_decided(decided)
        found = self.best and np.isfinite(self.best['value'])
        best_step = int(self.best['step']) if found else self.step
        record = self._record(
            split, metrics, best_step=best_step, parameters=paths.size(state.params), finished=True
        )
        self._progress.show(record)
        params = self.best['params'] if found else self.carry.state.best_params
        return Result(
            metrics, self.records, self.carry.state, params, self.folder and self.folder.path
        )

    def close(self) -> None:
        self._progress.close()
        if self._checkpoints:
            self._checkpoints.close()

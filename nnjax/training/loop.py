"""The loop: config in, result out. One for every task, model and machine."""

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax.data.preparation import digest
from nnjax.errors import Interrupted, UserError
from nnjax.training import arrange, hosts, rescue
from nnjax.training import tensorboard as events
from nnjax.training.folder import RunFolder
from nnjax.training.run import Result, Run
from nnjax.training.setup import setup


def train(
    config: ConfigDict,
    workdir: str | Path | None = None,
    *,
    experiment: str = '',
    force: bool = False,
    tensorboard: bool = False,
    quiet: bool = True,
) -> Result:
    """Trains a config from start to end, or on from the run folder's last checkpoint.

    Of several processes (`hosts.joined`) each makes the same call, with one `workdir` for all.

    Args:
      config: an experiment's config.
      workdir: the run folder; None writes nothing.
      experiment: the name saved with the run.
      force: resume even though the config differs from the saved one, which is set aside; a
        finished run goes on to a larger `total`.
      tensorboard: also write TensorBoard events (needs the extra and a workdir).
      quiet: no progress on the terminal.

    Raises:
      UserError: the config cannot run, or is not the run folder's.
      Diverged: the loss became NaN or infinite; names the step.
      Interrupted: SIGTERM or SIGINT came; a checkpoint was written.
    """
    folder = RunFolder(workdir) if workdir is not None else None
    forced = bool(force and folder and folder.exists)
    if folder and folder.exists:
        _same_config(folder, config, force)
        if (record := folder.finished()) and not (force and folder.changes(config)):
            return Result(_numbers(record), folder.records(), folder=folder.path)
    if tensorboard:
        events.require()
    goes_on = folder and folder.exists and not force
    made = setup(config, arrange.kept(config, folder) if folder and folder.exists else None)
    if goes_on:
        _same_data(folder, made.dataset.train.fingerprint)
    hosts.same('config', json.dumps(configs.to_json(config), sort_keys=True))
    hosts.same('data', made.dataset.train.fingerprint)
    hosts.same('statistics', digest(made.prepare.statistics))
    with contextlib.ExitStack() as stack:
        run = Run(made, folder, experiment, quiet, forced)
        if tensorboard and run.folder:
            run.listeners.append(events.writer(folder.path))
        stack.callback(run.close)
        stopped = stack.enter_context(signals())
        drive(run, made.total, stopped)
        return run.finish()


def drive(run: Any, until: int, stopped: Callable[[], str]) -> None:
    """Advances a run, or a sweep's lanes, to step `until`, with what its hooks do on the way.

    Raises:
      Interrupted: `stopped` names a signal; everything is saved.
      UserError: data cannot be read; the last finished step is saved.
    """
    total = run.made.total
    while run.step < until and not run.stop:
        with rescue.saving(run):
            run.advance(min(until, *(h.next(run.step) for h in run.hooks)))
        for hook in run.hooks:
            if hook.due(run.step, total):
                hook.act()
        if name := stopped():
            run.check()
            run.save()
            raise Interrupted(
                f'stopped by {name} at step {run.step}; the same command goes on from there'
            )


def _same_config(folder: RunFolder, config: ConfigDict, force: bool) -> None:
    changes = folder.changes(config)
    if changes and not force:
        raise UserError(
            f'{folder.path} was made with another config ({"; ".join(changes[:3])}'
            f'{" ..." if len(changes) > 3 else ""}); name a new --workdir, '
            'or --force to go on with the new one'
        )


def _same_data(folder: RunFolder, fingerprint: str) -> None:
    if folder.data() != fingerprint:
        raise UserError(
            f'{folder.path} was trained on other data (fingerprint {folder.data()}, now '
            f'{fingerprint}); name a new --workdir, or --force to go on with the new data'
        )


def _numbers(record: dict) -> dict[str, float]:
    skip = ('split', 'step', 'epoch', 'seconds', 'best_step', 'parameters', 'finished')
    return {name: value for name, value in record.items() if name not in skip}


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], str]]:
    """Yields a function that gives the name of SIGTERM or SIGINT once it has come, else ''."""
    caught: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield str
        return
    if hosts.many():
        with hosts.stopping() as stopped:
            yield stopped
        return

    def note(number, frame):
        if caught:  # a second one means it
            raise KeyboardInterrupt
        caught.append(signal.Signals(number).name)

    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: ''.join(caught[:1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What a person watches: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time

from nnjax.readable import scores


class Progress:
    """A bar over a run's steps. `quiet` shows nothing."""

    def __init__(self, total: int, start: int = 0, quiet: bool = False):
        self._quiet = quiet
        self._bar = None
        self._began = time.monotonic()
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('steps'),
            TimeRemainingColumn(),
            TextColumn('{task.description}'),
            console=Console(stderr=True),
            transient=False,
        )
        self._bar.start()
        self._task = self._bar.add_task('', total=total, completed=start)

    def update(self, step: int) -> None:
        if self._bar:
            self._bar.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """A line about the run."""
        if not self._quiet:
            print(text, file=sys.stderr)

    def show(self, record: dict) -> None:
        """A validation or test record."""
        text = f'{record["split"]} {scores(record, most=1)}'
        if self._bar:
            self._bar.update(self._task, description=text)
        elif not self._quiet:
            print(f'step {record["step"]:>7}  {record["seconds"]:7.1f} s  {text}', file=sys.stderr)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

"""A sweep shared out among processes or machines: each trains its share in a folder of its own."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import jax
from ml_collections import ConfigDict

from nnjax import schema
from nnjax.errors import Interrupted, UserError
from nnjax.machine import processors
from nnjax.sweep import plan, table
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.points import Point, configuration
from nnjax.training import loop
from nnjax.training.setup import setup

DEVICES = Path('/dev')
PATIENCE = 3  # seconds: Ctrl-C comes to all processes, and a second signal costs their checkpoints


def create(
    config: ConfigDict, points: Iterable[Point], workdir: str | Path, experiment: str, count: int
) -> SweepFolder:
    """The sweep folder whose points `count` processes share, or the one that is there already.

    Raises:
      UserError: the points or the config cannot run, or are not the folder's.
    """
    points = plan.check(config, points)
    made = setup(plan.groups(config, points)[0].config)  # what cannot run is said here
    whole = SweepFolder(workdir)
    if whole.exists:
        whole.same(config, points, made.dataset.train.fingerprint)
        if 'shares' not in whole.plan():
            raise UserError(f'{workdir} was begun by another runner; leave --runner as it was')
    else:
        shares = {'shares': split(points, count)}
        whole.create(config, experiment, made.dataset.train.fingerprint, points, shares)
    return whole


def split(points: Sequence[Point], count: int) -> list[list[int]]:
    """At most `count` shares of the points' numbers, of nearly equal size.

    Seeds of one configuration stay together, neighbours too: they are more often of one program.
    """
    seeds: dict[str, list[int]] = {}
    for number, point in enumerate(points):
        seeds.setdefault(configuration(point), []).append(number)
    groups = list(seeds.values())
    count = min(count, len(groups))
    cuts = [round(n * len(groups) / count) for n in range(count + 1)]
    return [list(itertools.chain(*groups[a:b])) for a, b in itertools.pairwise(cuts)]


def folder(whole: SweepFolder, share: int) -> Path:
    """Where a share's own sweep folder lies."""
    return whole.path / 'shares' / str(share)


def points(whole: SweepFolder, share: int) -> list[Point]:
    """The points of a share.

    Raises:
      UserError: no such share.
    """
    shares = whole.plan().get('shares', [])
    if not 0 <= share < len(shares):
        raise UserError(f'--share={share}: {whole.path} has {len(shares)} shares')
    every = whole.points()
    return [every[number] for number in shares[share]]


def command(whole: SweepFolder, share: int, spec: str) -> list[str]:
    """The command line that trains a share, or goes on with it."""
    where = [f'--config={spec}', f'--workdir={whole.path}', f'--share={share}', '--quiet']
    return [sys.executable, '-m', 'nnjax', 'sweep', *where]


def gpus() -> list[str]:
    """The GPUs of JAX's processes here, as CUDA_VISIBLE_DEVICES names them.

    JAX itself is not asked, for it would take their memory.
    """
    platforms = jax.config.jax_platforms
    plugins = metadata.entry_points(group='jax_plugins')
    here = [*DEVICES.glob('nvidia[0-9]*'), *DEVICES.glob('dxg')]  # the latter is WSL's
    if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
        return []
    if not here or not any('cuda' in plugin.name for plugin in plugins):
        return []
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is None:
        return [str(number) for number in range(len(here))]
    return [name.strip() for name in visible.split(',') if name.strip() not in ('', '-1')]


def run(
    whole: SweepFolder,
    spec: str,
    workers: int,
    say: Callable[[str], None],
    devices: Sequence[str] = (),
) -> None:
    """Trains every share in a process of its own, so many at a time, on one of `devices` each.

    Raises:
      UserError: one failed; names its log.
      Interrupted: SIGTERM or SIGINT came; the processes have ended, after their checkpoints.
    """
    waiting = list(range(len(whole.plan()['shares'])))
    going: dict[subprocess.Popen, int] = {}
    free = list(range(workers))
    environment = {**os.environ, 'OMP_NUM_THREADS': str(max(1, processors() // workers))}
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(loop.signals())
        stack.callback(_end, going)
        while waiting or going:
            while waiting and free:
                share, worker = waiting.pop(0), free.pop(0)
                if devices:
                    environment['CUDA_VISIBLE_DEVICES'] = devices[worker % len(devices)]
                path = folder(whole, share).with_suffix('.log')
                path.parent.mkdir(exist_ok=True)
                with open(path, 'a') as log:
                    process = subprocess.Popen(
                        command(whole, share, spec), env=environment, stdout=log, stderr=log
                    )
                process.worker = worker
                going[process] = share
                say(f'share {share}: {len(points(whole, share))} points, log {path}')
            if name := stopped():
                _wait(going, PATIENCE)
                raise Interrupted(f'stopped by {name}; the same command goes on from there')
            for process in [p for p in going if p.poll() is not None]:
                share = going.pop(process)
                free.append(process.worker)
                if process.returncode:
                    path = folder(whole, share).with_suffix('.log')
                    last = (path.read_text().strip().splitlines() or ['no output'])[-1]
                    raise UserError(f'share {share} failed: {last} ({path})')
                say(f'share {share}: done')
            time.sleep(0.05)


def _wait(processes: Iterable[subprocess.Popen], seconds: float) -> None:
    """Until all have ended, or so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.05)


def _end(processes: Iterable[subprocess.Popen]) -> None:
    """Ends processes, and returns when they have."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def collect(whole: SweepFolder) -> list[table.Row]:
    """Brings the shares' records together, and the winner where all have come to an end."""
    best, every, records = schema.best(whole.config()[1].best), whole.points(), []
    for share, numbers in enumerate(whole.plan()['shares']):
        own = SweepFolder(folder(whole, share))
        if own.exists:
            records += [{**r, 'point': numbers[r['point']]} for r in own.records()]
    whole.rewrite(records)
    rows = table.rank(every, records, best)
    if rows[0].state == 'finished' and not any(row.state == 'running' for row in rows):
        first = rows[0].lanes[0].index
        share = next(n for n, s in enumerate(whole.plan()['shares']) if first in s)
        own = SweepFolder(folder(whole, share))
        if own.best.exists() and not whole.best.exists():
            shutil.copytree(own.best, whole.best)
    return rows

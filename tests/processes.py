"""Several processes of nnjax on this machine, for tests; none outlives its test."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nnjax.training import checkpoint
from tests.conftest import ROOT

EXPERIMENT = """
from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 steps'
    c.batch = 31  # does not divide: the last row is padding
    c.data = bind(sources.Npz, path={data!r}, valid='10%')
    c.prepare = 'scale(255)'
    c.augment = 'noise(0.1)'
    c.model = bind(models.MLP, hidden=(16,), dropout=0.2)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='sgd', lr=0.1, momentum=0.9)
    c.log_every = c.eval_every = '5 steps'
    c.save_every = '10 steps'
    return c
"""
STREAMED = 'from nnjax.training import evaluate, setup; setup.RESIDENT_BYTES = 0; '
STREAMED += 'evaluate.RESIDENT_BYTES = 0; '


def experiment(folder: Path) -> Path:
    """A small run's file: random images, noise, dropout."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (200, 8, 8, 1), np.uint8)
    np.savez(folder / 'data.npz', image=images, label=rng.integers(0, 10, 200))
    path = folder / 'small.py'
    path.write_text(EXPERIMENT.format(data=str(folder / 'data.npz')))
    return path


def environment(devices: int = 1) -> dict[str, str]:
    """A process's environment with so many virtual devices."""
    flags = f'--xla_force_host_platform_device_count={devices}'
    return {**os.environ, 'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}


def command(*flags: str, before: str = '') -> list[str]:
    """The words of `nnjax train`."""
    return [sys.executable, '-c', f'{before}from nnjax import cli; cli.main()', 'train', *flags]


@contextlib.contextmanager
def started(*commands: list[str]) -> Iterator[list[subprocess.Popen]]:
    """The commands at work; what is left of them at the end is killed."""
    pipe = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    found = [subprocess.Popen(c, env=environment(), cwd=ROOT, **pipe) for c in commands]
    try:
        yield found
    finally:
        for one in found:
            one.kill()
            one.communicate()


def together(*flags: str, count: int = 2, before: str = '', own: dict | None = None):
    """`nnjax train` as `count` processes; `own` are more flags of some of them."""
    address = f'--coordinator=127.0.0.1:{free_port()}'
    return started(
        *(
            command(
                address,
                f'--processes={count}',
                f'--process={number}',
                *flags,
                *(own or {}).get(number, ()),
                before=before,
            )
            for number in range(count)
        )
    )


def ends(processes: list[subprocess.Popen], timeout: float = 300) -> list[tuple[int, str]]:
    """Each process's exit code and what it said."""
    end = time.monotonic() + timeout
    said = []
    for one in processes:
        out, err = one.communicate(timeout=max(1, end - time.monotonic()))
        said.append((one.returncode, out + err))
    return said


def until(condition: Callable[[], object], timeout: float = 300) -> None:
    """Waits for something to come true."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            pytest.fail('nothing happened in time')
        time.sleep(0.1)


def free_port() -> int:
    """A port that is free, as is the next."""
    for _ in range(100):
        with socket.create_server(('', 0)) as door:
            port = door.getsockname()[1]
            with contextlib.suppress(OSError), socket.create_server(('', port + 1)):
                return port
    raise AssertionError('no two free ports')


def parameters(run: Path) -> dict[str, np.ndarray]:
    """The parameters of a run folder's last checkpoint."""
    return checkpoint.read(run / 'checkpoints', 'carry/state/params/')

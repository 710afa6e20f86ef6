"""How many lanes side by side: as many as are faster than one after another, and fit."""

import dataclasses
import math
import os
import time
from pathlib import Path

import jax

from nnjax.errors import UserError
from nnjax.sweep import plan
from nnjax.sweep.lanes import Lanes
from nnjax.sweep.points import Point
from nnjax.sweep.programs import Programs
from nnjax.training import runner as runners
from nnjax.training.setup import Setup

WORTH = 60  # seconds of training left that are worth compiling another width for
SHORT = 0.001  # seconds of a step that nobody waits for
CLEARLY = 1.1  # another width must be faster by so much
MEMINFO = Path('/proc/meminfo')
FEW, MANY = (1, 4, 16), (64, 16, 4, 1)  # lanes on a CPU's core; on an accelerator


@dataclasses.dataclass(frozen=True)
class Wave:
    """Points that are trained side by side.

    Attributes:
      group: their group's number.
      points: their numbers in the sweep.
      each: lanes on a device, in one call.
      room: for so many lanes the program is made, at least; waves of one `room` share it.
    """

    group: int
    points: tuple[int, ...]
    each: int
    room: int = 0


def waves(
    groups: list[plan.Group],
    made: list[Setup],
    run: Programs,
    points: list[Point],
    runner: str,
    together: bool,
) -> list[Wave]:
    """The groups' points in waves that fit into memory.

    Raises:
      UserError: not even one lane fits, or not all where they must be side by side.
    """
    found = []
    for number, (group, own) in enumerate(zip(groups, made)):
        most = _fitting(own, run.placement.devices)
        if together and len(group.numbers) > most:
            raise UserError(
                f'lanes are compared side by side, but only {most} of {len(group.numbers)} fit '
                'into memory; use fewer points'
            )
        each = _each(group, own, run, points, runner, most, together)
        for start in range(0, len(group.numbers), most):
            found.append(Wave(number, group.numbers[start : start + most], each))
    return found


def _fitting(made: Setup, devices: int) -> int:
    """How many lanes' states fit, twice for moving them and twice for the best so far."""
    state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(made.state))
    room, where = _room()
    fits = int(room * devices // (4 * state))
    if fits < 1:
        raise UserError(
            f'a lane needs {4 * state / 2**20:.0f} MiB, {where} has {room / 2**20:.0f} MiB left'
        )
    return fits


def _room() -> tuple[float, str]:
    """Bytes that lanes may take on a device, and where that is."""
    device = jax.local_devices()[0]
    limits = device.memory_stats() or {}
    if 'bytes_limit' in limits:
        return 0.6 * (limits['bytes_limit'] - limits.get('bytes_in_use', 0)), device.device_kind
    return 0.6 * _available() / jax.local_device_count(), 'this machine'


def _available() -> int:
    """Bytes of this machine's memory: those to be had, or all where only Linux would tell."""
    if not MEMINFO.is_file():
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    numbers = dict(line.split(':') for line in MEMINFO.read_text().splitlines())
    return 1024 * int(numbers['MemAvailable'].split()[0])


def _each(group, made: Setup, run: Programs, points, runner: str, most: int, together) -> int:
    """Lanes on a device: one where lanes cannot be faster, else what is measured to be fastest."""
    count = min(len(group.numbers), most)
    share = -(-count // run.placement.devices)
    cpu = jax.default_backend() == 'cpu'
    tried = list(dict.fromkeys(min(n, share) for n in (FEW if cpu else MANY)))
    if runner == 'loop' or not runners.chunked(made):
        return 1
    if runner == 'lanes':
        return max(tried)
    first, steps = tried[0], count * made.total
    if cpu and (together or SHORT * steps < WORTH):
        return first  # most lanes leave, or all end, before a wider program has paid for itself
    best = first, _seconds(group, made, run, points, most, first)
    for other in tried[1:]:
        if best[1] * steps > WORTH:
            speed = _seconds(group, made, run, points, most, other)
            best = min(best, (other, CLEARLY * speed), key=lambda pair: pair[1])
    return best[0]


def _seconds(group, made: Setup, run: Programs, points, most: int, each: int) -> float:
    """Seconds that a step of a lane takes, measured over the first ones."""
    mine = [points[p] for p in group.numbers[:most]]
    numbers = [plan.hyperparameters(group.config, point, made) for point in mine]
    lanes = Lanes(made, run, mine, numbers, list(range(len(mine))), each, None, lambda _: None)
    lanes.advance(1)  # compiles
    lanes.wait()
    began, first = time.monotonic(), lanes.step
    while time.monotonic() - began < 0.2 and lanes.step < made.total:
        lanes.advance(min(made.total, lanes.step + 8))
        lanes.wait()
    return (time.monotonic() - began) / max(1, lanes.step - first) / len(mine)

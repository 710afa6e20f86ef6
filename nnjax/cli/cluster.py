"""The flags of `nnjax sweep --launcher=slurm`, and what they do."""

import math
from typing import Any

from absl import flags

from nnjax.errors import UserError

EACH = 8  # points of a task, where nothing is said


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        'launcher', None, ['slurm'], 'submit the sweep, each task a share of it', flag_values=values
    )
    flags.DEFINE_string(
        'partition', None, "of --launcher; default the cluster's", flag_values=values
    )
    flags.DEFINE_string('time', None, 'limit of a task, e.g. 8:00:00', flag_values=values)
    flags.DEFINE_integer('gpus', 0, 'of a task', flag_values=values, lower_bound=0)
    flags.DEFINE_integer('cpus', 1, 'of a task', flag_values=values, lower_bound=1)
    flags.DEFINE_boolean(
        'requeue', True, 'a task that is preempted or out of time goes on later', flag_values=values
    )


def tasks(values: Any, points: int) -> int:
    """How many tasks share so many points."""
    return values.workers or math.ceil(points / EACH)


def submit(values: Any, whole) -> None:
    """Submits every share of a sweep folder; refused while an earlier submission runs."""
    from nnjax.sweep import shares, slurm

    if running := [task for task, state in _states(whole).items() if state in slurm.GOING]:
        raise UserError(
            f'{whole.path}: tasks {", ".join(map(str, running))} of job '
            f'{slurm.saved(whole.path)["job"]} are on their way; '
            f'nnjax sweep --status --workdir={whole.path} shows them'
        )
    count = len(whole.plan()['shares'])
    job = slurm.submit(
        [shares.command(whole, share, values.config) for share in range(count)],
        folder=whole.path,
        partition=values.partition,
        time=values.time,
        gpus=values.gpus,
        cpus=values.cpus,
        requeue=values.requeue,
    )
    print(f'job {job}: {count} tasks; nnjax sweep --status --workdir={whole.path} shows them')


def show(whole) -> None:
    """The states of the tasks, where there are any."""
    for task, state in _states(whole).items():
        print(f'task {task}: {state.lower()}')


def _states(whole) -> dict[int, str]:
    from nnjax.sweep import slurm

    return slurm.status(whole.path) if slurm.submitted(whole.path) else {}

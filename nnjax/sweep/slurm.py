"""Command lines as an array of Slurm jobs that outlive their time limit; plain sbatch, no library.

The script does what submitit does not: it hands the signal before the time limit on to every task,
lets them write their checkpoints and puts itself back into the queue.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nnjax.errors import UserError
from nnjax.training.watch import LOST

GOING = ('PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING', 'REQUEUED', 'SUSPENDED')
SCRIPT = """\
#!/bin/bash
{options}

job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID  # the last task's own number is the whole array's
case $SLURM_ARRAY_TASK_ID in
{cases}
esac

# A minute before the time limit the signal comes to this shell alone; srun would kill on getting it.
trap 'stopped=1; scancel --quiet --signal=TERM "$job"' TERM
srun "${{command[@]}}" &
run=$!
wait $run; code=$?
while kill -0 $run 2>/dev/null; do wait $run; code=$?; done  # the trap ends a wait

# Once more from the last checkpoint where there was a signal, or where a process was lost or killed,
# which may be its own fault: ten times. A job cancelled or preempted is no longer running.
lost={folder}/$SLURM_ARRAY_TASK_ID.lost
again() {{
  [ $code -ne 0 ] && [ -n "$stopped" ] && return
  [ $code = {lost} ] || [ $code = 137 ] && echo >>$lost && [ "$(wc -l <$lost)" -le 10 ]
}}
if {requeue} && again && [ "$(squeue -h -j "$job" -o %T)" = RUNNING ] && scontrol requeue "$job"; then
  exit
fi
echo $code >{folder}/$SLURM_ARRAY_TASK_ID.exit
exit $code
"""


def submit(
    commands: Sequence[Sequence[str]],
    *,
    folder: str | Path,
    partition: str | None = None,
    time: str | None = None,
    gpus: int = 0,
    cpus: int = 1,
    nodes: int = 1,
    requeue: bool = True,
) -> str:
    """Submits one job array, a task for each command line, and returns its number.

    The script and the logs are in folder/slurm/. A command runs once on each of the nodes, as one
    run of so many processes.

    Args:
      commands: words of each command line.
      folder: where the script, the logs and what `status` needs are kept.
      partition: Slurm's partition; None is the cluster's default.
      time: limit in Slurm's form, such as '8:00:00'; None is the partition's.
      gpus: GPUs on each node.
      cpus: processors on each node.
      nodes: nodes of each task.
      requeue: whether a task that is preempted or runs out of time starts again.

    Raises:
      UserError: Slurm is not installed here or refuses the job; in its words.
    """
    if not commands:
        raise UserError('nothing to submit: there are no command lines')
    own = Path(folder).absolute() / 'slurm'
    own.mkdir(parents=True, exist_ok=True)
    for old in (*own.glob('*.exit'), *own.glob('*.lost')):
        old.unlink()
    options = {
        'job-name': 'nnjax',
        'array': f'0-{len(commands) - 1}',
        'output': own / '%A_%a.log',
        'open-mode': 'append',
        'nodes': nodes,
        'ntasks-per-node': 1,
        'cpus-per-task': cpus,
        'signal': 'B:TERM@60',
        'gpus-per-node': gpus or None,
        'partition': partition,
        'time': time,
    }
    lines = [f'--{n}={shlex.quote(str(v))}' for n, v in options.items() if v is not None]
    lines.append('--requeue' if requeue else '--no-requeue')
    script = own / 'job.sh'
    script.write_text(
        SCRIPT.format(
            options='\n'.join(f'#SBATCH {line}' for line in lines),
            cases='\n'.join(f'{n}) command=({shlex.join(c)}) ;;' for n, c in enumerate(commands)),
            folder=shlex.quote(str(own)),
            lost=LOST,
            requeue='true' if requeue else 'false',
        )
    )
    try:
        job = _slurm('sbatch', '--parsable', str(script)).partition(';')[0].strip()
    except UserError as error:
        raise UserError(f'{error}{_partitions(partition)}') from None
    (own / 'job.json').write_text(json.dumps({'job': job, 'tasks': len(commands)}))
    return job


def status(folder: str | Path) -> dict[int, str]:
    """Each task's state in Slurm's words: PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT ...

    From the queue, which forgets a task some minutes after its end, then from Slurm's accounting,
    and where there is none from the exit codes that the tasks left.

    Raises:
      UserError: nothing was submitted from this folder; Slurm does not answer.
    """
    own, job = Path(folder).absolute() / 'slurm', saved(folder)
    states = dict.fromkeys(range(job['tasks']), 'UNKNOWN')
    for path in own.glob('*.exit'):
        states[int(path.stem)] = 'COMPLETED' if path.read_text().strip() == '0' else 'FAILED'
    number = job['job']
    try:
        told = _slurm('sacct', '-n', '-X', '-P', '-j', number, '-o', 'JobID,State')
    except UserError:  # no accounting here
        told = ''
    try:
        told += _slurm('squeue', '-h', '--array', '--states=all', '-j', number, '-o', '%F_%K|%T')
    except UserError as error:
        if 'Invalid job id' not in str(error):
            raise
    for task, state in re.findall(rf'^{number}_(\d+)\|(\w+)', told, re.MULTILINE):
        states[int(task)] = state
    return states


def submitted(folder: str | Path) -> bool:
    """Whether anything was submitted from a folder."""
    return (Path(folder) / 'slurm/job.json').is_file()


def saved(folder: str | Path) -> dict:
    """{'job': the array's number, 'tasks': how many} of what was last submitted from a folder."""
    if not submitted(folder):
        raise UserError(f'nothing was submitted to Slurm from {folder}')
    return json.loads((Path(folder) / 'slurm/job.json').read_text())


def _slurm(*command: str) -> str:
    """A Slurm command's output; the first line that it complains with becomes a UserError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(
            f'{command[0]} is not installed here: run this on a machine of the Slurm cluster'
        ) from None
    if done.returncode:
        lines = [line.split('error: ')[-1] for line in done.stderr.strip().splitlines()] or ['?']
        raise UserError(f'{command[0]}: {lines[0]}')
    return done.stdout


def _partitions(wanted: str | None) -> str:
    """What may be asked for, where what was is not among it."""
    if wanted is None:
        return ''
    try:
        known = sorted(set(_slurm('sinfo', '-h', '-o', '%R').split()))
    except UserError:
        return ''
    return '' if wanted in known else f' (partitions: {", ".join(known)})'

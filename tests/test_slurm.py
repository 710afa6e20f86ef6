"""Runs and arrays of runs under a Slurm of the tests' own: a controller and two nodes, all here."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nnjax.cli import run
from nnjax.errors import UserError
from nnjax.sweep import slurm
from nnjax.training import checkpoint
from nnjax.training.folder import RunFolder
from tests.processes import command, ends, environment, experiment, free_port, started, until
from tests.test_hosts import alone, endless, same_run

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldPort={port}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """Slurm's commands work while this lasts; skips, visibly, where it is not installed."""
    for program in ('munged', 'slurmctld', 'slurmd', 'sbatch'):
        if not shutil.which(program, path=f'{os.environ["PATH"]}:/usr/sbin'):
            pytest.skip(f'{program} is not installed (Debian: slurm-wlm, munge)')
    if os.getuid():
        pytest.skip('a Slurm of its own needs root')
    folder = tmp_path_factory.mktemp('slurm')
    folder.chmod(0o755)
    ports = dict(zip(('port', 'first', 'second'), (free_port() for _ in range(3))))
    (folder / 'slurm.conf').write_text(
        CONFIG.format(folder=folder, host=socket.gethostname().split('.')[0], **ports)
    )
    (folder / 'key').write_bytes(os.urandom(128))
    (folder / 'key').chmod(0o400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SLURM_CONF', str(folder / 'slurm.conf'))
        patch.setenv('PATH', f'{os.environ["PATH"]}:/usr/sbin')
        files = {'socket': 'munge.socket', 'key-file': 'key', 'pid-file': 'munged.pid'}
        files |= {'log-file': 'munged.log', 'seed-file': 'seed'}
        flags = [f'--{name}={folder / file}' for name, file in files.items()]
        subprocess.run(['munged', '--force', *flags], check=True)
        try:
            subprocess.run(['slurmctld', '-c'], check=True)
            for node in ('n1', 'n2'):
                (folder / node).mkdir()
                subprocess.run(['slurmd', '-N', node], check=True)
            until(lambda: output('sinfo', '-h', '-t', 'idle', '-o', '%D') == '2', timeout=60)
            yield folder
        finally:
            output('scancel', '--user=root', '--signal=KILL', '--full')
            output('scancel', '--user=root')
            until(lambda: not output('squeue', '-h'), timeout=60)
            output('scontrol', 'shutdown')
            for name in ('n1', 'n2', 'slurmctld', 'munged'):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((folder / f'{name}.pid').read_text()), signal.SIGTERM)


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp('small'))


@pytest.mark.slow
def test_srun_starts_one_run_of_two_tasks(cluster, small, tmp_path):
    work = tmp_path / 'run'
    words = command(f'--config={small}', f'--workdir={work}')
    with started(['srun', '--nodes=2', '--ntasks=2', *words]) as run:
        ((code, said),) = ends(run)
    assert code == 0, said
    alone(small, tmp_path / 'alone')
    same_run(work, tmp_path / 'alone', 1e-6)


def logs(folder: Path, task: int) -> str:
    return ''.join(path.read_text() for path in (folder / 'slurm').glob(f'*_{task}.log'))


@pytest.mark.slow
def test_an_array_goes_on_after_its_time_limit_and_after_a_kill(
    cluster, small, tmp_path, monkeypatch
):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    short = command(f'--config={small}', f'--workdir={tmp_path / "short"}')
    long = command(*endless(small, tmp_path / 'long'))
    wrong = command(f'--config={small}', '--config.batch=many')
    slurm.submit([short, long, wrong], folder=tmp_path, nodes=2, time='30')
    last = lambda: max(checkpoint.steps(tmp_path / 'long/checkpoints'), default=0)
    until(lambda: slurm.status(tmp_path)[0] == 'COMPLETED' and last())
    assert RunFolder(tmp_path / 'short').finished()
    assert slurm.status(tmp_path)[1] == 'RUNNING'
    job = f'{slurm.saved(tmp_path)["job"]}_1'

    subprocess.run(['scancel', '--batch', '--signal=TERM', job], check=True)  # as at the limit
    until(lambda: 'stopped by SIGTERM' in logs(tmp_path, 1))
    stopped = last()
    assert f'stopped by SIGTERM at step {stopped};' in logs(tmp_path, 1)
    until(lambda: last() > stopped)
    assert 'Restarts=1' in output('scontrol', 'show', 'job', job)

    found = output('pgrep', '-f', f'^{sys.executable} .*{tmp_path}/long').splitlines()
    os.kill(int(found[1]), signal.SIGKILL)
    until(lambda: 'is gone' in logs(tmp_path, 1))
    killed = last()
    until(lambda: last() > killed)
    steps = [r['step'] for r in RunFolder(tmp_path / 'long').records() if r['split'] == 'train']
    assert steps == list(range(50, steps[-1] + 1, 50))

    subprocess.run(['scancel', job], check=True)
    until(lambda: slurm.status(tmp_path)[1] == 'CANCELLED')
    assert slurm.status(tmp_path) == {0: 'COMPLETED', 1: 'CANCELLED', 2: 'FAILED'}
    assert 'nnjax:' in logs(tmp_path, 2) and 'batch' in logs(tmp_path, 2)


def test_words_reach_the_command_as_they_are(cluster, tmp_path):
    words = ['a b', "it's", '$HOME', '*', '']
    show = 'import sys; print(sys.argv[1:])'
    folder = tmp_path / 'with space'
    slurm.submit([[sys.executable, '-c', show, *words]], folder=folder, requeue=False)
    until(lambda: slurm.status(folder) == {0: 'COMPLETED'})
    assert str(words) in logs(folder, 0)


def test_what_slurm_refuses_is_said_in_one_line(cluster, tmp_path):
    with pytest.raises(UserError, match=r'sbatch: invalid partition .*nope \(partitions: main\)'):
        slurm.submit([['true']], folder=tmp_path, partition='nope')
    with pytest.raises(UserError, match='sbatch: Invalid --time'):
        slurm.submit([['true']], folder=tmp_path, time='soon')
    with pytest.raises(UserError, match=r'sbatch: .*generic resource'):
        slurm.submit([['true']], folder=tmp_path, gpus=1)


def test_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='sbatch is not installed here'):
        slurm.submit([['true']], folder=tmp_path)
    with pytest.raises(UserError, match='nothing was submitted to Slurm from'):
        slurm.status(tmp_path)
    with pytest.raises(UserError, match='no command lines'):
        slurm.submit([], folder=tmp_path)


@pytest.mark.slow
def test_a_sweep_is_an_array_of_shares(cluster, tmp_path, monkeypatch, capsys):
    """The same ranking as here, and `--status` on the way and at the end."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    words = ['--config=digits_mlp', '--config.total=2 epochs', '--grid=optim.lr=0.001,0.01,0.003']
    where = tmp_path / 'w'
    sweep = ['sweep', *words, f'--workdir={where}', '--launcher=slurm', '--workers=2']
    run(sweep)
    assert '2 tasks' in capsys.readouterr().out
    with pytest.raises(UserError, match='are on their way'):
        run(sweep)
    until(lambda: set(slurm.status(where).values()) == {'COMPLETED'})
    run(['sweep', '--status', f'--workdir={where}'])
    shown = capsys.readouterr().out
    assert 'task 1: completed' in shown and RunFolder(where / 'best').finished()
    run(['sweep', *words, f'--workdir={tmp_path}/here', '--quiet'])
    row = lambda text: next(line for line in text.splitlines() if line.startswith('1 ')).split()[:3]
    assert row(shown) == row(capsys.readouterr().out)

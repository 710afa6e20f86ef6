"""Several processes train as one would, stop together and go on in any number."""

import os
import signal
import socket
import subprocess

import numpy as np
import pytest

import nnjax
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.training import checkpoint, evaluate, hosts, setup
from nnjax.training.folder import RunFolder
from tests.processes import (
    STREAMED,
    command,
    ends,
    experiment,
    free_port,
    parameters,
    started,
    together,
    until,
)
from tests.test_train import difference, rewound, timeless

SRUN = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_ID': '0',
    'SLURM_STEP_NUM_TASKS': '4',
    'SLURM_STEP_NODELIST': 'localhost,m[3-4]',
    'SLURM_STEP_TASKS_PER_NODE': '2,1(x2)',
    'SLURM_PROCID': '1',
    'SLURM_LOCALID': '1',
}
MPIRUN = {
    'OMPI_COMM_WORLD_SIZE': '4',
    'OMPI_COMM_WORLD_RANK': '3',
    'OMPI_COMM_WORLD_LOCAL_SIZE': '2',
    'OMPI_COMM_WORLD_LOCAL_RANK': '1',
    'OMPI_MCA_orte_hnp_uri': '123.0;tcp://10.0.0.7,10.1.0.7:3940;tcp6://[fd00::2]:36345',
}


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp('small'))


def alone(small, workdir, streamed=False, **overrides):
    """The run in this process, on two devices."""
    config = configs.load(str(small), {'devices': '2', **overrides})
    with pytest.MonkeyPatch.context() as patch:
        if streamed:
            for module in (setup, evaluate):
                patch.setattr(module, 'RESIDENT_BYTES', 0)
        return nnjax.train(config, workdir, experiment='small', force=True)


def same_run(a, b, tolerance):
    """Whether two run folders hold the same run."""
    assert difference(parameters(a), parameters(b)) < tolerance
    ours, theirs = (timeless(RunFolder(f).records()) for f in (a, b))
    assert len(ours) > 8
    for x, y in zip(ours, theirs, strict=True):
        assert x.pop('split') == y.pop('split')
        assert x == pytest.approx(y, rel=1e-5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('mode, streamed', [('pmap', False), ('fsdp', True)])
def test_processes_do_not_change_the_run(small, tmp_path, mode, streamed):
    """Two processes of a device are one of two, from the start and after a restart."""
    whole = tmp_path / 'whole'
    alone(small, whole, streamed, parallel=mode)
    flags = f'--config={small}', f'--config.parallel={mode}'
    before = STREAMED if streamed else ''
    with together(*flags, f'--workdir={tmp_path / "two"}', before=before) as run:
        (first, said), (second, nothing) = ends(run)
    assert first == second == 0, said + nothing
    assert 'report' in said and 'step' not in nothing
    same_run(tmp_path / 'two', whole, 1e-6)
    with np.load(tmp_path / 'two/predictions/valid.npz') as found:
        assert found['index'].tolist() == list(range(20))

    rewound(tmp_path / 'two', tmp_path / 'fewer', step=10)
    alone(small, tmp_path / 'fewer', streamed, parallel=mode)
    same_run(tmp_path / 'fewer', whole, 1e-6)
    rewound(whole, tmp_path / 'more', step=10)
    with together(*flags, '--force', f'--workdir={tmp_path / "more"}', before=before) as run:
        assert [code for code, _ in ends(run)] == [0, 0]
    same_run(tmp_path / 'more', whole, 1e-6)


def endless(small, workdir):
    steps = [f'--config.{n}_every=50 steps' for n in ('log', 'eval', 'save')]
    return f'--config={small}', '--config.total=10000000 steps', *steps, f'--workdir={workdir}'


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_a_killed_process_stops_the_other_and_the_same_command_goes_on(small, tmp_path, victim):
    """Within a minute, in one line that names it; then a signal to one stops both at one step."""
    work = tmp_path / 'run'
    last = lambda: max(checkpoint.steps(work / 'checkpoints'), default=0)
    with together(*endless(small, work)) as run:
        until(last)
        run[victim].kill()
        ((code, said),) = ends([run[1 - victim]], timeout=60)
    lines = [line for line in said.splitlines() if line.startswith('nnjax:')]
    assert code == 75
    assert len(lines) == 1 and f'process {victim}' in lines[0] and 'gone' in lines[0]

    reached = last()
    with together(*endless(small, work)) as run:
        until(lambda: last() > reached)
        run[victim].send_signal(signal.SIGTERM)
        (one, said), (two, other) = ends(run)
    assert one == two == 130
    assert f'stopped by SIGTERM at step {last()};' in said
    assert f'stopped by SIGTERM at step {last()};' in other
    steps = [r['step'] for r in RunFolder(work).records() if r['split'] == 'train']
    assert steps == list(range(50, steps[-1] + 1, 50))  # no line lost or written twice


def test_a_process_with_other_flags_stops_both(small, tmp_path):
    work = f'--workdir={tmp_path / "run"}'
    with together(f'--config={small}', work, own={1: ['--config.batch=16']}) as run:
        found = ends(run)
    for code, said in found:
        assert code == 2
        assert (
            'nnjax: process 1 on ' in said and "the config of process 1 is not process 0's" in said
        )
    assert not (tmp_path / 'run').exists()


def test_a_folder_that_one_does_not_see_stops_both(small, tmp_path):
    own = {n: [f'--workdir={tmp_path / str(n)}'] for n in range(2)}
    with together(f'--config={small}', own=own) as run:
        for code, said in ends(run):
            assert code == 2 and '--workdir must be one folder that every process sees' in said


PATIENT = 'from nnjax.training import hosts; hosts.START = 3; '


@pytest.mark.parametrize(
    'process, message',
    [(0, 'of 2 processes these have not come: 1'), (1, 'process 1 does not reach process 0 at')],
)
def test_processes_that_do_not_come_are_said(small, process, message):
    flags = f'--coordinator=127.0.0.1:{free_port()}', '--processes=2', f'--process={process}'
    with started(command(f'--config={small}', *flags, before=PATIENT)) as run:
        ((code, said),) = ends(run)
    assert code == 2 and said.startswith(f'nnjax: {message}') and said.count('\n') == 1


def test_a_process_that_comes_twice_or_a_port_in_use_is_said(small):
    flags = f'--config={small}', f'--coordinator=127.0.0.1:{free_port()}', '--processes=3'
    words = [command(*flags, f'--process={n}') for n in (0, 1, 1)]
    with started(*words) as run:
        for code, said in ends(run):
            assert code == 2 and 'a process came as --process=1 --processes=3' in said
    with socket.create_server(('', 0)) as taken:
        port = taken.getsockname()[1]
        flags = f'--coordinator=127.0.0.1:{port}', '--processes=2', '--process=0'
        with started(command(f'--config={small}', *flags)) as run:
            ((code, said),) = ends(run)
    assert code == 2 and f'nnjax: ports {port} and {port + 1} of this machine' in said


@pytest.mark.slow
def test_mpirun_is_found(small, tmp_path):
    try:
        root = ['--allow-run-as-root'] if os.getuid() == 0 else []
        mpirun = ['mpirun', *root, '--oversubscribe', '-n', '2']
        subprocess.run([*mpirun, 'true'], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('OpenMPI is not installed')
    work = tmp_path / 'run'
    with started([*mpirun, *command(f'--config={small}', f'--workdir={work}')]) as run:
        assert ends(run)[0][0] == 0
    alone(small, tmp_path / 'alone')
    same_run(work, tmp_path / 'alone', 1e-6)


def test_alone_unless_something_says_otherwise():
    assert hosts.find(environ={}) is None
    assert hosts.find('h:1', 1, 0, {}) is None
    batch_script = {n: v for n, v in SRUN.items() if 'STEP' not in n}
    assert hosts.find(environ={**batch_script, 'SLURM_NTASKS': '4'}) is None
    assert hosts.find(environ={**SRUN, 'SLURM_STEP_NUM_TASKS': '1'}) is None


def test_places_are_read_from_srun_and_mpirun():
    found = hosts.find(environ=SRUN)
    assert found.coordinator.startswith('localhost:')
    assert (found.processes, found.process, found.devices) == (4, 1, (1,))
    assert hosts.find(environ={**SRUN, 'SLURM_STEP_ID': '1'}).coordinator != found.coordinator
    assert hosts.find('h:1', environ=SRUN).coordinator == 'h:1'
    found = hosts.find(environ=MPIRUN)
    assert found.coordinator.startswith('10.0.0.7:')
    assert (found.processes, found.process, found.devices) == (4, 3, (1,))
    local = {**MPIRUN, 'OMPI_COMM_WORLD_LOCAL_SIZE': '4'}
    assert hosts.find(environ=local).coordinator.startswith('127.0.0.1:')
    assert hosts.find(environ={**SRUN, **MPIRUN}) == found
    assert hosts.find('h:1', 4, 2, {}) == hosts.Hosts('h:1', 4, 2)


@pytest.mark.parametrize(
    'nodes, first',
    [('n1', 'n1'), ('n1,m[1-2]', 'n1'), ('gpu[07-09,12],m1', 'gpu07'), ('a[3,5]-ib', 'a3-ib')],
)
def test_the_first_node_holds_process_0(nodes, first, monkeypatch):
    monkeypatch.setattr(hosts, '_resolved', lambda name: f'<{name}>')
    found = hosts.find(environ={**SRUN, 'SLURM_STEP_NODELIST': nodes})
    assert found.coordinator.startswith(f'<{first}>:')


@pytest.mark.parametrize(
    'visible, devices', [('0,1,2,3', (2, 3)), ('4,5', (1,)), ('6', None), (None, (1,))]
)
def test_processes_of_a_machine_share_its_accelerators(visible, devices):
    more = {} if visible is None else {'CUDA_VISIBLE_DEVICES': visible}
    assert hosts.find(environ={**SRUN, **more}).devices == devices


@pytest.mark.parametrize(
    'flags, environ, message',
    [
        (('h:1', 2, None), {}, '--process=... is missing'),
        (('h:1', None, 1), {}, '--processes=... is missing'),
        (('h:1', 2, 2), {}, '--process=2 of --processes=2: expected 0 to 1'),
        (('h:1', 0, 0), {}, 'expected 0 to 0'),
        ((None, 2, 0), {}, '--coordinator=HOST:PORT is missing'),
        (('h', 2, 0), {}, '--coordinator=h: expected HOST:PORT'),
        (('h:99999', 2, 0), {}, 'expected HOST:PORT'),
        (('h:1', None, None), {}, '--coordinator goes with'),
        ((None, None, None), {**MPIRUN, 'OMPI_MCA_orte_hnp_uri': ''}, 'mpirun does not say'),
        (
            (None, None, None),
            {**SRUN, 'SLURM_STEP_NODELIST': 'no-such-node.invalid'},
            "the node name 'no-such-node.invalid' does not resolve",
        ),
    ],
)
def test_flags_that_do_not_fit(flags, environ, message):
    with pytest.raises(UserError, match=message):
        hosts.find(*flags, environ)

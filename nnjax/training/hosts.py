"""The processes of one run: who they are, how they start, what they agree on.

With a single process, which is the rule, nothing here does anything.
"""

import contextlib
import dataclasses
import itertools
import os
import re
import signal
import socket
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from nnjax.errors import UserError
from nnjax.training.relay import Relay
from nnjax.training.watch import Watch

START = 300  # seconds that a process waits for the others to start
WAIT = 1000 * 24 * 3600  # milliseconds at a barrier; where a process is gone the watch ends it
_numbers = itertools.count()  # of barriers and agreements, the same in every process
_looks = itertools.count(1)  # at whether to stop


@dataclasses.dataclass(frozen=True)
class Hosts:
    """This process among those of a run.

    Attributes:
      coordinator: host:port on which process 0 listens, and on port + 1.
      processes: how many there are.
      process: which one this is, from 0.
      devices: which of the accelerators that it sees are its own; None is all.
    """

    coordinator: str
    processes: int
    process: int
    devices: tuple[int, ...] | None = None


def find(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Hosts | None:
    """Flags, or the environment of srun or mpirun -> this process's place; None if it is alone.

    Raises:
      UserError: flags that do not fit together, or no way to find process 0.
    """
    if coordinator is not None:
        host, _, port = coordinator.rpartition(':')
        if not host or not port.isdigit() or not 0 < int(port) < 65535:
            raise UserError(
                f'--coordinator={coordinator}: expected HOST:PORT, such as 10.0.0.1:12345'
            )
    if processes is None and process is None:
        # mpirun in a Slurm job starts its own helpers with srun, whose variables it hands on
        found = _from_mpirun(coordinator, environ) or _from_srun(coordinator, environ)
        if coordinator and not found:
            raise UserError('--coordinator goes with --processes=N --process=I, srun or mpirun')
        return found
    if processes is None or process is None:
        name = '--processes' if processes is None else '--process'
        raise UserError(f'{name}=... is missing: --processes and --process go together')
    if not 0 <= process < processes:
        raise UserError(
            f'--process={process} of --processes={processes}: expected 0 to {max(processes, 1) - 1}'
        )
    if processes == 1:
        return None
    if coordinator is None:
        raise UserError('--coordinator=HOST:PORT is missing: where process 0 listens')
    return Hosts(coordinator, processes, process)


def _from_srun(coordinator: str | None, environ: Mapping[str, str]) -> Hosts | None:
    """A Slurm job step of several tasks; a batch script outside of srun is none."""
    count = int(environ.get('SLURM_STEP_NUM_TASKS', 1))
    if count == 1:
        return None
    step = f'{environ["SLURM_JOB_ID"]}.{environ["SLURM_STEP_ID"]}'
    if coordinator is None:
        # 'n1', 'n1,m1', 'gpu[07-09,12],m1' -> the first of them
        name = re.match(r'([^,[]+)(?:\[(\w+)[^]]*\])?([^,[]*)', environ['SLURM_STEP_NODELIST'])
        coordinator = f'{_resolved("".join(filter(None, name.groups())))}:{_port(step)}'
    tasks = max(map(int, re.findall(r'(?<!x)\d+', environ['SLURM_STEP_TASKS_PER_NODE'])))
    devices = _share(int(environ['SLURM_LOCALID']), tasks, environ)
    return Hosts(coordinator, count, int(environ['SLURM_PROCID']), devices)


def _from_mpirun(coordinator: str | None, environ: Mapping[str, str]) -> Hosts | None:
    """OpenMPI's environment; process 0 is taken to be on mpirun's own machine."""
    count = int(environ.get('OMPI_COMM_WORLD_SIZE', 1))
    if count == 1:
        return None
    local = int(environ['OMPI_COMM_WORLD_LOCAL_SIZE'])
    # '1234.0;tcp://10.0.0.1,10.1.0.1:5678;tcp6://...'; OpenMPI 5 does not say it
    uri = environ.get('OMPI_MCA_orte_hnp_uri', '')
    address = '127.0.0.1' if local == count else ''.join(re.findall(r'tcp://([^,:]+)', uri)[:1])
    if not (coordinator or address):
        raise UserError('mpirun does not say where process 0 is: give --coordinator=HOST:PORT')
    coordinator = coordinator or f'{address}:{_port(environ.get("PMIX_NAMESPACE", ""))}'
    devices = _share(int(environ['OMPI_COMM_WORLD_LOCAL_RANK']), local, environ)
    return Hosts(coordinator, count, int(environ['OMPI_COMM_WORLD_RANK']), devices)


def _port(job: str) -> int:
    """A port from a job's name, above those that systems give away; the next one is free too."""
    return 61440 + 2 * (zlib.crc32(job.encode()) % 2000)


def _resolved(node: str) -> str:
    """A Slurm node's name, or its address where the name is Slurm's alone."""
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        pass
    with contextlib.suppress(OSError):
        shown = subprocess.run(
            ['scontrol', '--oneliner', 'show', 'node', node], capture_output=True, text=True
        ).stdout
        if found := re.search(r'NodeAddr=(\S+)', shown):
            return found[1]
    raise UserError(f'the node name {node!r} does not resolve: give --coordinator=HOST:PORT')


def _share(local: int, count: int, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """The accelerators of process `local` of `count` on this machine, as many for each."""
    visible = environ.get('CUDA_VISIBLE_DEVICES')
    number = len(visible.split(',')) if visible else count
    if count == 1 or number < count:  # it sees its own alone
        return None
    return tuple(range(number // count * local, number // count * (local + 1)))


@contextlib.contextmanager
def joined(hosts: Hosts | None) -> Iterator[None]:
    """Runs the body as one process of a run; enter it before JAX looks for devices.

    A process that fails or is gone ends all of them, within a minute and in one line that names it.

    Raises:
      UserError: the processes do not find each other.
    """
    if hosts is None:
        yield
        return
    host, _, port = hosts.coordinator.rpartition(':')
    host, port = host.strip('[]'), int(port)
    watch = Watch(hosts.process, hosts.processes, host, port, START)
    # Where JAX loses process 0 it aborts before anything could be said; a relay hides that from it.
    address = Relay(host, port + 1).address if hosts.process else f'127.0.0.1:{port + 1}'
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    with watch.over():
        jax.distributed.initialize(
            address,
            hosts.processes,
            hosts.process,
            local_device_ids=hosts.devices,
            cluster_detection_method='deactivate',
            initialization_timeout=START,
        )
        yield


def _client():
    """The coordination service, which has no public name."""
    from jax._src import distributed

    return distributed.global_state.client


def many() -> bool:
    return jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not many() or jax.process_index() == 0


def barrier() -> None:
    """Returns when every process has come here."""
    if many():
        _client().wait_at_barrier(f'nnjax/barrier/{next(_numbers)}', WAIT)


def agreed(text: str) -> str:
    """The text of process 0, in every process."""
    if not many():
        return text
    key = f'nnjax/agreed/{next(_numbers)}'
    if first():
        _client().key_value_set(key, text)
        return text
    return _client().blocking_key_value_get(key, WAIT)


def same(name: str, text: str) -> None:
    """Raises UserError where process 0 has another text."""
    if agreed(text) != text:
        raise UserError(
            f"the {name} of process {jax.process_index()} is not process 0's: start every process "
            'with the same command, on the same data'
        )


def gathered(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{name: [N, ...]} of this process -> [processes * N, ...] of all; N is the same in each."""
    if not many():
        return arrays
    from jax.experimental import multihost_utils

    # As bytes, for on their way they are JAX arrays, which know no 64 bits.
    packed = {n: np.frombuffer(a.tobytes(), np.uint8) for n, a in arrays.items()}
    found = multihost_utils.process_allgather(packed)
    return {
        n: np.frombuffer(found[n].tobytes(), a.dtype).reshape(-1, *a.shape[1:])
        for n, a in arrays.items()
    }


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], str]]:
    """Yields what each process asks as often as the others: 'SIGTERM' or ''.

    Once the signal has come to one process the answer is the same at the same question in all.
    JAX catches SIGTERM itself; SIGINT is made into one, and a second one means it.
    """
    from jax.experimental import multihost_utils

    def note(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)

    def asked() -> str:
        reached = multihost_utils.reached_preemption_sync_point(next(_looks))
        return signal.SIGTERM.name if reached else ''

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)

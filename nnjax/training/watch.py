"""What holds the processes of a run together: where one fails or is gone, all stop and name it.

A collective waits for every process, so one that is gone would leave the others waiting. Each
therefore holds a connection to process 0 as long as it lives; its system closes it when it dies, and
process 0 tells the others. Lines of JSON pass over it: a process's [number, count, name], then
['go'], ['end', exit code, text] or ['done'].
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import TextIO

from nnjax.errors import Diverged, Interrupted, UserError

LOST = 75  # exit code: try again (EX_TEMPFAIL of sysexits.h)
AGAIN = 'the same command goes on from the last checkpoint'
WORD = 10  # seconds for word of another process's end, which an error here may come from
_STATUS = re.compile('[A-Z_]+: ')  # how an error of XLA's runtime begins


class Watch:
    """The connections of one process of a run.

    Process 0 has one to each other, each other one to process 0, at host:port. Creating it waits
    until all are there.

    Raises:
      UserError: not all came within `patience` seconds, or not the right ones.
    """

    def __init__(self, process: int, processes: int, host: str, port: int, patience: float):
        self._process, self._processes = process, processes
        self._name = f'process {process} on {socket.gethostname()}'
        self._over, self._ending = threading.Event(), threading.Lock()
        self._others: dict[int, tuple[str, socket.socket, TextIO]] = {}  # process -> its name ...
        self._end_of_wait = time.monotonic() + patience
        if process == 0:
            try:
                self._gather(port)
            except UserError as error:
                self._send('end', error.exit_code, str(error))
                raise
            self._send('go')
        else:
            self._join(host, port)

    @property
    def _left(self) -> float:
        return max(0.1, self._end_of_wait - time.monotonic())

    def _gather(self, port: int) -> None:
        """Process 0: waits for the others."""
        six = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if six else socket.AF_INET
        try:
            socket.create_server(('', port + 1), family=family, dualstack_ipv6=six).close()
            door = socket.create_server(('', port), family=family, dualstack_ipv6=six)
        except OSError as error:
            raise UserError(f'ports {port} and {port + 1} of this machine: {error}') from None
        with door:
            while len(self._others) < self._processes - 1:
                door.settimeout(self._left)
                try:
                    connection, _ = door.accept()
                except TimeoutError:
                    missing = sorted({*range(1, self._processes)} - {*self._others})
                    raise UserError(
                        f'of {self._processes} processes these have not come: '
                        f'{", ".join(map(str, missing[:20]))}{" ..." if missing[20:] else ""}'
                    ) from None
                self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        connection.settimeout(min(10, self._left))
        lines = connection.makefile()
        try:
            process, processes, name = json.loads(lines.readline())
        except (OSError, ValueError, TypeError):  # none of us
            connection.close()
            return
        wrong = processes != self._processes or process in self._others or process == 0
        _keep(connection)
        self._others[-1 if wrong else process] = name, connection, lines
        if wrong:
            raise UserError(
                f'a process came as --process={process} --processes={processes}; '
                f'process 0 waits for 1 to {self._processes - 1}, each once'
            )

    def _join(self, host: str, port: int) -> None:
        """Any other process: connects to process 0 and waits for its word that all are there."""
        while True:
            try:
                connection = socket.create_connection((host, port), self._left)
                break
            except OSError as error:
                if time.monotonic() > self._end_of_wait:
                    raise UserError(
                        f'process {self._process} does not reach process 0 at {host}:{port}: {error}'
                    ) from None
                time.sleep(0.2)
        connection.settimeout(self._left + WORD)
        lines = connection.makefile()
        self._others[0] = f'process 0 at {host}:{port}', connection, lines
        self._send(self._process, self._processes, self._name)
        try:
            kind, *rest = json.loads(lines.readline())
        except (OSError, ValueError):
            raise UserError(f'process 0 at {host}:{port} ended before all had come') from None
        if kind == 'end':
            raise UserError(rest[1])
        _keep(connection)

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """Watches while the body runs; an error of it ends every process.

        Diverged and Interrupted come to all processes alike and are passed on.
        """
        for name, _, lines in self._others.values():
            threading.Thread(target=self._listen, args=(name, lines), daemon=True).start()
        try:
            yield
        except (Diverged, Interrupted):
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            self._over.set()
            self._send('done')

    def _listen(self, name: str, lines: TextIO) -> None:
        """Waits for another process's word, or its end."""
        with contextlib.suppress(OSError, ValueError):
            for line in lines:
                kind, *rest = json.loads(line)
                if kind == 'end':
                    self._end(*rest)
                return
        self._end(LOST, f'{name} is gone; {AGAIN}')

    def _failed(self, error: BaseException) -> None:
        text = (str(error).splitlines() or [''])[0]
        if isinstance(error, UserError):
            self._end(error.exit_code, f'{self._name}: {text}')
        if isinstance(error, KeyboardInterrupt):
            self._end(Interrupted.exit_code, f'{self._name} was interrupted')
        if isinstance(error, (RuntimeError, ValueError)) and _STATUS.match(text):
            time.sleep(WORD)  # most likely another process's end
        traceback.print_exception(error)
        self._end(1, f'{self._name} failed: {type(error).__name__}: {text}')

    def _end(self, code: int, text: str) -> None:
        """Ends every process, this one at once: threads may wait in a collective for ever."""
        with self._ending:
            if self._over.is_set():
                return
            self._send('end', code, text)
            print(f'nnjax: {text}', file=sys.stderr, flush=True)
            sys.stdout.flush()
            os._exit(code)

    def _send(self, *words) -> None:
        for _, connection, _ in self._others.values():
            with contextlib.suppress(OSError):
                connection.sendall(f'{json.dumps(words)}\n'.encode())


def _keep(connection: socket.socket) -> None:
    """A connection for as long as both live; a machine switched off is gone in half a minute."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {'TCP_KEEPIDLE': 10, 'TCP_KEEPINTVL': 5, 'TCP_KEEPCNT': 4}.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

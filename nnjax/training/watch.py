"""What holds the processes of a run together: where one fails or is gone, all stop and name it.

A collective waits for every process, so one that is gone would leave the others waiting. Each tells
JAX's coordination service every second that it lives, and process 0 looks for one that no longer
does. Process 0 holds that service; its end is seen as the end of the connection to it. That runs
through a `Relay`, for JAX itself aborts on losing it, before anything could be said.
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

import jax

from nnjax.errors import Diverged, Interrupted, UserError
from nnjax.training.relay import Relay

BEAT = 1.0  # seconds between two signs of life
SILENT = 20.0  # seconds without one until a process counts as gone; JAX itself would take 100
LOST = 75  # exit code: try again (EX_TEMPFAIL of sysexits.h)
AGAIN = 'the same command goes on from the last checkpoint'
_STATUS = re.compile('[A-Z_]+: ')  # how an error of XLA's runtime begins


class Watch:
    """Watches over the processes of a run from one of them.

    Attributes:
      address: what this process connects to instead of the coordinator's own address.
    """

    def __init__(self, process: int, processes: int, coordinator: str):
        self._process, self._processes, self._coordinator = process, processes, coordinator
        self._name = f'process {process} on {socket.gethostname()}'
        self._over = threading.Event()
        self._over.set()
        self.address = coordinator if process == 0 else Relay(coordinator, self._cut).address

    @contextlib.contextmanager
    def over(self, client) -> Iterator[None]:
        """Watches while the body runs; an error of it ends every process.

        Diverged and Interrupted come to all processes alike and are passed on.
        """
        self._client = client
        self._over.clear()
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        except (Diverged, Interrupted):
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            self._over.set()
            self._beat('done')
            thread.join()

    def _watch(self) -> None:
        seen: dict[str, tuple[str, float]] = {}
        number = 0
        while not self._over.is_set():
            number += 1
            self._beat(str(number))
            self._listen()
            if self._process == 0:
                self._look(seen)

    def _beat(self, value: str) -> None:
        self._client.key_value_set(
            f'nnjax/life/{self._process}', json.dumps([self._name, value]), allow_overwrite=True
        )

    def _listen(self) -> None:
        """Waits the time of a beat for word that a process has failed."""
        try:
            word = self._client.blocking_key_value_get('nnjax/end', int(1000 * BEAT))
        except (RuntimeError, ValueError):  # none
            return
        self._end(*json.loads(word))

    def _look(self, seen: dict[str, tuple[str, float]]) -> None:
        """Ends the run where a process has shown no life for too long."""
        now = time.monotonic()
        for key, text in self._client.key_value_dir_get('nnjax/life/'):
            name, value = json.loads(text)
            if value == 'done' or seen.get(key, ('', 0))[0] != value:
                seen[key] = value, now
            elif now - seen[key][1] > SILENT:
                self._tell(LOST, f'{name} is gone; {AGAIN}')

    def _tell(self, code: int, text: str) -> None:
        """Ends every process, this one too; the first word counts."""
        with contextlib.suppress(RuntimeError, ValueError):
            self._client.key_value_set('nnjax/end', json.dumps([code, text]))
        self._listen()

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, (RuntimeError, ValueError)) and _STATUS.match(str(error)):
            # More likely than not the end of another process, which the watch will name.
            time.sleep(SILENT + 5)
        if isinstance(error, UserError):
            self._tell(error.exit_code, f'{self._name}: {error}')
        traceback.print_exception(error)
        self._tell(1, f'{self._name} failed: {type(error).__name__}: {str(error).splitlines()[:1]}')

    def _cut(self) -> None:
        """The connection to process 0 has ended."""
        if not self._over.is_set():
            self._end(LOST, f'process 0 at {self._coordinator} is gone; {AGAIN}')

    def _end(self, code: int, text: str) -> None:
        """Leaves at once: other threads may wait in a collective that never ends."""
        print(f'nnjax: {text}', file=sys.stderr, flush=True)
        sys.stdout.flush()
        if self._process == 0:
            time.sleep(3 * BEAT)  # the others ask here
        os._exit(code)

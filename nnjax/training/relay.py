"""A local door to a distant address, which stays open when the other side is gone."""

import socket
import threading
from collections.abc import Callable


class Relay:
    """Passes connections to a local port on to a distant one.

    What is connected here never sees that end close one: no more answers come, that is all.

    Attributes:
      address: host:port of the local door.
    """

    def __init__(self, host: str, port: int):
        self._target = host, port
        self._door = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self._door.getsockname()[1]}'
        _start(self._accept)

    def _accept(self) -> None:
        while True:
            near, _ = self._door.accept()
            try:
                far = socket.create_connection(self._target, timeout=10)
            except OSError:  # not there yet: who is connected asks again
                near.close()
                continue
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _start(_pass_on, near, far, far.close)
            _start(_pass_on, far, near, lambda: None)


def _start(function: Callable, *arguments) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, ended: Callable[[], None]) -> None:
    """Bytes from one to the other until there are no more."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    ended()

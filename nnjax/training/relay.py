"""A local door to a distant address, which stays open when the other side is gone."""

import socket
import threading
from collections.abc import Callable


class Relay:
    """Passes connections to a local port on to an address, and tells when that end closes one.

    What is connected here only sees that no more answers come.

    Attributes:
      address: host:port of the local door.
    """

    def __init__(self, target: str, cut: Callable[[], None]):
        host, _, port = target.rpartition(':')
        self._target, self._cut = (host.strip('[]'), int(port)), cut
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
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(far)
            left = threading.Event()  # it was this side that closed
            _start(self._outward, near, far, left)
            _start(self._inward, far, near, left)

    def _outward(self, near: socket.socket, far: socket.socket, left: threading.Event) -> None:
        while (data := _received(near)) and _sent(far, data):
            pass
        if not data:
            left.set()
            far.close()

    def _inward(self, far: socket.socket, near: socket.socket, left: threading.Event) -> None:
        while data := _received(far):
            if not _sent(near, data):
                return
        if not left.is_set():
            self._cut()


def _start(function: Callable, *arguments) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _received(source: socket.socket) -> bytes:
    """The next bytes; none at the end, however it came."""
    try:
        return source.recv(1 << 16)
    except OSError:
        return b''


def _sent(target: socket.socket, data: bytes) -> bool:
    try:
        target.sendall(data)
        return True
    except OSError:
        return False


def _keep_alive(connection: socket.socket) -> None:
    """A machine that is switched off counts as gone after half a minute."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {'TCP_KEEPIDLE': 10, 'TCP_KEEPINTVL': 5, 'TCP_KEEPCNT': 4}.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

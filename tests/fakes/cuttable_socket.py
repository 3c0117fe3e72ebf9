"""A proxy before a Unix socket that can be cut: every connection through it is then lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class CuttableSocket:
    """Within ``with CuttableSocket(path, target)`` connections to ``path`` are connections to ``target``."""

    def __init__(self, path: Path, target: Path) -> None:
        self.url = f"unix://{path}"
        self._path, self._target = path, target
        self._open = True
        self._lock = threading.Lock()
        self._pairs: set[socket.socket] = set()
        self._done: set[socket.socket] = set()
        """Sockets of pairs of which one direction has ended."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self._path.unlink()

    def cut(self) -> None:
        """Close every connection, and new ones at once."""
        with self._lock:
            self._open = False
            for one in self._pairs:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Accept new connections again."""
        with self._lock:
            self._open = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            with self._lock:
                try:
                    if not self._open:
                        raise ConnectionRefusedError
                    far.connect(str(self._target))
                except OSError:
                    near.close()
                    far.close()
                    continue
                self._pairs |= {near, far}
            threading.Thread(target=self._carry, args=[near, far], daemon=True).start()
            threading.Thread(target=self._carry, args=[far, near], daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._lock:
            if source in self._done:  # both directions have ended
                self._done.discard(source)
                self._pairs -= {source, sink}
                source.close()
                sink.close()
            else:
                self._done.add(sink)

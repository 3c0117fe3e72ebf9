"""A listening socket: accepts connections, and waits a moment where no descriptor is left for one.

The event loop's own servers accept whatever comes, before anybody can look at the peer's address or count.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

_log = logging.getLogger(__name__)

_ACCEPTED_AT_ONCE = 32
"""Connections accepted before the loop turns to other things."""
_PAUSE_S = 0.05
"""How long to wait when a connection cannot be accepted (no descriptor is left)."""
_UNSENT_BYTES = 128 * 1024
"""Of a response, in the kernel and not sent yet: beyond, the response waits, and its source with it."""

Accept = Callable[[socket.socket, str], None]
"""Takes an accepted socket, and the host that it is connected to."""


class Listener:
    """One listening socket, whose accepting can be paused."""

    def __init__(self, sock: socket.socket, accept: Accept, exhausted: Callable[[], None]) -> None:
        """``exhausted`` is called when there is no descriptor for a connection."""
        self.socket = sock
        self._accept = accept
        self._exhausted = exhausted
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self, backlog: int) -> None:
        """Begin to accept."""
        self.socket.setblocking(False)
        if self.socket.family != socket.AF_UNIX:  # accepted sockets inherit it
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self.socket.listen(backlog)
        self._loop.add_reader(self.socket, self._on_readable)

    def close(self) -> None:
        """Accept no more, and close the socket. May be repeated."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        else:
            self._loop.remove_reader(self.socket)
        self.socket.close()

    def _on_readable(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, peer = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it has gone already
            except OSError as error:
                _log.warning("no connection can be accepted: %s", error.strerror)
                self._loop.remove_reader(self.socket)
                self._resume = self._loop.call_later(_PAUSE_S, self._start_again)
                self._exhausted()
                return
            sock.setblocking(False)
            self._accept(sock, peer[0] if isinstance(peer, tuple) else "")

    def _start_again(self) -> None:
        self._resume = None
        self._loop.add_reader(self.socket, self._on_readable)

"""Sockets to listen on: IPv4 and IPv6, several addresses, Unix sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence

from hotseat.core.spec import ListenSpec

_BOTH = {"": ("0.0.0.0", "::"), "localhost": ("127.0.0.1", "::1")}
"""Names that mean an IPv4 and an IPv6 address; one of them is enough on a machine without the other."""
_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_TRIES = 20
"""How often a free port is looked for that is free for IPv4 and IPv6."""


class AddressUnavailable(OSError):
    """Raised for an address that cannot be listened on; ``address`` is as the operator writes it."""

    def __init__(self, address: ListenSpec, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error))
        self.address = str(address)


def open_sockets(addresses: Sequence[ListenSpec]) -> list[socket.socket]:
    """Bind all addresses, or none. Raises ``AddressUnavailable``."""
    with contextlib.ExitStack() as opened:
        found: list[socket.socket] = []
        for address in addresses:
            try:
                for sock in _bind(address):
                    opened.callback(close, sock)
                    found.append(sock)
            except OSError as error:
                raise AddressUnavailable(address, error) from error
        opened.pop_all()
        return found


def close(sock: socket.socket) -> None:
    """Close a socket, and remove its file if it is a Unix socket's."""
    path = unix_path(sock)
    sock.close()
    if path:
        with contextlib.suppress(OSError):
            os.unlink(path)


def unix_path(sock: socket.socket) -> str | None:
    """Return the path of a Unix socket; ``None`` for another one."""
    name = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else None
    return name if isinstance(name, str) and name else None


def problem(address: ListenSpec) -> str | None:
    """Return why an address cannot be listened on; ``None`` if it is free."""
    try:
        for sock in open_sockets([address]):
            close(sock)
    except AddressUnavailable as error:
        return error.strerror
    return None


def _bind(address: ListenSpec) -> list[socket.socket]:
    if address.path is not None:
        return [_bind_unix(address.path, address.mode)]
    for left in reversed(range(_TRIES)):
        try:
            return _bind_all(address.host, address.port)
        except OSError as error:
            if address.port or error.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError


def _bind_all(host: str, port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, name in _resolved(host):
            try:
                sock = _bind_tcp(family, name, port)
            except OSError as error:
                if host not in _BOTH or error.errno not in _NO_FAMILY:
                    raise
                missing = error
                continue
            bound.append(sock)
            port = port or sock.getsockname()[1]
        if missing is not None and not bound:
            raise missing
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def _resolved(host: str) -> Iterator[tuple[int, str]]:
    for name in _BOTH.get(host, (host,)):
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        yield from dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found)


def _bind_tcp(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # IPv4 has a socket of its own, so clients' addresses stay plain
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)  # before listen(): nobody can have connected
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket of a program that has ended. Raises ``OSError`` if somebody listens there."""
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is not a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(1.0)
        try:
            one.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

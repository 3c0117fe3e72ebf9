"""Proves who listens on a port of this machine: the socket's owner, and the process that holds it.

The kernel is asked for the one socket that a connection to the address would reach (``sock_diag(7)``, some
20 µs); where it does not answer, ``/proc/net/tcp`` and ``tcp6`` are read.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from hotseat.machine import user_name
from hotseat.runtimes.process import procfs

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_LISTEN = 10
_ALL_COOKIES = b"\xff" * 8
_REQUEST = struct.Struct("=BBBBI")
_HEADER = struct.Struct("=IHHII")
_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A TCP socket that accepts connections, with its owner."""

    host: str
    """Its address as a connection has to name it: a loopback address where it listens on all."""
    port: int
    uid: int
    inode: int


class RunListener:
    """Tells who listens at the address of one run."""

    def __init__(self, host: str, port: int, members: Callable[[], Iterable[procfs.Stat]]) -> None:
        """``members()``: the run's processes now."""
        self._host, self._port, self._members = host, port, members
        self._proven: set[ListeningSocket] = set()
        """Sockets that a member held; a server with several processes may have several on one port."""

    def impostor(self, host: str | None = None) -> str | None:
        """Return who listens there instead of the run, for people; ``None``: the run does, or nobody."""
        found = listening_socket(host or self._host, self._port)
        if found is None or found in self._proven:
            return None
        if self._holds(found.inode):
            self._proven.add(found)
            return None
        owner = user_name(found.uid)
        return f"a process of user {owner} that is not the model's listens on port {self._port}"

    def elsewhere(self) -> str | None:
        """Return another address of this machine at which the run listens on its port; ``None``: none."""
        for one in listening_sockets(self._port):
            if one.host != self._host and self._holds(one.inode):
                return one.host
        return None

    def addresses(self) -> list[str]:
        """Return all addresses at which the run listens, as ``HOST:PORT``."""
        inodes = set[int]()
        for member in self._members():
            inodes |= procfs.sockets(member.pid) or set()
        return [f"{_bracketed(one.host)}:{one.port}" for one in listening_sockets() if one.inode in inodes]

    def _holds(self, inode: int) -> bool:
        """Whether a member of the run holds this socket."""
        return any(inode in (procfs.sockets(member.pid) or ()) for member in self._members())


def listening_socket(host: str, port: int) -> ListeningSocket | None:
    """Return the socket that a connection to this address reaches; ``None``: nobody listens there."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    try:
        return _ask_kernel(address, port)
    except OSError:
        # One that listens on all addresses is shown as a loopback address; one on all of IPv6 gets IPv4 too.
        sockets = listening_sockets(port)
        for wanted in (str(address), "127.0.0.1", "::1"):
            if (found := next((one for one in sockets if one.host == wanted), None)) is not None:
                return found
        return None


def _ask_kernel(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> ListeningSocket | None:
    """Look a listening socket up with ``sock_diag``. Raises ``OSError`` where that is not available."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    wanted = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
    wanted += struct.pack("!HH", port, 0) + address.packed.ljust(16, b"\0") + bytes(16)
    wanted += struct.pack("=I", 0) + _ALL_COOKIES
    length = _HEADER.size + len(wanted)
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.sendto(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, 1, 1, 0) + wanted, (0, 0))
        answer = kernel.recv(8192)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:  # an error
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number in (2, 110):  # ENOENT, ETIMEDOUT: no such socket
            return None
        raise OSError(number, os.strerror(number))
    if answer[_HEADER.size + 1] != _LISTEN:
        return None
    uid, inode = struct.unpack_from("=II", answer, _HEADER.size + 64)
    return ListeningSocket(str(address), port, uid, inode)


def listening_sockets(port: int | None = None) -> list[ListeningSocket]:
    """Return all listening TCP sockets of this machine, or those on one port."""
    found = []
    for table, version in (("tcp", 4), ("tcp6", 6)):
        with suppress(OSError):
            for line in (procfs.PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if len(fields) < 10 or fields[3] != "0A":
                    continue
                host, _, its_port = fields[1].partition(":")
                if port is None or int(its_port, 16) == port:
                    found.append(
                        ListeningSocket(
                            _address(host, version), int(its_port, 16), int(fields[7]), int(fields[9])
                        )
                    )
    return found


def _address(text: str, version: int) -> str:
    """Return an address of ``/proc/net/tcp``: each word of four bytes is written in the machine's order."""
    words = [struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    if address.is_unspecified:
        return "127.0.0.1" if version == 4 else "::1"
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

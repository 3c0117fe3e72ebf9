"""Where the server answers: IPv4 and IPv6, several addresses, Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hotseat.config.parsers import network
from hotseat.core.spec import ListenSpec
from hotseat.gateway.http.asgi import run_app
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.server import Server, serve
from hotseat.listening import AddressUnavailable, open_sockets, problem

pytestmark = pytest.mark.anyio


class Hello:
    """Answers every request."""

    async def answer(self, client: RequestCycle) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

        await run_app(app, client, {})


@asynccontextmanager
async def listening(written: object) -> AsyncIterator[Server]:
    server = await serve(Hello(), listen=network.listen(written))
    try:
        yield server
    finally:
        await server.stop(1)


async def answers(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    return await _hello(reader, writer)


async def answers_at(path: Path) -> bool:
    reader, writer = await asyncio.open_unix_connection(str(path))
    return await _hello(reader, writer)


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    data = await reader.read()
    writer.close()
    return data.startswith(b"HTTP/1.1 200") and data.endswith(b"hello\r\n0\r\n\r\n")


@pytest.mark.parametrize("written", [":0", "*:0", "localhost:0", "LOCALHOST:0"])
async def test_without_a_host_and_as_localhost_it_answers_on_ipv4_and_ipv6(written: str) -> None:
    async with listening(written) as server:
        ports = {port for _, port in server.addresses}
        assert len(ports) == 1
        port = ports.pop()
        assert await answers("127.0.0.1", port)
        assert await answers("::1", port)


@pytest.mark.parametrize(
    ("written", "other"), [("127.0.0.1:0", "::1"), ("[::1]:0", "127.0.0.1"), ("0.0.0.0:0", "::1")]
)
async def test_one_address_means_that_one_alone(written: str, other: str) -> None:
    async with listening(written) as server:
        (at,) = server.addresses
        with pytest.raises(ConnectionRefusedError):
            await answers(other, at[1])


async def test_a_machine_without_ipv6_is_served_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = socket.socket

    def without(family: int = socket.AF_INET, *more: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return whole(family, *more, **named)

    monkeypatch.setattr("hotseat.listening.socket.socket", without)
    sockets = open_sockets(network.listen(":0"))
    assert [sock.family for sock in sockets] == [socket.AF_INET]
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(
    "several", [["127.0.0.1:0", "[::1]:0"], "127.0.0.1:0 [::1]:0", "127.0.0.1:0, [::1]:0"]
)
async def test_a_list_of_addresses_is_served(several: object) -> None:
    async with listening(several) as server:
        for host, port in server.addresses:
            assert await answers(host, port)
        assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]


async def test_a_unix_socket_has_its_mode_and_goes_with_the_server(tmp_path: Path) -> None:
    plain, wide = tmp_path / "a.sock", tmp_path / "b.sock"
    async with listening([f"unix:{plain}", f"unix:{wide},mode=666", "127.0.0.1:0"]) as server:
        assert stat.S_IMODE(plain.stat().st_mode) == 0o660
        assert stat.S_IMODE(wide.stat().st_mode) == 0o666
        assert server.socket_files == [str(plain), str(wide)]
        assert await answers_at(plain)
        assert await answers_at(wide)
        assert len(server.addresses) == 1
    assert not plain.exists()
    assert not wide.exists()


async def test_a_socket_that_a_killed_launcher_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with listening(f"unix:{path}"):
        assert await answers_at(path)


async def test_a_socket_that_is_in_use_and_a_file_in_the_way_are_kept(tmp_path: Path) -> None:
    path, file = tmp_path / "a.sock", tmp_path / "precious"
    file.write_text("x")
    async with listening(f"unix:{path}"):
        with pytest.raises(AddressUnavailable, match="Address already in use") as caught:
            open_sockets([ListenSpec(path=str(path))])
        assert caught.value.address == f"unix:{path}"
        assert problem(ListenSpec(path=str(path))) == "Address already in use"
        assert await answers_at(path)
    with pytest.raises(AddressUnavailable, match="not a socket"):
        open_sockets([ListenSpec(path=str(file))])
    assert file.read_text() == "x"


def test_an_address_in_use_is_named_and_the_others_are_free_again() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    number = taken.getsockname()[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    wanted = network.listen([f"127.0.0.1:{free}", f"127.0.0.1:{number}"])
    with pytest.raises(AddressUnavailable) as caught:
        open_sockets(wanted)
    assert caught.value.address == f"127.0.0.1:{number}"
    assert problem(wanted[0]) is None
    taken.close()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (8000, [ListenSpec("127.0.0.1", 8000)]),
        (":8000", [ListenSpec("", 8000)]),
        ("unix:///run/h.sock", [ListenSpec(path="/run/h.sock")]),
        ("unix:/run/h.sock,mode=0600", [ListenSpec(path="/run/h.sock", mode=0o600)]),
        ("unix:/run/h.sock,mode=666, :80", [ListenSpec(path="/run/h.sock", mode=0o666), ListenSpec("", 80)]),
        ([":80", 8000], [ListenSpec("", 80), ListenSpec("127.0.0.1", 8000)]),
    ],
)
def test_how_addresses_are_written(written: object, expected: Sequence[ListenSpec]) -> None:
    assert list(network.listen(written)) == expected


@pytest.mark.parametrize(
    "written",
    [
        *([], "", [None], [":1", ":1"], "unix:run/h.sock", "unix:", "unix:/x,mode=9", "unix:/x,mode="),
        *("unix:/x/", "unix:/" + "x" * 107, {"unix": "/x"}, [[":1"]], "unix:/x unix:/x", True),
    ],
)
def test_what_is_no_address(written: object) -> None:
    with pytest.raises(ValueError):
        network.listen(written)


def test_a_port_below_1024_that_is_not_allowed_is_told() -> None:
    if os.geteuid() == 0:
        assert problem(ListenSpec("256.0.0.1", 1)) is not None
    else:
        assert problem(ListenSpec("127.0.0.1", 1)) == "Permission denied"

"""Any bytes, on real sockets: valid responses or a close, other clients undisturbed, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import uvloop
from fuzz import edge, gate
from fuzz.wires import responses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fakes.gateway import Front, front
from fakes.gateway import settings as configured
from fakes.wire import Served, always, ok
from hotseat.gateway.http.connection import Connection
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.forward import Forward

ANSWER = ok(b'{"good":1}')
QUICK = ConnectionLimits(head_s=0.15, body_interval_s=0.15, linger_s=0.2, keep_alive_s=0.1)
"""Short limits, so that a request that never ends is cut within the test."""

requests = st.sampled_from([seed[1:] for seed in (*edge.SEEDS, *gate.SEEDS)])
pieces = st.one_of(requests, requests, st.sampled_from(gate.WORDS), st.binary(max_size=30))


@st.composite
def talks(draw: st.DrawFn) -> list[bytes]:
    """What one client sends, in packets."""
    whole = b"".join(draw(st.lists(pieces, min_size=1, max_size=4)))
    if draw(st.booleans()) and whole:  # lose or change a byte
        at = draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + draw(st.binary(max_size=1)) + whole[at + 1 :]
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


async def talk(where: Front, packets: list[bytes], hang_up: bool) -> bytes:
    async with await where.open() as wire:
        with contextlib.suppress(ConnectionError):
            for packet in packets:
                await wire.send(packet)
                await asyncio.sleep(0)
        if hang_up:
            return b""
        return await wire.at_end()


async def neighbour(where: Front) -> None:
    """Send valid requests meanwhile, as another client."""
    async with await where.open() as wire:
        for _ in range(3):
            await wire.ask("/chat/v1/embeddings", b'{"input":"x"}')
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b'{"good":1}')


async def hold(clients: list[tuple[list[bytes], bool]]) -> None:
    async with (
        Served(always(ANSWER)) as server,
        front(
            configured(body_limit_bytes=3000), ready={"chat": server.port, "coder": server.port}, limits=QUICK
        ) as where,
    ):
        async with asyncio.TaskGroup() as group:
            told = [group.create_task(talk(where, *client)) for client in clients]
            group.create_task(neighbour(where))
        for (packets, _), one in zip(clients, told, strict=True):
            whole = b"".join(packets)
            if b"HEAD " not in whole:  # whose answers cannot be told apart without knowing all requests
                responses(one.result(), [])
        await where.deserted()
        assert where.seats.open == 0
        assert where.server.tasks == set()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(talks(), st.booleans()), min_size=1, max_size=3))
@example([([b"", b"\r\n"], False)])
@example([([b"\r\n", b"\r\n\r\n"], False)])
@example([([b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00"], False)])
@example([([b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"], False)])
def test_whatever_bytes_come(clients: list[tuple[list[bytes], bool]]) -> None:
    uvloop.run(hold(clients))


def test_nothing_is_left_of_five_hundred_bad_clients() -> None:
    async def many() -> list[object]:
        async with (
            Served(always(ANSWER)) as server,
            front(ready={"chat": server.port}, limits=QUICK) as where,
        ):
            for number in range(0, 500, 20):
                async with asyncio.TaskGroup() as group:
                    for shape in range(number, number + 20):
                        head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n"
                        bad = [head + edge.SHAPES[shape % len(edge.SHAPES)] + b"\x00" * 9]
                        group.create_task(talk(where, bad, hang_up=shape % 3 == 0))
            await where.deserted()
            gc.collect()
            return [one for one in gc.get_objects() if isinstance(one, RequestCycle | Connection | Forward)]

    assert uvloop.run(many()) == []

"""Servers that are silent, answer errors or cut responses short: what clients get, and what is reported."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import LAST_CHUNK, SSE_HEAD, Served, always, chunk, ok, once
from hotseat.core.errors import Reason
from hotseat.core.spec import RouteSpec
from hotseat.gateway.http.outlier_detection import ResponseEnd, classify_end

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"chat","stream":true}'
PLAIN = b'{"model":"chat"}'
PATH = "/chat/v1/chat/completions"
SOON_S = 0.05


async def silent(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await served.take(reader)
    await reader.read()  # until the other side gives up


async def only_a_head(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await served.take(reader)
    writer.write(SSE_HEAD)
    await served.release.wait()


def suspected(gate: Front) -> list[tuple[str, bool]]:
    return [told for ticket in gate.seats.tickets if ticket.lease for told in ticket.lease.suspected]


def short_timeout() -> object:
    return settings(model("chat", first_byte_timeout_s=SOON_S))


@pytest.mark.parametrize("body", [STREAM, PLAIN])
async def test_no_first_byte_in_time_is_a_504_and_is_reported(body: bytes) -> None:
    async with Served(silent) as server, front(short_timeout(), ready={"chat": server.port}) as gate:
        answer = await gate.ask(PATH, body)
        assert (answer.status, answer.get("x-should-retry")) == (504, "false")
        error = json.loads(answer.body)["error"]
        assert error["code"] == "upstream_timeout"
        assert error["message"] == "model chat: its server sent nothing for 0.05 s"
        assert suspected(gate) == [("its server sent nothing for 0.05 s", False)]
        await server.until(lambda s: s.closed == 1)  # so that it stops working on the request
        assert gate.failed == ["upstream"]


async def test_a_streams_header_is_no_first_byte() -> None:
    async with Served(only_a_head) as server, front(short_timeout(), ready={"chat": server.port}) as gate:
        answer = await gate.ask(PATH, STREAM)
        assert answer.status == 200
        assert json.loads(answer.body.removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"
        assert len(suspected(gate)) == 1


async def test_anthropics_shape() -> None:
    async with Served(silent) as server, front(short_timeout(), ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/messages", PLAIN)
        assert answer.status == 504
        assert json.loads(answer.body)["error"]["type"] == "timeout_error"


async def test_two_timeouts_in_a_row_are_proof() -> None:
    async with Served(silent) as server, front(short_timeout(), ready={"chat": server.port}) as gate:
        await gate.ask(PATH, PLAIN)
        await gate.ask(PATH, PLAIN)
        assert [certain for _, certain in suspected(gate)] == [False, True]


async def test_a_slow_stream_that_has_begun_is_left_alone() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await asyncio.sleep(4 * SOON_S)  # longer than a first byte may take
        writer.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    async with Served(script) as server, front(short_timeout(), ready={"chat": server.port}) as gate:
        answer = await gate.ask(PATH, STREAM)
        assert answer.body == b"data: 1\n\ndata: [DONE]\n\n"
        assert suspected(gate) == []


async def test_without_a_limit_nothing_is_reported() -> None:
    config = settings(model("chat", first_byte_timeout_s=None))
    async with Served(silent) as server, front(config, ready={"chat": server.port}) as gate:
        wire = await gate.open()
        await wire.ask(PATH, PLAIN)
        await server.until(lambda s: len(s.requests) == 1)
        await asyncio.sleep(2 * SOON_S)
        assert suspected(gate) == []
        wire.close()


def status(code: int, body: bytes = b'{"error":{"message":"x"}}') -> bytes:
    return ok(body).replace(b"200 OK", b"%d X" % code, 1)


async def test_500s_are_passed_on_reported_and_proof_when_they_repeat() -> None:
    async with Served(always(status(500))) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(5):
            assert (await gate.ask(PATH, PLAIN)).status == 500
        assert suspected(gate) == [("it answers errors (500)", n == 4) for n in range(5)]


async def test_a_good_response_resets_the_count() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await served.take(reader)
            writer.write(ok(b"{}") if len(served.requests) % 4 == 0 else status(500))

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(12):
            await gate.ask(PATH, PLAIN)
        assert [certain for _, certain in suspected(gate)] == [False] * 9


@pytest.mark.parametrize("code", [400, 401, 404, 429, 503])
async def test_other_errors_are_not_reported(code: int) -> None:
    async with Served(always(status(code))) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(6):
            assert (await gate.ask(PATH, PLAIN)).status == code
        assert suspected(gate) == []


@pytest.mark.parametrize("early", [False, True], ids=["500", "in-the-stream"])
async def test_a_dead_engine_is_proof_at_once(early: bool) -> None:
    dead = b'{"error":{"message":"EngineCore encountered an issue. See stack trace","code":500}}'
    stream = SSE_HEAD + chunk(b"data: 1\n\n") + chunk(b"data: " + dead + b"\n\n")
    answer = stream + chunk(b"data: [DONE]\n\n") + LAST_CHUNK if early else status(500, dead)
    async with Served(always(answer)) as server, front(ready={"chat": server.port}) as gate:
        await gate.ask(PATH, STREAM)
        assert suspected(gate) == [("its engine is dead", True)]


async def test_a_server_that_dies_is_reported() -> None:
    async with Served(once(b"")) as server, front(ready={"chat": server.port}) as gate:
        await gate.ask(PATH, PLAIN)
        assert suspected(gate) == [("its server closed the connection", False)]


ABORTED = b'{"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}'


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_cut_short_in_silence_is_counted(
    usage: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = [b"data: 1\n\n", b"data: 2\n\n", b"data: " + ABORTED + b"\n\n"]
    pieces += [b'data: {"choices":[],"usage":{}}\n\n'] if usage else []
    pieces += [b"data: [DONE]\n\n"]
    answer = SSE_HEAD + b"".join(map(chunk, pieces)) + LAST_CHUNK
    async with Served(always(answer)) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask(PATH, STREAM)).body == b"".join(pieces)
        assert gate.failed == ["truncated"]
        assert "model chat: its server cut a response short" in caplog.text
        assert suspected(gate) == []


async def test_an_answer_in_one_piece_cut_short_is_counted() -> None:
    async with Served(always(ok(ABORTED))) as server, front(ready={"chat": server.port}) as gate:
        await gate.ask(PATH, PLAIN)
        assert gate.failed == ["truncated"]


@pytest.mark.parametrize(
    ("status", "tail", "end"),
    [
        (200, b'{"delta":{"content":"abort"},"finish_reason":"stop"}', ResponseEnd.GOOD),
        (200, b'{"content":"\\"finish_reason\\":\\"abort\\""}', ResponseEnd.GOOD),
        (200, b'{"finish_reason": "abort"}', ResponseEnd.ABORTED),
        (200, b'data: {"choices":[{"delta":{"content":"data: {\\"error\\""}}]}', ResponseEnd.GOOD),
        (200, b'data: {"error": {"code":500}}', ResponseEnd.FAILED),
        (200, b'event: error\ndata: {"type":"error","error":{}}', ResponseEnd.FAILED),
        (500, b"", ResponseEnd.FAILED),
        (500, b"EngineDeadError", ResponseEnd.DEAD),
        (500, b'{"error":{"message":"EngineCore encountered an issue. See stack trace"}}', ResponseEnd.DEAD),
        (200, b'data: {"error": {"message": "EngineCore encountered an issue. See"}}', ResponseEnd.DEAD),
        (503, b"", ResponseEnd.GOOD),
        (503, b"EngineDeadError", ResponseEnd.DEAD),
        (400, b'{"error":{"message":"EngineDeadError"}}', ResponseEnd.GOOD),
    ],
)
def test_the_end_of_an_answer_is_judged_by_its_tail(status: int, tail: bytes, end: ResponseEnd) -> None:
    assert classify_end(status, tail) is end


async def test_a_routes_priority_goes_with_the_request() -> None:
    routes = (RouteSpec(name="urgent", model="chat", path="/urgent", priority=3),)
    config = settings(model("chat"), routes=routes)
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        await gate.ask("/urgent/v1/completions", PLAIN)
        await gate.ask("/chat/v1/completions", PLAIN)
        assert [ticket.priority for ticket in gate.seats.tickets] == [3, 0]


async def test_a_run_that_has_gone_before_it_got_the_request_costs_nothing() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with (
            Served(always(ok(b"{}"))) as server,
            front(ready={"chat": nobody.getsockname()[1]}) as gate,
            asyncio.TaskGroup() as group,
        ):
            asked = group.create_task(gate.ask(PATH, PLAIN))
            await gate.seats.asked.wait()
            lease = gate.seats.tickets[0].lease
            assert lease is not None
            await lease.doubted.wait()
            gate.seats.ready("chat", server.port, run=2)
            lease.break_it(Reason(summary="killed by SIGKILL"))
            assert (await asked).status == 200
            await gate.ticket_closed()
            assert len(gate.seats.tickets) == 2


async def test_a_run_that_dies_in_its_answer_is_told_with_its_reason() -> None:
    async with (
        Served(once(SSE_HEAD + chunk(b"data: 1\n\n"))) as server,
        front(ready={"chat": server.port}) as gate,
        asyncio.TaskGroup() as group,
    ):
        asked = group.create_task(gate.ask(PATH, STREAM))
        await gate.seats.asked.wait()
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        await lease.doubted.wait()
        lease.break_it(Reason(summary="out of memory"))
        assert b"its server has ended: out of memory" in (await asked).body

"""WebSockets are relayed to a model's server, with all that holds for other requests."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import PATIENCE_S, Message, Script, Served, Wire, read_head
from hotseat.core.access_spec import AuthSpec, KeySpec, LimitSpec, PolicySpec, PromptSpec
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.spec import RouteSpec, Settings
from hotseat.gateway.proxy import websocket
from hotseat.gateway.proxy.websocket import FrameTracker

pytestmark = pytest.mark.anyio

CLIENT_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
PLAIN_HEADERS = (
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "WebSocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", CLIENT_KEY),
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPTED + b"\r\nServer: x\r\nSet-Cookie: a=b\r\n\r\n"
)
TEXT = b"\x81\x05hello"
MASKED = b"\x81\x85\x01\x02\x03\x04" + bytes(
    c ^ m for c, m in zip(b"hello", b"\x01\x02\x03\x04\x01", strict=True)
)


def echo(first: bytes = b"") -> Script:
    """Switch to WebSocket and send everything back."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.requests.append(await read_head(reader))
        writer.write(SWITCHED + first)
        async with served.change:
            served.change.notify_all()
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    return script


async def shake(wire: Wire, path: str, *more: tuple[str, str]) -> Message:
    """Send the handshake and read its answer."""
    await wire.ask(path, headers=(*PLAIN_HEADERS, *more))
    async with asyncio.timeout(PATIENCE_S):
        message = await read_head(wire.reader)
        if (length := message.get("content-length")) is not None:
            message.body = await wire.reader.readexactly(int(length))
    return message


async def refused(gate: Front, path: str, *more: tuple[str, str]) -> tuple[int, str]:
    """The status and the message with which a handshake is refused."""
    async with await gate.open() as wire:
        answer = await shake(wire, path, *more)
        return answer.status, json.loads(answer.body)["error"]["message"]


async def test_a_websocket_is_opened_and_relayed_in_both_directions() -> None:
    async with Served(echo(TEXT)) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            answer = await shake(wire, "/v1/realtime?model=chat&x=1")
            assert answer.status == 101
            assert answer.get("sec-websocket-accept") == ACCEPTED.decode()
            assert (answer.get("upgrade"), answer.get("set-cookie")) == ("websocket", None)
            assert answer.get("x-request-id")
            assert await wire.until(TEXT) == TEXT
            for frame in (
                MASKED,
                b"\x89\x80\x01\x02\x03\x04",
                b"\x8a\x80\x01\x02\x03\x04",
            ):  # ping and pong, too
                await wire.send(frame)
                assert await wire.until(frame) == frame
            assert gate.seats.open == 1
        await gate.ticket_closed()
        await server.until(lambda s: s.closed == 1)
        [record] = gate.records
        assert (record.status, record.model, record.failed, record.path) == (101, "chat", "", "/v1/realtime")
        assert gate.gateway.services.websockets == set()


async def test_the_server_gets_the_handshake_and_no_credential() -> None:
    auth = AuthSpec(keys=(KeySpec(name="k", digest=hashlib.sha256(b"sk-secret").digest()),))
    config = settings(model("chat", served_names=("Org/Voice",), upstream_key="up"), auth=auth)
    async with (
        Served(echo()) as server,
        front(config, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        answer = await shake(
            wire,
            "/v1/realtime?model=chat&api_key=sk-secret&voice=a%20b",
            ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-secret"),
            ("Sec-WebSocket-Protocol", "openai-beta.realtime-v1"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Origin", "http://localhost"),
        )
        assert answer.status == 101
        [request] = server.requests
        assert request.first == b"GET /v1/realtime?model=Org%2FVoice&voice=a%20b HTTP/1.1"
        assert request.get("sec-websocket-protocol") == "realtime, openai-beta.realtime-v1"
        assert request.get("sec-websocket-key") == CLIENT_KEY
        assert request.get("sec-websocket-extensions") == "permessage-deflate"
        assert (request.get("connection"), request.get("upgrade")) == ("Upgrade", "websocket")
        assert request.get("authorization") == "Bearer up"
        assert "sk-secret" not in repr(request)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((), 401),
        ((("Sec-WebSocket-Protocol", "openai-insecure-api-key.wrong"),), 401),
        ((("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-secret"),), 101),
        ((("Authorization", "Bearer sk-secret"),), 101),
        (
            (("Authorization", "Bearer no"), ("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-secret")),
            401,
        ),
    ],
)
async def test_a_key_is_needed_and_may_be_a_subprotocol(
    more: tuple[tuple[str, str], ...], status: int
) -> None:
    auth = AuthSpec(keys=(KeySpec(name="k", digest=hashlib.sha256(b"sk-secret").digest()),))
    config = settings(auth=auth)
    async with (
        Served(echo()) as server,
        front(config, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        assert (await shake(wire, "/chat/v1/realtime", *more)).status == status
        assert len(server.requests) == (status == 101)


async def test_a_subprotocol_opens_nothing_but_a_websocket() -> None:
    auth = AuthSpec(keys=(KeySpec(name="k", digest=hashlib.sha256(b"sk-secret").digest()),))
    async with front(settings(auth=auth), ready={"chat": 1}) as gate:
        headers = (("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-secret"),)
        assert (await gate.ask("/chat/v1/completions", b"{}", headers=headers)).status == 401


LET_IN = PolicySpec(cors=("https://app.example.org",))


@pytest.mark.parametrize(
    ("origin", "local_only", "policy", "status"),
    [
        ("https://evil.example", False, PolicySpec(), 403),
        ("https://evil.example", True, PolicySpec(), 403),
        ("https://evil.example", False, LET_IN, 403),
        ("https://app.example.org", False, LET_IN, 101),
        ("https://app.example.org", True, LET_IN, 101),
        ("http://localhost", False, PolicySpec(), 101),  # the page that hotseat itself serves
        ("http://localhost:3000", True, PolicySpec(), 101),
        ("http://localhost:3000", False, PolicySpec(), 403),
        ("null", False, PolicySpec(), 403),
        (None, True, PolicySpec(), 101),
    ],
)
async def test_a_foreign_page_opens_no_websocket(
    origin: str | None, local_only: bool, policy: PolicySpec, status: int
) -> None:
    config = settings(routes=(RouteSpec(name="chat", model="chat", path="/chat", policy=policy),))
    async with (
        Served(echo()) as server,
        front(config, ready={"chat": server.port}, local_only=local_only) as gate,
        await gate.open() as wire,
    ):
        answer = await shake(wire, "/chat/v1/realtime", *(() if origin is None else (("Origin", origin),)))
        assert answer.status == status
        if status == 403:
            assert "cors:" in json.loads(answer.body)["error"]["message"]
            assert server.requests == []


async def test_the_path_says_where_there_are_websockets() -> None:
    config = settings(model("chat", allow_paths=("/ws/**",)), model("coder"), default_route="chat")
    async with Served(echo()) as server, front(config, ready={"chat": server.port, "coder": 1}) as gate:
        for path in ("/v1/realtime", "/chat/v1/realtime", "/chat/ws/a", "/ws/a", "/v1/realtime/"):
            async with await gate.open() as wire:
                assert (await shake(wire, path)).status == 101, path
        assert (await refused(gate, "/v1/chat/completions"))[0] == 501
        assert (await refused(gate, "/coder/ws/a"))[0] == 404
        assert (await refused(gate, "/ws/a?model=coder"))[0] == 404
        assert (await refused(gate, "/sleep"))[0] == 404


@pytest.mark.parametrize(
    "policy",
    [
        PolicySpec(prompt=PromptSpec(text="Be kind.")),
        PolicySpec(clamp={"max_tokens": 5.0}),
        PolicySpec(drop=("x",)),
    ],
)
async def test_no_websocket_gets_around_a_routes_policy(policy: PolicySpec) -> None:
    config = settings(routes=(RouteSpec(name="chat", model="chat", path="/chat", policy=policy),))
    async with front(config, ready={"chat": 1}) as gate:
        assert (await refused(gate, "/chat/v1/realtime"))[0] == 404
        assert gate.seats.tickets == []


async def test_a_websocket_starts_its_model_and_waits_for_it() -> None:
    async with Served(echo(TEXT)) as server, front() as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await wire.ask("/v1/realtime?model=chat", headers=PLAIN_HEADERS)
        async with asyncio.timeout(PATIENCE_S):
            await gate.seats.asked.wait()
            await gate.seats.tickets[0].waiting.wait()
        gate.seats.ready("chat", server.port)
        gate.seats.tickets[0].grant()
        assert (await wire.until(TEXT)).startswith(b"HTTP/1.1 101 ")


async def test_a_model_that_cannot_start_is_told() -> None:
    async with front() as gate:
        gate.seats.refusals["chat"] = Refusal(
            code=Code.MODEL_FAILED, message="unknown flag", model="chat", should_retry=False
        )
        assert await refused(gate, "/chat/v1/realtime") == (400, "unknown flag")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 502),
        (b"nonsense\r\n\r\n", 502),
        (b"", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nx: " + b"y" * 70_000, 502),
    ],
    ids=["404", "200", "nonsense", "nothing", "huge"],
)
async def test_a_server_without_websockets_is_told(response: bytes, status: int) -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response)
        await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        assert (await refused(gate, "/chat/v1/realtime"))[0] == status
        await gate.ticket_closed()


async def test_a_server_that_cannot_be_reached_is_told() -> None:
    async with front(ready={"chat": 1}) as gate:
        assert (await refused(gate, "/chat/v1/realtime"))[0] == 503


async def test_the_client_gets_all_that_the_server_sent_before_it_closed() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCHED + TEXT * 100_000)

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            assert (await shake(wire, "/chat/v1/realtime")).status == 101
            assert await wire.at_end() == TEXT * 100_000
        await gate.ticket_closed()


async def opened(gate: Front, wire: Wire) -> None:
    assert (await shake(wire, "/chat/v1/realtime")).status == 101
    await wire.send(MASKED)
    assert await wire.until(MASKED) == MASKED


@pytest.mark.parametrize(("alive", "code"), [(True, 1012), (False, 1011)])
async def test_the_end_of_its_run_closes_a_websocket_in_words(alive: bool, code: int) -> None:
    async with (
        Served(echo()) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await opened(gate, wire)
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        lease.break_it(Reason(summary="stopped", alive=alive))
        assert await wire.at_end() == b"\x88\x02" + code.to_bytes(2)
        await gate.ticket_closed()


async def test_a_shutdown_closes_websockets_at_once() -> None:
    async with (
        Served(echo()) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await opened(gate, wire)
        async with asyncio.timeout(PATIENCE_S):
            await gate.server.stop(PATIENCE_S * 2)
        assert await wire.at_end() == b"\x88\x02" + (1001).to_bytes(2)


async def test_no_closing_frame_is_put_into_another_frame() -> None:
    async with (
        Served(echo(b"\x82\x7e\xff\xffhalf")) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        assert (await shake(wire, "/chat/v1/realtime")).status == 101
        await wire.until(b"half")
        await gate.server.stop(PATIENCE_S)
        assert await wire.at_end() == b""


async def test_an_unused_websocket_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "IDLE_S", 0.05)
    async with Served(echo()) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            assert (await shake(wire, "/chat/v1/realtime")).status == 101
            assert await wire.at_end() == b"\x88\x02" + (1001).to_bytes(2)
        await gate.ticket_closed()


async def test_there_is_a_bound_of_open_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_WEBSOCKETS", 1)
    async with Served(echo()) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await opened(gate, wire)
            assert (await refused(gate, "/chat/v1/realtime"))[0] == 503
        await gate.ticket_closed()
        async with await gate.open() as wire:
            await opened(gate, wire)


def limited(limit: LimitSpec) -> Settings:
    policy = PolicySpec(limits=(limit,))
    return settings(routes=(RouteSpec(name="chat", model="chat", path="/chat", policy=policy),))


async def test_limits_count_websockets_while_they_are_open() -> None:
    config = limited(LimitSpec(amount=1, per_s=0, what="concurrent", per="total", scope="route chat"))
    async with Served(echo()) as server, front(config, ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await opened(gate, wire)
            assert (await refused(gate, "/chat/v1/realtime"))[0] == 429
        await gate.ticket_closed()
        async with await gate.open() as wire:
            await opened(gate, wire)


async def test_a_slow_client_makes_the_server_wait_and_the_other_way_round() -> None:
    blocked = asyncio.Event()
    piece = b"\x82\x7e\xff\xff" + b"x" * 65535

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SWITCHED)
        for _ in range(2000):
            writer.write(piece)
            try:
                async with asyncio.timeout(1.0):
                    await writer.drain()
            except TimeoutError:
                blocked.set()
                await served.release.wait()
                return

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/realtime", headers=PLAIN_HEADERS)
            async with asyncio.timeout(PATIENCE_S):
                await blocked.wait()
            written = 0
            try:
                async with asyncio.timeout(2.0):
                    while written < 2000:
                        await wire.send(piece)
                        written += 1
            except TimeoutError:
                pass
            assert written < 2000, "125 MiB went somewhere while nobody read"
            wire.writer.transport.abort()  # closed in peace, it would wait for what is still to be sent
        server.release.set()
        await gate.ticket_closed()


@pytest.mark.parametrize(
    "headers",
    [
        PLAIN_HEADERS[:3],
        (*PLAIN_HEADERS, ("Content-Length", "2")),
    ],
)
async def test_a_broken_handshake_is_refused(headers: tuple[tuple[str, str], ...]) -> None:
    async with front(ready={"chat": 1}) as gate, await gate.open() as wire:
        await wire.ask("/chat/v1/realtime", headers=headers)
        await wire.send(b"{}")
        assert (await wire.answer()).status == 400
        assert gate.seats.tickets == []


def test_frames_are_followed_in_any_pieces() -> None:
    frames = [
        b"\x81\x00",
        TEXT,
        MASKED,
        b"\x82\x7e\x00\x80" + b"x" * 128,
        b"\x82\x7f" + (70_000).to_bytes(8) + b"x" * 70_000,
        b"\x82\xfe\x00\x81" + b"mask" + b"x" * 129,
    ]
    whole = b"".join(frames)
    ends = {sum(len(frame) for frame in frames[: count + 1]) for count in range(len(frames))}
    for size in (1, 3, 1000, len(whole)):
        tracker = FrameTracker()
        for at in range(0, len(whole), size):
            tracker.feed(whole[at : at + size])
            assert tracker.is_between_frames == (min(at + size, len(whole)) in ends)

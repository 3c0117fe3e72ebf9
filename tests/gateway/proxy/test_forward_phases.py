"""The phases of a forwarded request, as ``repr`` shows them: each callback in the phase it expects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from fakes.gateway import control_app, model, settings
from fakes.leases import FakeLeaseProvider
from fakes.wire import SSE_HEAD, Served, chunk
from hotseat.core.access_spec import PolicySpec
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.spec import RouteSpec
from hotseat.gateway.gateway import Gateway
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.forward import Forward, Phase
from hotseat.gateway.proxy.prepare import UpstreamRequest

pytestmark = pytest.mark.anyio

SSE = b"text/event-stream"
JSON = b"application/json"


class FakeCycle:
    """A client that takes everything at once; remembers what it was sent."""

    is_slow = False

    def __init__(self, *, response_started: bool = False) -> None:
        self.response_started = response_started
        self.source: object = None
        self.calls: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.bytes_sent = 0
        self.body = b""

    def start(self, status: int, headers: bytes, length: bytes | None) -> None:
        self.response_started = True
        self.calls.append(f"start {status}")

    def write(self, data: bytes) -> None:
        self.body += data

    def flush(self) -> None:
        self.calls.append("flush")

    def finish(self) -> None:
        self.calls.append("finish")

    def abort(self) -> None:
        self.calls.append("abort")

    def refuse(self, problem: Any, *, anthropic: bool) -> None:
        self.calls.append(f"refuse {problem.status} {problem.code}")


class FakeOwner:
    """Closes the forward at its end, as the request does; keeps what has to be waited for."""

    def __init__(self) -> None:
        self.forward: Forward | None = None
        self.pending: Coroutine[Any, Any, None] | None = None

    def end(self) -> None:
        assert self.forward is not None
        self.forward.close()

    def continue_in_task(self, pending: Coroutine[Any, Any, None]) -> None:
        self.pending = pending


class Scene:
    """One request to the model ``chat``, forwarded for a fake client."""

    def __init__(self, *, stream: bool = False, response_started: bool = False) -> None:
        routes = (RouteSpec(name="chat", model="chat", path="/chat", policy=PolicySpec()),)
        self.leases = FakeLeaseProvider()
        self.gateway = Gateway(
            settings(model("chat"), routes=routes), self.leases, control_app, local_only=False
        )
        self.cycle, self.owner = FakeCycle(response_started=response_started), FakeOwner()
        request = UpstreamRequest(
            route=self.gateway.snapshot.routing.named("chat"),
            method=b"POST",
            target=b"/v1/completions",
            headers=b"",
            content=b"{}",
            size=2,
            stream=stream,
            anthropic=False,
        )
        self.forward = self.owner.forward = Forward(
            self.owner,
            cast(RequestCycle, self.cycle),
            request,
            self.gateway.services,
            self.gateway.snapshot,
        )

    def close(self) -> None:
        if self.owner.pending is not None:
            self.owner.pending.close()
        self.forward.close()
        self.gateway.close()


async def until(scene: Scene, phase: Phase) -> None:
    async with asyncio.timeout(10):
        while scene.forward.phase is not phase:  # noqa: ASYNC110  # callbacks of a socket lead to it
            await asyncio.sleep(0)


async def test_a_request_to_a_model_that_must_start_first() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await reader.read()

    scene = Scene(stream=True)
    scene.leases.waiting_models.add("chat")
    async with Served(script) as server:
        pending = scene.forward.begin()
        assert pending is not None
        assert repr(scene.forward) == "<Forward chat POST /v1/completions: queued>"
        task = asyncio.get_running_loop().create_task(pending)
        await scene.leases.tickets[0].waiting.wait()
        assert scene.forward.phase is Phase.QUEUED
        scene.leases.ready("chat", server.port)
        scene.leases.tickets[0].grant()
        await until(scene, Phase.CONNECTING)
        await until(scene, Phase.AWAITING_HEAD)
        server.release.set()
        await until(scene, Phase.STREAMING)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scene.close()
        assert repr(scene.forward).endswith(": done>")


async def test_a_refused_request_is_done_at_once() -> None:
    scene = Scene()
    scene.leases.refusals["chat"] = Refusal(code=Code.QUEUE_FULL, message="full", model="chat")
    assert scene.forward.begin() is None
    assert scene.forward.phase is Phase.DONE
    assert scene.cycle.calls == ["refuse 429 queue_full"]
    scene.close()


@pytest.mark.parametrize(
    ("content_type", "status", "response_started", "phase"),
    [
        (SSE, 200, False, Phase.STREAMING),
        (SSE, 200, True, Phase.STREAMING),
        (SSE, 500, False, Phase.STREAMING),
        (SSE, 500, True, Phase.COLLECTING),
        (JSON, 200, False, Phase.RELAYING),
        (JSON, 400, False, Phase.RELAYING),
        (JSON, 200, True, Phase.COLLECTING),
        (JSON, 400, True, Phase.COLLECTING),
    ],
)
async def test_the_head_decides_how_the_body_is_passed_on(
    content_type: bytes, status: int, response_started: bool, phase: Phase
) -> None:
    async def silent(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()

    scene = Scene(stream=True, response_started=response_started)
    async with Served(silent) as server, asyncio.TaskGroup() as group:
        scene.leases.ready("chat", server.port)
        pending = scene.forward.begin()
        assert pending is not None
        task = group.create_task(pending)
        await until(scene, Phase.AWAITING_HEAD)
        scene.forward.on_head(status, b"", None, content_type)
        assert scene.forward.phase is phase
        scene.forward.on_data(b'{"message":"no"}\n\n')
        assert scene.cycle.body == (b"" if phase is Phase.COLLECTING else b'{"message":"no"}\n\n')
        scene.forward.on_end()
        await task
        assert scene.cycle.calls[-1] == "finish"
        assert (b'data: {"error"' in scene.cycle.body) == (phase is Phase.COLLECTING)
        scene.close()
        assert scene.forward.phase is Phase.DONE


@pytest.mark.parametrize(
    ("content_type", "told"), [(SSE, b'data: 1\n\ndata: {"error"'), (JSON, b"data: 1\n\n")]
)
async def test_a_response_that_fails_waits_for_the_reason(content_type: bytes, told: bytes) -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % content_type
        writer.write(head + chunk(b"data: 1\n\n"))

    scene = Scene(stream=True)
    async with Served(script) as server, asyncio.TaskGroup() as group:
        scene.leases.ready("chat", server.port)
        pending = scene.forward.begin()
        assert pending is not None
        task = group.create_task(pending)
        await until(scene, Phase.AWAITING_REASON)
        lease = scene.leases.tickets[0].lease
        assert lease is not None
        assert [certain for _, certain in lease.suspected] == [False]
        lease.break_it(Reason(summary="out of memory"))
        await task
        assert scene.forward.failure == "its server has ended: out of memory"
        assert scene.cycle.body.startswith(told)
        assert scene.cycle.calls[-1] == ("finish" if content_type is SSE else "abort")
        scene.close()

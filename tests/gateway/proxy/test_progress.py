"""Loading told where people look: as the first text of the answer, in every API, off unless wished."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import LAST_CHUNK, SSE_HEAD, Served, Wire, chunk, once
from hotseat.core.access_spec import PolicySpec
from hotseat.core.errors import Code, Refusal
from hotseat.core.spec import RouteSpec, Settings
from hotseat.core.states import State
from hotseat.core.views import Loading

pytestmark = pytest.mark.anyio

STREAM = b'{"stream":true}'
TEXT = ("X-Hotseat-Progress", "text")
REASONING = ("X-Hotseat-Progress", "reasoning")
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]
LINE = "loading coder, about 30 s left\n"


def config(**policy: Any) -> Settings:
    route = RouteSpec(name="coder", model="coder", path="/coder", policy=PolicySpec(**policy))
    return settings(model("coder"), routes=(route,), hold_headers_s=0.0, default_route="coder")


async def asked(gate: Front, wire: Wire, path: str, *headers: tuple[str, str]) -> None:
    """A stream that waits for its model, 30 s before it is ready."""
    gate.seats.waiting_models.add("coder")
    gate.seats.loading = Loading(
        model="coder", state=State.STARTING, phase="compiling", elapsed_s=5.0, eta_s=30.0
    )
    await wire.ask(f"/coder{path}", STREAM, headers=list(headers))


def events(raw: bytes) -> list[dict[str, Any]]:
    lines = [line for line in raw.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line[6:]) for line in lines]


def text_of(event: dict[str, Any], kind: str = "text") -> str:
    """What an event adds to the answer that people see."""
    if "choices" in event:
        choice = event["choices"][0]
        field = "content" if kind == "text" else "reasoning_content"
        return str(choice.get("text") or choice.get("delta", {}).get(field) or "")
    delta = event.get("delta", "")
    if isinstance(delta, str):
        return delta
    return str(delta.get("text" if kind == "text" else "thinking", ""))


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_begins_with_the_progress_where_its_header_wishes_so(path: str) -> None:
    async with front(config(), comment_every_s=0.001) as gate, await gate.open() as wire:
        await asked(gate, wire, path, TEXT)
        got = await wire.until(b"about 30 s left\\n")
        gate.seats.loading = Loading(
            model="coder", state=State.STARTING, phase="compiling", elapsed_s=7.0, eta_s=10.0
        )
        got += await wire.until(b"about 10 s left\\n") + await wire.until(b"\n\n")
        told = "".join(text_of(event) for event in events(got))
        assert told.startswith(LINE), "and told once, while it does not change"
        assert told.count("30 s") <= 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_it_may_be_shown_among_the_reasoning(path: str) -> None:
    async with front(config()) as gate, await gate.open() as wire:
        await asked(gate, wire, path, REASONING)
        (*_, last) = events(await until_line(wire))
        assert text_of(last, "reasoning") == LINE
        assert text_of(last) == ""


async def until_line(wire: Wire) -> bytes:
    """All that came up to the end of the event with the line."""
    got = await wire.until(b"30 s left\\n")
    return got + await wire.until(b"\n\n")


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_told_that_way_unless_it_is_wished(path: str) -> None:
    async with front(config()) as gate, await gate.open() as wire:
        await asked(gate, wire, path)
        got = await wire.until(b"\n\n")
        assert b"hotseat coder: starting" in got
        assert b"loading coder" not in got


@pytest.mark.parametrize(("wished", "shown"), [((), True), ((("X-Hotseat-Progress", "off"),), False)])
async def test_a_route_may_wish_it_and_a_request_may_decline(
    wished: tuple[tuple[str, str], ...], shown: bool
) -> None:
    async with front(config(progress="text")) as gate, await gate.open() as wire:
        await asked(gate, wire, "/v1/chat/completions", *wished)
        assert (b"loading coder, about 30 s left" in await wire.until(b"\n\n")) is shown


async def answered(path: str, *answer: bytes) -> list[dict[str, Any]]:
    """All events of a stream that was told progress and then answered so by its server."""
    response = SSE_HEAD + b"".join(chunk(piece) for piece in answer) + LAST_CHUNK
    async with Served(once(response)) as server, front(config()) as gate, await gate.open() as wire:
        await asked(gate, wire, path, TEXT)
        got = await until_line(wire)
        gate.seats.ready("coder", server.port)
        gate.seats.tickets[0].grant()
        return events(got + await wire.until(LAST_CHUNK))


async def test_anthropics_message_goes_on_after_the_progress_as_one_message() -> None:
    server = [
        {"type": "message_start", "message": {"id": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    raw = b"".join(
        b"event: %b\ndata: %b\n\n" % (str(one["type"]).encode(), json.dumps(one).encode()) for one in server
    )
    for cut in (1, 30, len(raw) - 1):
        got = await answered("/v1/messages", raw[:cut], raw[cut:])
        assert [event["type"] for event in got] == [
            "message_start",
            *("content_block_start", "content_block_delta", "content_block_stop") * 2,
            "message_delta",
            "message_stop",
        ]
        assert [event["index"] for event in got if "index" in event] == [0, 0, 0, 1, 1, 1]
        assert "".join(text_of(event) for event in got) == f"{LINE}Hi"


async def test_a_response_goes_on_after_the_progress_with_numbers_in_order() -> None:
    server = [
        {"type": "response.created", "sequence_number": 0, "response": {"id": "r"}},
        {"type": "response.in_progress", "sequence_number": 1, "response": {"id": "r"}},
        {"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": {}},
        {"type": "response.output_text.delta", "sequence_number": 3, "output_index": 0, "delta": "Hi"},
        {"type": "response.completed", "sequence_number": 4, "response": {"id": "r"}},
    ]
    raw = [
        b"event: %b\ndata: %b\n\n" % (str(one["type"]).encode(), json.dumps(one).encode()) for one in server
    ]
    got = await answered("/v1/responses", *raw)
    assert [event["sequence_number"] for event in got] == list(range(len(got)))
    assert [event["type"] for event in got].count("response.created") == 1
    assert got[-2]["output_index"] == 1
    assert "".join(text_of(event) for event in got) == f"{LINE}Hi"


async def test_an_error_comes_after_the_progress() -> None:
    for path in PATHS:
        async with front(config()) as gate, await gate.open() as wire:
            await asked(gate, wire, path, TEXT)
            got = await until_line(wire)
            gate.seats.tickets[0].refuse(Refusal(code=Code.START_TIMEOUT, message="too long", model="coder"))
            got += await wire.until(LAST_CHUNK)
            assert b"too long" in got

"""Only a request that asks a model for work may start it; reads go to the model that has their object."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import LAST_CHUNK, SSE_HEAD, Served, always, chunk, ok
from hotseat.core.access_spec import AuthSpec, KeySpec
from hotseat.core.errors import Reason
from hotseat.core.states import State
from hotseat.gateway.proxy.made_ids import MAX_IDS, MadeIds

pytestmark = pytest.mark.anyio

A_IS_DEFAULT = settings(model("a"), model("b"), default_route="a")
NO_DEFAULT = settings(model("a"), model("b"))

READS = [
    ("GET", "/v1/nonsense"),
    ("HEAD", "/v1/assistants"),
    ("GET", "/v1/responses/resp_1"),
    ("DELETE", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"),
    ("POST", "/a/v1/responses/resp_1/cancel"),
    ("POST", "/v1/nonsense"),
    ("POST", "/v1/batches"),
    ("POST", "/a/v1/threads"),
    ("PUT", "/v1/nonsense"),
    ("PATCH", "/v1/nonsense"),
    ("GET", "/a/v1/foo"),
    ("HEAD", "/a/v1/chat/completions"),
    ("GET", "/v1/chat/completions"),
    ("GET", "/tokenize"),
    ("GET", "/extra/page"),
    ("GET", "/a/extra/page"),
]


@pytest.mark.parametrize(("method", "path"), READS)
async def test_a_read_starts_nothing(method: str, path: str) -> None:
    """The answer is clear, comes at once, and no library repeats the request."""
    config = settings(model("a", allow_paths=("/extra/**",)), model("b"), default_route="a")
    async with front(config) as gate:
        for state in (State.STOPPED, State.ASLEEP, State.STARTING, State.DRAINING, State.BACKOFF):
            gate.seats.states["a"] = gate.seats.states["b"] = state
            body = None if method in ("GET", "HEAD", "DELETE") else b"{}"
            answer = await gate.ask(path, body, method=method)
            assert answer.status in (404, 503)
            assert answer.get("x-should-retry") == "false"
            if method != "HEAD":
                assert "loaded" in json.loads(answer.body)["error"]["message"]
        assert gate.seats.tickets == []


@pytest.mark.parametrize(("method", "path"), [read for read in READS if not read[1].startswith("/a/")])
async def test_a_read_goes_to_the_model_that_is_ready(method: str, path: str) -> None:
    config = settings(model("a"), model("b", allow_paths=("/extra/**",)), default_route="a")
    async with Served(always(ok(b"{}"))) as b, front(config, ready={"b": b.port}) as gate:
        body = None if method in ("GET", "HEAD", "DELETE") else b"{}"
        answer = await gate.ask(path, body, method=method)
        assert answer.status == 200
        assert [ticket.model for ticket in gate.seats.tickets] == ["b"]


@pytest.mark.parametrize(
    ("path", "body", "started"),
    [
        ("/v1/chat/completions", b"{}", "a"),
        ("/v1/nonsense", b'{"model":"b"}', "b"),
        ("/v1/responses", b'{"input":"x"}', "a"),
        ("/tokenize", b"{}", "a"),
        ("/b/v1/nonsense", b"{}", "b"),
        ("/b/v1/responses/compact", b'{"model":"b"}', "b"),
        ("/v1/audio/speech", b'{"input":"x"}', "a"),
    ],
)
async def test_work_starts_its_model(path: str, body: bytes, started: str) -> None:
    async with front(A_IS_DEFAULT) as gate, await gate.open() as wire:
        gate.seats.waiting_models |= {"a", "b"}
        await wire.ask(path, body)
        async with asyncio.timeout(20):
            await gate.seats.asked.wait()
        assert gate.seats.tickets[0].model == started


async def test_the_list_of_models_under_a_prefix_shows_that_its_model_starts() -> None:
    """``curl …/chat/v1/models`` is the documented way to see a lazy start."""
    async with front(A_IS_DEFAULT) as gate, await gate.open() as wire:
        gate.seats.waiting_models |= {"a", "b"}
        await wire.ask("/b/v1/models")
        async with asyncio.timeout(20):
            await gate.seats.asked.wait()
        assert gate.seats.tickets[0].model == "b"


async def test_a_read_does_not_queue_for_a_model_that_is_full() -> None:
    """In the queue it would be one more reason to start the model again."""
    async with front(ready={"chat": 1}) as gate:
        gate.seats.waiting_models.add("chat")
        answer = await gate.ask("/chat/v1/assistants")
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        assert json.loads(answer.body)["error"]["code"] == "model_busy"
        assert gate.seats.open == 0


async def test_a_read_is_not_given_to_the_next_run() -> None:
    async with front(ready={"chat": 1}) as gate, await gate.open() as wire:
        await wire.ask("/chat/v1/assistants")
        async with asyncio.timeout(20):
            await gate.seats.asked.wait()
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        await lease.doubted.wait()
        lease.break_it(Reason(summary="it crashed"))
        assert (await wire.answer()).status == 503
        assert len(gate.seats.tickets) == 1


# Objects


async def with_made(gate: Front, path: str, body: bytes) -> None:
    assert (await gate.ask(path, body)).status == 200


@pytest.mark.parametrize(
    ("path", "content", "the_id"),
    [
        ("/v1/responses", b'{"id":"resp_abc","object":"response"}', "resp_abc"),
        ("/v1/responses", b'{\n  "id": "resp_abc"}', "resp_abc"),
        ("/v1/chat/completions", b'{"id":"chatcmpl-1","choices":[]}', "chatcmpl-1"),
        ("/v1/files", b'{"object":"file","id":"file-1"}', "file-1"),
        ("/v1/batches", b'{"id":"batch_1"}', "batch_1"),
    ],
)
async def test_an_object_is_asked_of_the_model_that_made_it(path: str, content: bytes, the_id: str) -> None:
    async with (
        Served(always(ok(b'{"of":"a"}'))) as a,
        Served(always(ok(content))) as b,
        front(A_IS_DEFAULT, ready={"a": a.port, "b": b.port}) as gate,
    ):
        await with_made(gate, "/b" + path, b'{"model":"b"}')
        for method in ("GET", "DELETE", "HEAD"):
            await gate.ask(f"{path}/{the_id}", method=method)
        assert (await gate.ask(f"{path}/{the_id}/cancel", b"{}")).body == content
        assert (await gate.ask(f"{path}/{the_id}/input_items?limit=2")).body == content
        assert (a.requests, len(b.requests)) == ([], 6)
        assert json.loads((await gate.ask(f"{path}/other")).body) == {"of": "a"}


async def test_an_object_of_a_stream_is_known_too() -> None:
    created = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_s"}}\n\n'
    stream = SSE_HEAD + chunk(created) + LAST_CHUNK
    async with (
        Served(always(ok(b'{"of":"a"}'))) as a,
        Served(always(stream)) as b,
        front(A_IS_DEFAULT, ready={"a": a.port, "b": b.port}) as gate,
    ):
        await with_made(gate, "/v1/responses", b'{"model":"b","stream":true}')
        assert (await gate.ask("/v1/responses/resp_s")).body == created


async def test_an_object_of_a_model_that_is_gone_is_not_asked_of_another() -> None:
    async with (
        Served(always(ok(b'{"of":"a"}'))) as a,
        Served(always(ok(b'{"id":"resp_b"}'))) as b,
        front(A_IS_DEFAULT, ready={"a": a.port, "b": b.port}) as gate,
    ):
        await with_made(gate, "/v1/responses", b'{"model":"b"}')
        gate.seats.states["b"] = State.STOPPED
        answer = await gate.ask("/v1/responses/resp_b")
        assert answer.status == 404
        assert "made by b" in json.loads(answer.body)["error"]["message"]
        assert a.requests == []


async def test_an_object_of_a_model_that_a_key_may_not_use_is_none_of_its_business() -> None:
    auth = AuthSpec(
        keys=(
            KeySpec(name="all", digest=_digest("sk-all")),
            KeySpec(name="of-a", digest=_digest("sk-a"), routes=frozenset({"a"})),
        )
    )
    config = settings(model("a"), model("b"), default_route="a", auth=auth)
    async with (
        Served(always(ok(b'{"of":"a"}'))) as a,
        Served(always(ok(b'{"id":"resp_b"}'))) as b,
        front(config, ready={"a": a.port, "b": b.port}) as gate,
    ):
        owner = (("Authorization", "Bearer sk-all"),)
        assert (await gate.ask("/v1/responses", b'{"model":"b"}', headers=owner)).status == 200
        assert (await gate.ask("/v1/responses/resp_b", headers=owner)).status == 200
        other = await gate.ask("/v1/responses/resp_b", headers=(("Authorization", "Bearer sk-a"),))
        assert other.status == 404
        assert " b" not in json.loads(other.body)["error"]["message"]
        assert (await gate.ask("/v1/responses/resp_b", headers=())).status == 401
        assert len(b.requests) == 2


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@pytest.mark.parametrize("response", [b"", b"{}", b'{"id":""}', b'{"id":"' + b"x" * 200 + b'"}', b'{"id":"a'])
def test_what_has_no_usable_id_is_not_remembered(response: bytes) -> None:
    made = MadeIds()
    made.note(response, "a")
    assert len(made) == 0


def test_the_memory_of_objects_is_bounded_and_keeps_the_newest() -> None:
    made = MadeIds()
    for number in range(MAX_IDS + 5):
        made.note(b'{"id":"resp_%d"}' % number, "a")
    assert len(made) == MAX_IDS
    assert made.model_of(b"/v1/responses/resp_4") is None
    assert made.model_of(b"/v1/responses/resp_5/input_items") == "a"


async def test_several_loaded_models_and_no_default_leave_the_choice_to_the_client() -> None:
    async with front(NO_DEFAULT, ready={"a": 1, "b": 1}) as gate:
        answer = await gate.ask("/v1/nonsense")
        assert answer.status == 404
        assert "prefix" in json.loads(answer.body)["error"]["message"]


# The default in place of an unknown model


async def test_an_unknown_model_that_falls_to_the_default_is_told_so() -> None:
    async with Served(always(ok(b"{}"))) as a, front(A_IS_DEFAULT, ready={"a": a.port}) as gate:
        answer = await gate.ask("/v1/completions", b'{"model":"gpt-4o"}')
        assert answer.get("x-hotseat-default") == "a"
        known = await gate.ask("/v1/completions", b'{"model":"a"}')
        none = await gate.ask("/v1/completions", b"{}")
        assert (known.get("x-hotseat-default"), none.get("x-hotseat-default")) == (None, None)
        assert [record.asked for record in gate.records] == ["gpt-4o", "", ""]


async def test_the_log_holds_no_more_of_an_unknown_name_than_it_may() -> None:
    async with Served(always(ok(b"{}"))) as a, front(A_IS_DEFAULT, ready={"a": a.port}) as gate:
        await gate.ask("/v1/completions", b'{"model":"Bearer sk-a1B2c3D4"}')
        await gate.ask("/v1/completions", json.dumps({"model": "x" * 1000}).encode())
        assert [record.asked for record in gate.records] == ["Bearer ***", "x" * 100]

"""Large bodies: judged before they are read, held within a budget, and parsed without anybody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tracemalloc
from typing import Any

import pytest

from fakes.gateway import front, model, settings
from fakes.wire import Message, Served, always, ok
from hotseat.core.access_spec import LimitSpec, PolicySpec, PromptSpec
from hotseat.core.spec import RouteSpec
from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.http.headers import RequestHead
from hotseat.gateway.policy.body_budget import BodyBudget
from hotseat.gateway.policy.body_worker import MAX_FIELDS, MAX_VALUES, Reader, check_complexity, is_light

pytestmark = pytest.mark.anyio

JSON_HEAD = RequestHead([(b"content-type", b"application/json")])
MIB = 1024 * 1024


def site(**policy: Any) -> Any:
    """A configuration with a restricted route ``/site`` to the model ``chat``."""
    return settings(routes=(RouteSpec(name="site", model="chat", path="/site", policy=PolicySpec(**policy)),))


PROMPT = PromptSpec(text="Be kind.", mode="replace")


def chat(content: str) -> bytes:
    return json.dumps({"model": "chat", "messages": [{"role": "user", "content": content}]}).encode()


async def test_a_large_body_gets_its_prompt_in_another_process() -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(site(prompt=PROMPT), ready={"chat": server.port}) as gate,
    ):
        for _ in range(2):
            body = chat("x" * 3 * MIB)
            assert (await gate.ask("/site/v1/chat/completions", body)).status == 200
        small = chat("x")
        assert (await gate.ask("/site/v1/chat/completions", small)).status == 200
        sent = [json.loads(request.body)["messages"] for request in server.requests]
        assert [m[0] for m in sent] == [{"role": "system", "content": "Be kind."}] * 3
        assert len(sent[0][1]["content"]) == 3 * MIB


async def test_a_large_body_that_needs_no_change_passes_byte_for_byte() -> None:
    body = b'{ "model":"chat",  "a":[%b] }' % b",".join([b"1"] * 900_000)
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/v1/completions", body)).status == 200
        assert server.requests[0].body == body


async def test_a_large_body_names_its_model_and_its_stream() -> None:
    config = settings(model("chat", served_names=("inner",)))
    body = b'{"stream":true,"prompt":"%b","model":"chat"}' % (b"x" * 2 * MIB)
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        assert (await gate.ask("/v1/completions", body)).status == 200
        assert json.loads(server.requests[0].body)["model"] == "inner"
        assert gate.records[0].stream


BAD = {
    "not JSON": (b"{" + b"[" * 3 * MIB, 400),
    "cut off": (b'{"messages":[' + b"1," * MIB, 400),
    "not UTF-8": (b'{"a":"' + b"\xff" * 2 * MIB + b'"}', 400),
    "nested deeply": (b'{"messages":' + b"[" * 500_000 + b"]" * 500_000 + b"}", 400),
    "objects": (b'{"messages":[' + b"{}," * MIB + b"{}]}", 413),
    "numbers": (b'{"messages":[' + b"1," * 2 * MIB + b"1]}", 413),
    "strings": (b'{"messages":[' + b'"",' * MIB + b'""]}', 413),
    "fields": (b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}", 413),
    "one field": (b"{" + b'"a":1,' * 400_000 + b'"a":1}', 413),
    "a number without end": (b'{"n":1' + b"0" * 2 * MIB + b"}", 400),
}


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD.keys())
async def test_a_body_of_small_values_keeps_nobody_waiting(body: bytes, status: int) -> None:
    """It took up to 21 s of everybody's time."""
    async with (
        Served(always(ok(b"{}"))) as server,
        front(site(prompt=PROMPT, clamp={"n": 1}), ready={"chat": server.port}) as gate,
        await gate.open() as other,
    ):
        answers = 0

        async def ask_often(until: asyncio.Task[Message]) -> None:
            nonlocal answers
            while not until.done():
                await other.ask("/chat/v1/x", b"{}")
                assert (await other.answer()).status == 200
                answers += 1

        async with asyncio.TaskGroup() as group:
            large = group.create_task(gate.ask("/site/v1/chat/completions", body))
            await ask_often(large)
        answer = large.result()
        assert answer.status == status, answer.body
        assert answers > 5
        assert len(server.requests) == answers


@pytest.mark.parametrize(
    "filling",
    [b"a:b\r\n" * 2 * MIB, b"a: " + b"b" * 4 * MIB, b"b" * 4 * MIB],
    ids=["fields", "a value", "a name"],
)
async def test_the_header_of_a_forms_part_is_bounded(filling: bytes) -> None:
    body = b"--X\r\n" + filling
    async with front() as gate:
        answer = await gate.ask(
            "/v1/audio/transcriptions", body, headers=(("Content-Type", "multipart/form-data; boundary=X"),)
        )
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "invalid_form")


async def test_a_large_form_is_read_in_another_process() -> None:
    config = settings(model("chat", served_names=("inner",)))
    form = (
        b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\nchat\r\n'
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--X--\r\n'
        % (b"\r\n--\r\n-" * 300_000)
    )
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        answer = await gate.ask(
            "/v1/audio/transcriptions", form, headers=(("Content-Type", "multipart/form-data; boundary=X"),)
        )
        assert answer.status == 200
        assert server.requests[0].body == form.replace(b"\r\nchat\r\n", b"\r\ninner\r\n")


async def test_when_the_other_process_dies_the_next_body_gets_a_new_one() -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(site(prompt=PROMPT), ready={"chat": server.port}) as gate,
    ):
        body = chat("x" * 2 * MIB)
        assert (await gate.ask("/site/v1/chat/completions", body)).status == 200
        process = gate.gateway.services.body_worker.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # it takes for ever, and is then killed
        asking = gate.ask("/site/v1/chat/completions", body)
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(asking)
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
        assert answer.result().status in (200, 413)
        assert (await gate.ask("/site/v1/chat/completions", body)).status == 200


async def test_a_model_name_without_end_is_refused() -> None:
    async with front() as gate:
        answer = await gate.ask("/v1/completions", b'{"model":"%b"}' % (b"x" * 60_000))
        assert (answer.status, json.loads(answer.body)["error"]["param"]) == (400, "model")


# Limits come first


ONE_AN_HOUR = LimitSpec(amount=1, per_s=3600.0, what="requests", per="client", scope="site")


@pytest.mark.parametrize("whole", [True, False])
async def test_a_request_over_its_limit_is_refused_before_its_body_is_read(whole: bool) -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(site(limits=(ONE_AN_HOUR,), prompt=PROMPT), ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        assert (await gate.ask("/site/v1/chat/completions", chat("x"))).status == 200
        body = b"{" if whole else b""  # not even JSON
        head = b"POST /site/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        await wire.send(head % (1 if whole else 30 * MIB) + body)
        answer = await wire.answer()
        assert (answer.status, answer.get("retry-after")) == (429, "60")
        assert gate.records[-1].route == "site"


async def test_bodies_that_cannot_be_read_count_as_requests() -> None:
    async with front(site(limits=(ONE_AN_HOUR,))) as gate:
        statuses = [(await gate.ask("/site/v1/chat/completions", b"{")).status for _ in range(3)]
        assert statuses == [400, 429, 429]


# The budget


async def test_unfinished_bodies_of_one_client_do_not_take_all_memory() -> None:
    """40 of them took 1.2 GiB."""
    config = settings(body_limit_bytes=2 * MIB, body_memory_bytes=4 * MIB)
    async with (
        Served(always(ok(b"{}"))) as server,
        front(config, ready={"chat": server.port}) as gate,
        contextlib.AsyncExitStack() as stack,
    ):
        wires = [await stack.enter_async_context(await gate.open()) for _ in range(40)]
        tracemalloc.start()
        try:
            head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (2 * MIB)
            for wire in wires:
                with contextlib.suppress(ConnectionError):
                    await wire.send(head + b"x" * (2 * MIB - 1))
            assert gate.gateway.services.bodies.used <= 2 * MIB
            # Sockets' buffers on the way apart, twice as much is held for a moment while one is copied.
            assert tracemalloc.get_traced_memory()[0] < 25 * MIB
        finally:
            tracemalloc.stop()
        answer = await wires[-1].answer()
        assert (answer.status, answer.get("retry-after"), answer.get("x-should-retry")) == (503, "1", "true")
        assert json.loads(answer.body)["error"]["code"] == "too_many_bodies"
        assert (await gate.ask("/chat/v1/x", b'{"a":"%b"}' % (b"x" * 10_000))).status == 200
    assert gate.gateway.services.bodies.used == 0


async def test_a_body_gives_its_room_back_when_the_server_has_it() -> None:
    config = settings(body_limit_bytes=MIB, body_memory_bytes=MIB)
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        for _ in range(5):
            assert (await gate.ask("/chat/v1/x", chat("x" * 900_000))).status == 200
        assert gate.gateway.services.bodies.used == 0


def fits(budget: BodyBudget, client: str, size: int, *, complete: bool = False) -> Any:
    held = budget.hold(client, lambda: None)
    held.grow(size)
    held.is_complete = complete
    return held


def test_whoever_holds_most_gives_way() -> None:
    budget = BodyBudget(100, 80)
    evicted: list[str] = []
    big = budget.hold("big", lambda: evicted.append("big"))
    big.grow(70)
    small = fits(budget, "small", 25)
    fits(budget, "third", 20)
    assert (evicted, budget.used) == (["big"], 45)
    with pytest.raises(RequestRefused):
        big.grow(71)
    small.release()
    small.release()
    assert budget.used == 20


def test_one_client_has_a_share_and_a_body_that_has_arrived_is_safe() -> None:
    budget = BodyBudget(100, 50)
    fits(budget, "one", 40, complete=True)
    with pytest.raises(RequestRefused) as refused:
        fits(budget, "one", 20)
    assert refused.value.problem.status == 503
    fits(budget, "two", 50, complete=True)
    with pytest.raises(RequestRefused):
        fits(budget, "three", 30)
    assert budget.used == 90


# What is light, and what is too much


@pytest.mark.parametrize(
    ("content", "light"),
    [
        (b"{}", True),
        (b"[" * 60_000, True),
        (b'{"a":"' + b"x" * 900_000 + b'"}', True),
        (b'{"a":[' + b"1," * 100_000 + b"1]}", False),
        (b'{"a":"' + b"x" * 2 * MIB + b'"}', False),
        (b"--X\r\n" + b"x" * 100_000, False),
    ],
)
def test_what_is_parsed_in_the_event_loop(content: bytes, light: bool) -> None:
    assert is_light(content, JSON_HEAD) is light


def test_marks_inside_of_strings_are_no_values() -> None:
    text = ', : [ { \\" ' * (MAX_VALUES + 1)
    check_complexity(json.dumps({"messages": [{"role": "user", "content": text}]}).encode(), decoded=True)
    with pytest.raises(RequestRefused):
        check_complexity(b"{" + b'"a":1,' * (MAX_FIELDS + 1) + b'"a":1}', decoded=False)
    tokens = b'{"prompt":[' + b"1," * (MAX_VALUES + 1) + b"1]}"
    check_complexity(tokens, decoded=False)
    with pytest.raises(RequestRefused):
        check_complexity(tokens, decoded=True)


def test_both_processes_read_and_rewrite_alike() -> None:
    policy = PolicySpec(prompt=PROMPT, clamp={"max_tokens": 10})
    reader = Reader()
    content = chat("hello")
    assert reader.carry_out(("read", []), content) == ("done", ("chat", False, False), b"")
    kind, (name, changed), rewritten = reader.carry_out(
        ("rewrite", policy, b"/v1/chat/completions", "inner"), b""
    )
    assert (kind, name, changed) == ("done", "inner", True)
    assert json.loads(rewritten)["max_tokens"] == 10
    kind, problem, _ = reader.carry_out(("read", []), b"{")
    assert (kind, problem.status) == ("refused", 400)

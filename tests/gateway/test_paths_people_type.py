"""Paths and model names as people and programs type them: they lead where they are meant to lead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.gateway import front, model, settings
from fakes.wire import Served, always, ok
from hotseat.core.spec import RouteSpec

pytestmark = pytest.mark.anyio

NAMES = ("Qwen/Qwen2.5-7B", "llama:8b", "hf.co/org/Llama-3:Q4_K_M")


def named(*names: str, aliases: tuple[str, ...] = ()) -> Any:
    """Models of these names; the aliases are the first one's."""
    return settings(
        *(model(name, served_names=(f"own {name}",)) for name in names),
        routes=(RouteSpec(name=names[0], model=names[0], path=f"/{names[0]}", aliases=aliases),),
        default_route=names[0],
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/embeddings", "/v1/embeddings"),
        ("/responses", "/v1/responses"),
        ("/messages", "/v1/messages"),
        ("/audio/transcriptions", "/v1/audio/transcriptions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v2/rerank", "/v2/rerank"),
        ("/rerank", "/rerank"),
        ("/chat/chat/completions", "/v1/chat/completions"),
        ("/chat/messages", "/v1/messages"),
        ("/chat/v1/v1/messages", "/v1/messages"),
        ("/chat/v2/rerank", "/v2/rerank"),
    ],
)
async def test_a_base_url_without_v1_or_with_two_of_them_works(typed: str, meant: str) -> None:
    config = settings(default_route="chat")
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        answer = await gate.ask(typed, b'{"model":"chat"}')
        assert (answer.status, server.requests[0].first) == (200, f"POST {meant} HTTP/1.1".encode())


@pytest.mark.parametrize("path", ["/models", "/models/", "/v1/models", "/v1/v1/models"])
async def test_the_list_of_models_is_found_without_v1(path: str) -> None:
    async with front() as gate:
        listed = json.loads((await gate.ask(path)).body)
        assert [one["id"] for one in listed["data"]] == ["chat", "coder"]
        assert gate.seats.tickets == []


@pytest.mark.parametrize("prefix", ["/v1/models/", "/models/"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quote", [str, lambda name: name.replace("/", "%2F").replace(":", "%3A")])
async def test_one_model_is_found_by_a_name_with_slashes(prefix: str, name: str, quote: Any) -> None:
    async with front(named(*NAMES)) as gate:
        answer = await gate.ask(prefix + quote(name))
        assert (answer.status, json.loads(answer.body)["id"]) == (200, name)


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_with_slashes_or_colons_works_in_the_body_and_as_a_prefix(name: str) -> None:
    async with Served(always(ok(b"{}"))) as server, front(named(*NAMES), ready={name: server.port}) as gate:
        body = json.dumps({"model": name}).encode()
        for path in ("/v1/chat/completions", f"/{name}/v1/chat/completions", f"/{name}/chat/completions"):
            assert (await gate.ask(path, body)).status == 200
        assert {one.first for one in server.requests} == {b"POST /v1/chat/completions HTTP/1.1"}
        assert {json.loads(one.body)["model"] for one in server.requests} == {f"own {name}"}


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("claude-opus-4-1", "chat"),
        ("claude-3-5-haiku-latest", "small"),
        ("claude-haiku", "other"),
        ("gpt-4o", "other"),
        ("CLAUDE-opus", None),
        ("my-claude-opus", None),
        ("claude_opus", None),
    ],
)
async def test_an_alias_may_be_a_pattern_and_the_most_specific_one_wins(
    asked: str, leads_to: str | None
) -> None:
    config = settings(
        model("chat"),
        model("small"),
        model("other"),
        routes=(
            RouteSpec(name="chat", model="chat", path="/chat", aliases=("claude-*",)),
            RouteSpec(name="small", model="small", path="/small", aliases=("claude-*haiku*",)),
            RouteSpec(name="other", model="other", path="/other", aliases=("claude-haiku", "gpt-*")),
        ),
    )
    async with front(config) as gate:
        for name in ("chat", "small", "other"):
            gate.seats.ready(name, 1)
        answer = await gate.ask("/v1/chat/completions", json.dumps({"model": asked}).encode())
        used = gate.seats.tickets[0].model if gate.seats.tickets else None
        assert used == leads_to
        assert (answer.status == 404) is (leads_to is None)
        assert (await gate.ask(f"/v1/models/{asked}")).status == (404 if leads_to is None else 200)


async def test_the_list_tells_aliases_context_length_and_capabilities_where_known() -> None:
    config = settings(
        model("chat", context=32768, capabilities=("chat", "completions", "tools")),
        model("coder"),
        routes=(RouteSpec(name="chat", model="chat", path="/chat", aliases=("gpt-4o", "claude-*")),),
    )
    async with front(config) as gate:
        listed = {one["id"]: one for one in json.loads((await gate.ask("/v1/models")).body)["data"]}
    assert set(listed) == {"chat", "gpt-4o", "coder"}  # a pattern is no name
    for one in (listed["chat"], listed["gpt-4o"]):
        assert one["root"] == "chat"
        assert one["aliases"] == ["gpt-4o", "claude-*"]
        assert one["max_model_len"] == one["context_length"] == 32768
        assert one["capabilities"] == ["chat", "completions", "tools"]
    assert not {"aliases", "max_model_len", "context_length", "capabilities"} & listed["coder"].keys()


@pytest.mark.parametrize("path", ["/", "/api/hello"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_program_that_looks_whether_somebody_is_there_reaches_hotseat_itself(
    path: str, method: str
) -> None:
    async with front() as gate:
        answer = await gate.ask(path, method=method)
        assert (answer.status, answer.get("x-role")) == (200, "ADMIN")
        assert gate.seats.tickets == []


@pytest.mark.parametrize(
    ("typed", "logged"),
    [
        ("/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/api/chat", "/api/chat"),
        ("/chat/nonsense", "/chat/nonsense"),
        ("/v1beta/models/gemini-pro:generateContent", "/v1beta/models/***"),
        ("/sk-abcdefghijklmnopqrstuvwxyz/v1/models", "/***/v1/models"),
        ("/a%20b/../x", "/***/***/x"),
        ("/" + "a" * 500, "/***"),
        ("/eyJhbGciOiJIUzI1NiJ9.e30.abc/x?api_key=hidden", "/***/x"),
    ],
)
async def test_the_access_log_names_the_path_of_a_404_without_what_could_be_a_secret(
    typed: str, logged: str
) -> None:
    async with front() as gate:
        assert (await gate.ask(typed, b"{}")).status == 404
        assert gate.records[0].path == logged


def test_a_pattern_is_no_regular_expression() -> None:
    from hotseat.gateway.policy.rate_limit import MemoryLimiter
    from hotseat.gateway.routing import RoutingTable

    table = RoutingTable(named("a", aliases=("x.(y)*",)), MemoryLimiter(lambda: 0.0))
    assert table.find("x.(y)z") is not None
    assert table.find("xa(y)z") is None

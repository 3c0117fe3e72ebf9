"""Access and policies on sockets: every API style, rate limits, CORS, the access log, held requests."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import LAST_CHUNK, SSE_HEAD, Message, Served, always, chunk, ok, once
from hotseat import logs
from hotseat.core.access_spec import AuthSpec, KeySpec, LimitSpec, PolicySpec, PromptSpec
from hotseat.core.spec import RouteSpec, Settings

pytestmark = pytest.mark.anyio

SITE, WWW = "https://theschoonover.net", "https://www.theschoonover.net"
SECRET = "sk-front-door-0123456789"
KEY = ("Authorization", f"Bearer {SECRET}")
GUARD = PolicySpec(
    defaults={"temperature": 0.5},
    clamp={"max_tokens": 64, "n": 1},
    drop=("logit_bias",),
    prompt=PromptSpec(text="Be kind."),
)
ANSWER = b'{"ok":1,"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'


def auth(**more: Any) -> AuthSpec:
    key = KeySpec(name="alice", digest=hashlib.sha256(SECRET.encode()).digest(), **more)
    return AuthSpec(keys=(key,))


def site(policy: PolicySpec, **more: Any) -> Settings:
    """A guarded public route and the owner's own to one model."""
    routes = (RouteSpec(name="site", model="chat", path="/site", policy=policy),)
    return settings(model("chat", served_names=("inner",)), model("coder"), routes=routes, **more)


@asynccontextmanager
async def served(
    config: Settings, answer: bytes = ANSWER, **terms: Any
) -> AsyncIterator[tuple[Front, Served]]:
    async with (
        Served(always(ok(answer))) as server,
        front(config, ready={"chat": server.port, "coder": server.port}, **terms) as gate,
    ):
        yield gate, server


STYLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": "Obey me."}, {"role": "user", "content": "Hi"}], "n": 9},
        {
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
            "n": 1,
            "temperature": 0.5,
            "max_tokens": 64,
        },
    ),
    (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Obey me."}]},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            ],
            "max_completion_tokens": 10_000,
            "logit_bias": {"5": 1},
        },
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            ],
            "max_completion_tokens": 64,
            "temperature": 0.5,
        },
    ),
    (
        "/v1/completions",
        {"prompt": ["One", "Two"], "max_tokens": 3},
        {"prompt": ["Be kind.\n\nOne", "Be kind.\n\nTwo"], "max_tokens": 3, "temperature": 0.5},
    ),
    (
        "/v1/responses",
        {"instructions": "Obey me.", "input": [{"role": "developer", "content": "x"}, {"role": "user"}]},
        {
            "instructions": "Be kind.",
            "input": [{"role": "user"}],
            "temperature": 0.5,
            "max_output_tokens": 64,
        },
    ),
    (
        "/v1/messages",
        {"system": [{"type": "text", "text": "Obey me."}], "max_tokens": 4096, "messages": []},
        {"system": "Be kind.", "max_tokens": 64, "messages": [], "temperature": 0.5},
    ),
]


@pytest.mark.parametrize(("path", "asked", "sent"), STYLES)
@pytest.mark.parametrize("prefixed", [True, False])
async def test_policies_on_every_style(path: str, asked: Any, sent: Any, prefixed: bool) -> None:
    async with served(site(GUARD)) as (gate, server):
        body = json.dumps({"model": "site", **asked}).encode()
        answer = await gate.ask(f"/site{path}" if prefixed else path, body)
        assert answer.status == 200
        assert json.loads(server.requests[0].body) == {"model": "inner", **sent}
        own = json.dumps({"model": "inner", **asked}).encode()
        await gate.ask(f"/chat{path}", own)
        assert server.requests[1].body == own  # the owner's route leaves it as it came


@pytest.mark.parametrize("path", ["/infill", "/v1/audio/speech", "/v1/responses/abc", "/v1/unheard-of"])
async def test_paths_where_a_prompt_could_be_passed_by_are_not_served(path: str) -> None:
    async with served(site(GUARD)) as (gate, server):
        for body in (b'{"model":"site","input":"x"}', None):
            assert (await gate.ask(f"/site{path}", body)).status == 404
        assert (await gate.ask("/site/v1/embeddings", b'{"input":"x"}')).status == 200
        assert len(server.requests) == 1


def form(**fields: str) -> bytes:
    parts = "".join(
        f'--B\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return f"{parts}--B--\r\n".encode()


async def test_forms_get_past_no_rule() -> None:
    headers = [("content-type", "multipart/form-data; boundary=B")]
    config = site(PolicySpec(clamp={"temperature": 1.0}, drop=("prompt",)))
    async with served(config) as (gate, server):
        for path, fields, status in [
            ("/site/v1/audio/transcriptions", {"language": "de"}, 200),
            ("/site/v1/audio/transcriptions", {"temperature": "2"}, 400),
            ("/site/v1/audio/transcriptions", {"Prompt": "x"}, 400),
            ("/v1/audio/transcriptions", {"model": "site", "temperature": "2"}, 400),
            ("/chat/v1/audio/transcriptions", {"temperature": "2"}, 200),
            ("/site/v1/chat/completions", {"model": "site"}, 400),
        ]:
            answer = await gate.ask(path, form(**fields), headers=headers)
            assert (path, fields, answer.status) == (path, fields, status)
        assert len(server.requests) == 2


async def test_the_environments_model_name_is_sent_whatever_was_asked() -> None:
    async with served(site(PolicySpec(model_name="Org/Other"))) as (gate, server):
        for body in (b'{"model":"site"}', b'{"model":"inner"}', b"{}"):
            await gate.ask("/site/v1/embeddings", body)
            assert json.loads(server.requests[-1].body)["model"] == "Org/Other"


# limits


async def test_a_limit_holds_on_all_paths_together() -> None:
    limit = LimitSpec(amount=3, per_s=3600.0, scope="model chat")
    policy = PolicySpec(limits=(limit,), cors=(SITE,))
    config = settings(model("chat"), model("coder"), routes=(
        RouteSpec(name="chat", model="chat", path="/chat", policy=policy),
        RouteSpec(name="site", model="chat", path="/site", policy=policy),
    ), auth=auth())  # fmt: skip
    async with served(config) as (gate, server):
        origin = ("Origin", SITE)
        paths = ["/chat/v1/chat/completions", "/site/v1/messages/count_tokens", "/v1/responses", "/tokenize"]
        answers = [await gate.ask(p, b'{"model":"chat"}', headers=[KEY, origin]) for p in paths]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert [a.get("x-ratelimit-remaining-requests") for a in answers] == ["2", "1", "0", "0"]
        refused = answers[-1]
        assert json.loads(refused.body)["error"]["code"] == "rate_limit_exceeded"
        assert refused.get("retry-after") == "60"
        assert refused.get("x-should-retry") == "false"
        assert refused.get("access-control-allow-origin") == SITE
        anthropic = await gate.ask("/v1/messages", b'{"model":"chat"}', headers=[KEY])
        assert json.loads(anthropic.body)["error"]["type"] == "rate_limit_error"
        assert (await gate.ask("/coder/v1/embeddings", b"{}", headers=[KEY])).status == 200
        assert (await gate.ask("/v1/models", headers=[KEY])).status == 200
        assert len(server.requests) == 4


async def test_a_keys_limit_goes_with_the_key_over_all_models() -> None:
    limited = auth(limits=(LimitSpec(amount=2, per_s=3600.0, scope="key alice"),))
    async with served(settings(auth=limited)) as (gate, _):
        paths = ["/chat/v1/x", "/coder/v1/x", "/v1/x"]
        statuses = [(await gate.ask(p, b'{"model":"chat"}', headers=[KEY])).status for p in paths]
        assert statuses == [200, 200, 429]


async def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    policy = PolicySpec(limits=(LimitSpec(amount=1, per_s=3600.0, per="client", scope="route site"),))
    trusting = AuthSpec(trusted_proxies=("127.0.0.1",))
    for known, expected in ((trusting, [200, 200, 429, 429]), (AuthSpec(), [200, 429, 429, 429])):
        async with served(site(policy, auth=known)) as (gate, _):
            seen = []
            for forwarded in ("1.1.1.1", "2.2.2.2", "9.9.9.9, 2.2.2.2", "1.1.1.1"):
                headers = [("X-Forwarded-For", forwarded)]
                seen.append((await gate.ask("/site/v1/embeddings", b"{}", headers=headers)).status)
            assert seen == expected


async def test_requests_at_once_until_the_last_byte() -> None:
    policy = PolicySpec(limits=(LimitSpec(amount=1, per_s=0, what="concurrent", per="total"),))

    async def script(served: Served, reader: Any, writer: Any) -> None:
        while True:
            await served.take(reader)
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
            await served.release.wait()
            writer.write(LAST_CHUNK)

    async with (
        Served(script) as server,
        front(site(policy), ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/site/v1/completions", b'{"stream":true,"prompt":""}')
        await wire.until(b"data: 1\n\n")
        assert (await gate.ask("/site/v1/embeddings", b"{}")).status == 429
        server.release.set()
        await wire.until(b"0\r\n\r\n")
        await gate.ticket_closed()
        assert (await gate.ask("/site/v1/embeddings", b"{}")).status == 200


@pytest.mark.parametrize(
    ("answer", "content_type", "spent"),
    [
        (ANSWER, b"application/json", 12),
        (
            b'data: {"usage":{"prompt_tokens":4,"completion_tokens":9}}\n\ndata: [DONE]\n\n',
            b"text/event-stream",
            13,
        ),
        (b"data: {}\n\n" * 30 + b"data: [DONE]\n\n", b"text/event-stream", 31 + 4),
    ],
)
async def test_tokens_count_as_the_server_tells_or_by_events(
    answer: bytes, content_type: bytes, spent: int
) -> None:
    limit = LimitSpec(amount=100, per_s=3600.0, what="tokens", per="total", scope="route site")
    config = site(PolicySpec(limits=(limit,)))
    async with (
        Served(always(ok(answer, content_type))) as server,
        front(config, ready={"chat": server.port}) as gate,
    ):
        assert (await gate.ask("/site/v1/completions", b'{"prompt":"1234"}')).status == 200
        next_one = await gate.ask("/site/v1/completions", b"{}")
        assert next_one.get("x-ratelimit-remaining-tokens") == str(100 - spent)


async def test_a_client_that_hangs_up_pays_for_what_it_got() -> None:
    limit = LimitSpec(amount=20, per_s=3600.0, what="tokens", per="total", scope="route site")

    async def script(served: Served, reader: Any, writer: Any) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: {}\n\n" * 25))
        await served.release.wait()

    config = site(PolicySpec(limits=(limit,)))
    async with Served(script) as server, front(config, ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/site/v1/completions", b'{"stream":true}')
            for _ in range(25):
                await wire.until(b"data: {}\n\n")
        await gate.ticket_closed()
        assert (await gate.ask("/site/v1/completions", b"{}")).status == 429


# CORS

PREFLIGHT = [
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "authorization,x-a"),
]
PUBLIC = site(PolicySpec(cors=(SITE, WWW)), auth=auth())


def cors_of(answer: Message) -> dict[str, str]:
    return {n: answer.get(n) or "" for n in answer.names if n.startswith("access-control-")}


@pytest.mark.parametrize("path", ["/site/v1/chat/completions", "/v1/chat/completions", "/v1/models"])
async def test_a_preflight_is_answered_without_a_key_and_wakes_nobody(path: str) -> None:
    async with front(PUBLIC) as gate:
        answer = await gate.ask(path, method="OPTIONS", headers=[("Origin", SITE), *PREFLIGHT])
        assert answer.status == 204
        told = cors_of(answer)
        assert told["access-control-allow-origin"] == SITE
        assert "POST" in told["access-control-allow-methods"]
        assert told["access-control-allow-headers"] == "authorization,x-a"
        assert b"Origin" in b"".join(value for name, value in answer.fields if name == b"vary")
        for other in (
            "https://evil.org",
            "null",
            SITE.upper(),
            f"{SITE}.evil.org",
            "http://theschoonover.net",
        ):
            refused = await gate.ask(path, method="OPTIONS", headers=[("Origin", other), *PREFLIGHT])
            assert (refused.status, cors_of(refused)) == (401, {})
        assert gate.seats.tickets == []


async def test_answers_and_errors_can_be_read_by_pages_of_the_list_alone() -> None:
    async with served(PUBLIC) as (gate, _):
        cases = [
            ("/site/v1/embeddings", b"{}", [KEY], 200),
            ("/v1/embeddings", b'{"model":"site"}', [KEY], 200),
            ("/site/v1/embeddings", b"{}", [], 401),
            ("/site/v1/embeddings", b"{", [KEY], 400),
            ("/v1/embeddings", b'{"model":"nope"}', [KEY], 404),
            ("/v1/embeddings", b"{}", [], 401),
            ("/v1/models", None, [KEY], 200),
        ]
        for path, body, headers, status in cases:
            for origin, allowed in ((SITE, True), (WWW, True), ("https://evil.org", False), (None, False)):
                sent = [*headers, *([("Origin", origin)] if origin else [])]
                answer = await gate.ask(path, body, headers=sent)
                assert answer.status == status
                assert cors_of(answer).get("access-control-allow-origin") == (origin if allowed else None)
                assert answer.get("vary") == "Origin"
        # a route without a list has no such header, whoever asks
        for path, body in (("/chat/v1/embeddings", b"{}"), ("/v1/embeddings", b'{"model":"coder"}')):
            answer = await gate.ask(path, body, headers=[KEY, ("Origin", SITE)])
            assert (answer.status, cors_of(answer), answer.get("vary")) == (200, {}, None)


async def test_streams_carry_the_header_too_and_servers_own_words_do_not_pass() -> None:
    answer = SSE_HEAD.replace(b"\r\n\r\n", b"\r\naccess-control-allow-origin: *\r\n\r\n") + chunk(
        b"data: 1\n\n"
    )
    async with (
        Served(once(answer + LAST_CHUNK)) as server,
        front(PUBLIC, ready={"chat": server.port}) as gate,
    ):
        headers = [KEY, ("Origin", WWW)]
        got = await gate.ask("/site/v1/completions", b'{"stream":true}', headers=headers)
        assert (got.get("access-control-allow-origin"), got.body) == (WWW, b"data: 1\n\n")


async def test_without_keys_pages_of_the_list_may_ask_beside_local_ones() -> None:
    config = site(PolicySpec(cors=(SITE,)))
    async with served(config, local_only=True) as (gate, _):
        for path, body, origin, status in [
            ("/site/v1/embeddings", b"{}", SITE, 200),
            ("/v1/embeddings", b'{"model":"site"}', SITE, 200),
            ("/v1/embeddings", b'{"model":"coder"}', SITE, 403),
            ("/coder/v1/embeddings", b"{}", SITE, 403),
            ("/site/v1/embeddings", b"{}", "https://evil.org", 403),
            ("/site/v1/embeddings", b"{}", "http://localhost:3000", 200),
            ("/stats", None, SITE, 403),
        ]:
            answer = await gate.ask(path, body, headers=[("Origin", origin)])
            assert (path, origin, answer.status) == (path, origin, status)


# Ids and the access log


async def test_ids_are_accepted_returned_and_sent_on() -> None:
    async with served(settings(), answer=b"{}") as (gate, server):
        trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        kept = await gate.ask("/chat/v1/x", b"{}", headers=[("X-Request-ID", "abc-1"), trace])
        made = await gate.ask("/chat/v1/x", b"{}", headers=[("X-Request-ID", "a b")])
        missing = await gate.ask("/nope", headers=[("X-Request-ID", "abc-2")])
        ours = await gate.ask("/stats", headers=[("X-Request-ID", "abc-3")])
        assert kept.get("x-request-id") == "abc-1"
        # vLLM names its work by the id: two clients that send the same one must not meet there.
        assert (server.requests[0].get("x-request-id") or "").startswith("req-")
        assert gate.records[0].server_id == server.requests[0].get("x-request-id")
        assert server.requests[0].get("traceparent") == trace[1]
        assert made.get("x-request-id") == server.requests[1].get("x-request-id")
        assert (made.get("x-request-id") or "").startswith("req-")
        assert (missing.get("x-request-id"), ours.get("x-request-id")) == ("abc-2", "abc-3")


class Log:
    def __init__(self) -> None:
        self.text = b""

    def write(self, lines: bytes) -> None:
        self.text += lines

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


async def test_the_access_log_tells_names_and_numbers_and_nothing_said() -> None:
    log = Log()
    words = "an-unusual-word-that-was-asked"
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": words}]}).encode()
    async with served(settings(auth=auth()), write_log=log.write) as (gate, _):
        secret_query = "/chat/v1/chat/completions?api_key=sk-query-secret"
        cookie = ("Cookie", "session=cookie-secret")
        await gate.ask(secret_query, body, headers=[KEY, cookie, ("X-Request-ID", "one")])
        await gate.ask("/v1/messages", body, headers=[("x-api-key", "sk-wrong-one"), ("X-Request-ID", "two")])
        await gate.ask("/healthz", headers=[("X-Request-ID", "three")])
        await gate.ask("/sk-path-secret", headers=[KEY, ("X-Request-ID", "four")])
        gate.gateway.services.access_log.flush()
    by_id = {line["id"]: line for line in log.lines()}
    one = by_id["one"]
    assert (one["key"], one["route"], one["model"], one["status"]) == ("alice", "chat", "chat", 200)
    assert (one["method"], one["path"]) == ("POST", "/v1/chat/completions")
    assert (one["tokens_in"], one["tokens_out"]) == (5, 7)
    assert (one["bytes_in"], one["bytes_out"]) == (len(body), len(ANSWER))
    assert 0 <= one["waited_s"] <= one["first_byte_s"] <= one["duration_s"]
    two = by_id["two"]
    assert (two["status"], two["code"], two.get("key"), two.get("model")) == (
        401,
        "invalid_api_key",
        None,
        None,
    )
    assert (by_id["three"]["path"], by_id["three"]["status"]) == ("/healthz", 200)
    assert (by_id["four"]["status"], by_id["four"].get("path")) == (404, "/***")
    for secret in (SECRET, "sk-query-secret", "cookie-secret", "sk-wrong-one", "sk-path-secret", words):
        assert secret.encode() not in log.text


async def test_a_secret_in_an_id_or_a_path_is_hidden() -> None:
    log = Log()
    logs.hide(SECRET)
    try:
        async with served(settings(auth=auth()), write_log=log.write) as (gate, server):
            told = await gate.ask(f"/chat/v1/responses/{SECRET}", headers=[KEY, ("X-Request-ID", SECRET)])
            gate.gateway.services.access_log.flush()
    finally:
        logs.forget()
    [line] = log.lines()
    assert line["path"] == "/v1/responses/***"
    assert line["id"].startswith("req-")
    assert told.get("x-request-id") == server.requests[0].get("x-request-id") == line["id"]


async def test_clients_that_go_and_servers_that_fail_are_in_the_access_log() -> None:
    log = Log()
    async with Served(once(SSE_HEAD + chunk(b"data: 1\n\n"))) as server:
        config = site(PolicySpec(access_log=False))
        async with front(config, ready={"chat": server.port}, write_log=log.write) as gate:
            gate.seats.waiting_models.add("coder")
            async with await gate.open() as wire:
                await wire.ask("/coder/v1/completions", b'{"stream":false}')
                await gate.seats.asked.wait()
            await gate.ticket_closed()
            await gate.ask("/chat/v1/completions", b'{"stream":true}')
            await gate.ask("/site/v1/completions", b'{"stream":true}')
            gate.gateway.services.access_log.flush()
    gone, cut = log.lines()
    assert (gone["status"], gone["failed"], gone["model"]) == (499, "gone", "coder")
    assert (cut["status"], cut["failed"], cut["stream"]) == (200, "upstream", True)


async def test_where_no_access_log_is_wanted_strays_are_not_in_it_either() -> None:
    log = Log()
    for wanted in (True, False):
        config = site(PolicySpec(access_log=False))
        config = replace(config, serve=replace(config.serve, access_log=wanted))
        async with front(config, write_log=log.write) as gate:
            assert (await gate.ask("/nowhere/v1/completions", b"{}")).status == 404
            gate.gateway.services.access_log.flush()
        assert len(log.lines()) == 1


# held requests


async def test_a_request_that_cannot_stream_is_held_so_long_and_no_longer() -> None:
    config = site(PolicySpec(max_hold_s=0.05))
    async with front(config) as gate:
        gate.seats.waiting_models.add("chat")
        held = await gate.ask("/site/v1/completions", b"{}")
        assert held.status == 503
        assert held.get("retry-after") == "30"
        told = json.loads(held.body)
        assert (told["error"]["code"], told["loading"]["phase"]) == ("model_loading", "loading weights")
        await gate.ticket_closed()
        assert gate.seats.open == 0


async def test_a_slow_answer_is_held_so_long_too_and_the_server_sees_the_end() -> None:
    async def silent(served: Served, reader: asyncio.StreamReader, writer: Any) -> None:
        await served.take(reader)
        await reader.read()

    config = site(PolicySpec(max_hold_s=0.05))
    async with Served(silent) as server, front(config, ready={"chat": server.port}) as gate:
        held = await gate.ask("/site/v1/completions", b"{}")
        assert (held.status, json.loads(held.body)["error"]["code"]) == (503, "held_too_long")
        assert held.get("x-should-retry") == "false"
        await server.until(lambda served: served.closed == 1)


async def test_an_answer_that_has_begun_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[asyncio.Timeout] = []
    real = asyncio.timeout

    def timeout(delay: float | None) -> asyncio.Timeout:
        made = real(delay)
        if delay == 1234.5:
            timeouts.append(made)
        return made

    async def slow(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")
        await served.release.wait()
        writer.write(b"}")

    monkeypatch.setattr(asyncio, "timeout", timeout)
    config = site(PolicySpec(max_hold_s=1234.5))
    async with (
        Served(slow) as server,
        front(config, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/site/v1/completions", b"{}")
        await wire.until(b"{")
        [held] = timeouts
        assert held.when() is None
        server.release.set()
        await wire.until(b"}")


async def test_streams_are_told_and_not_held_to_it() -> None:
    config = site(PolicySpec(max_hold_s=0.01), hold_headers_s=0.0)
    async with (
        Served(once(SSE_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK)) as server,
        front(config, comment_every_s=0.02) as gate,
    ):
        gate.seats.waiting_models.add("chat")
        async with await gate.open() as wire:
            await wire.ask("/site/v1/completions", b'{"stream":true}')
            for _ in range(3):
                await wire.until(b"loading weights")
            gate.seats.ready("chat", server.port)
            gate.seats.tickets[0].grant()
            await wire.until(b"data: 1\n\n")


async def test_a_page_that_may_ask_can_read_that_a_path_does_not_exist() -> None:
    async with front(PUBLIC) as gate:
        for path in ("/site/v2/chat", "/nope", "/v1/../stats"):
            sent = [("Origin", SITE), *PREFLIGHT]
            assert (await gate.ask(path, method="OPTIONS", headers=sent)).status == 204
            refused = await gate.ask(path, b"{}", headers=[("Origin", SITE), KEY])
            told = cors_of(refused)["access-control-allow-origin"]
            assert (refused.status, told) == (404, SITE)
            stranger = await gate.ask(
                path, method="OPTIONS", headers=[("Origin", "https://evil.org"), *PREFLIGHT]
            )
            assert (stranger.status, cors_of(stranger)) == (401, {})
        assert gate.seats.tickets == []


async def test_errors_have_anthropics_shape_before_the_route_is_known_too() -> None:
    twice = [("Content-Type", "a"), ("Content-Type", "b")]
    async with front(PUBLIC) as gate:
        for path, headers, kind in [
            ("/nobody/v1/messages", [], "authentication_error"),
            ("/nobody/v1/messages", [KEY], "not_found_error"),
            ("/site/v1/messages/count_tokens", twice, "invalid_request_error"),
        ]:
            told = json.loads((await gate.ask(path, b"{}", headers=headers)).body)
            assert (told["type"], told["error"]["type"]) == ("error", kind)

"""What the gateway answers itself: lists of models, refusals, and the way to the admin pages."""

from __future__ import annotations

import json

import pytest

from fakes.gateway import front, model, settings
from fakes.wire import Served, always, ok
from hotseat.core.spec import RouteSpec
from hotseat.core.states import State
from hotseat.gateway.access.loopback import is_local_authority, is_local_origin

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat"}'
ALIASED = settings(
    model("chat"),
    model("coder"),
    routes=(RouteSpec(name="chat", model="chat", path="/chat", aliases=("gpt-4o", "org/Name-7B")),),
)


async def test_the_list_tells_all_models_and_starts_none() -> None:
    async with front(ALIASED) as gate:
        gate.seats.states["coder"] = State.BACKOFF
        listed = json.loads((await gate.ask("/v1/models")).body)
        assert listed["object"] == "list"
        assert {m["id"]: m["status"]["value"] for m in listed["data"]} == {
            "chat": "unloaded",
            "gpt-4o": "unloaded",
            "org/Name-7B": "unloaded",
            "coder": "failed",
        }
        assert gate.seats.tickets == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/chat", "chat"),
        ("/v1/models/gpt-4o", "gpt-4o"),
        ("/v1/models/org/Name-7B", "org/Name-7B"),
        ("/v1/models/org%2FName-7B", "org/Name-7B"),
    ],
)
async def test_one_model_by_any_of_its_names(path: str, name: str) -> None:
    async with front(ALIASED) as gate:
        answer = await gate.ask(path)
        assert json.loads(answer.body)["id"] == name
        assert (await gate.ask(path, method="HEAD")).get("content-length") == answer.get("content-length")


@pytest.mark.parametrize("state", list(State))
async def test_every_state_has_a_word(state: State) -> None:
    async with front() as gate:
        gate.seats.states["chat"] = state
        word = json.loads((await gate.ask("/v1/models/chat")).body)["status"]["value"]
        assert word in ("unloaded", "loading", "loaded", "sleeping", "failed")


async def test_unknown_models_and_methods_in_the_list() -> None:
    async with front() as gate:
        assert (await gate.ask("/v1/models/nope")).status == 404
        assert (await gate.ask("/v1/models/..%2f..%2fsleep")).status == 404
        posted = await gate.ask("/v1/models", b"{}")
        assert (posted.status, posted.get("allow") is not None) == (405, True)


async def test_a_prefix_asks_the_model_itself() -> None:
    async with Served(always(ok(b'{"own":1}'))) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/models")).body == b'{"own":1}'
        assert server.requests[0].first == b"GET /v1/models HTTP/1.1"


@pytest.mark.parametrize("path", ["/healthz", "/admin/start", "/stats", "/metrics", "/openapi.json"])
async def test_our_own_pages_are_passed_on(path: str) -> None:
    async with front() as gate, await gate.open() as wire:
        for _ in range(2):
            await wire.ask(path + "?a=%20b", b'{"route":"chat"}')
            answer = await wire.answer()
            assert answer.body == f'POST {path}?a=%20b {{"route":"chat"}}'.encode()
        assert gate.seats.tickets == []


@pytest.mark.parametrize("path", ["/uis", "/sleep", "/chat", "/chat/", "/chat/sleep", "/nope/v1/models"])
async def test_everything_else_is_not_found(path: str) -> None:
    async with front(ready={"chat": 1}) as gate:
        answer = await gate.ask(path, PLAIN)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (404, "not_found")
        assert gate.seats.tickets == []


async def test_other_methods_are_refused_and_options_wakes_nobody() -> None:
    async with front(ready={"chat": 1}) as gate:
        assert (await gate.ask("/chat/v1/x", method="PROPFIND")).status == 405
        options = await gate.ask("/chat/v1/chat/completions", method="OPTIONS")
        assert (options.status, "POST" in (options.get("allow") or "")) == (204, True)
        assert gate.seats.tickets == []


async def test_errors_on_anthropic_paths_have_their_shape() -> None:
    async with front() as gate:
        for path in ("/v1/messages", "/v1/messages/count_tokens", "/chat/v1/messages"):
            answer = await gate.ask(path, b"{broken")
            whole = json.loads(answer.body)
            assert (answer.status, whole["type"]) == (400, "error")
            assert whole["error"]["type"] == "invalid_request_error"


# Names


async def test_bare_paths_go_where_the_body_says() -> None:
    async with (
        Served(always(ok(b'"chat"'))) as chat,
        Served(always(ok(b'"coder"'))) as coder,
        front(ALIASED, ready={"chat": chat.port, "coder": coder.port}) as gate,
    ):
        for name, told in (("chat", "chat"), ("gpt-4o", "chat"), ("coder", "coder")):
            body = json.dumps({"model": name}).encode()
            assert json.loads((await gate.ask("/v1/completions", body)).body) == told
        unknown = await gate.ask("/v1/completions", b'{"model":"nope"}')
        assert unknown.status == 404
        error = json.loads(unknown.body)["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert (await gate.ask("/v1/completions", b"{}")).status == 404
        assert (await gate.ask("/v1/responses/resp_1")).status == 404


@pytest.mark.parametrize("strict", [False, True])
async def test_the_default_takes_what_names_no_known_model(strict: bool) -> None:
    config = settings(default_route="chat", strict_models=strict)
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        assert (await gate.ask("/v1/completions", b'{"model":"nope"}')).status == (404 if strict else 200)
        assert (await gate.ask("/v1/completions", b'{"x":1}')).status == 200
        assert (await gate.ask("/v1/responses/resp_1")).status == 200
        assert (await gate.ask("/tokenize", b'{"x":1}')).status == 200


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b'{"model" : "chat", "a": 1.0}', b'{"model":"Org/Served","a":1.0}'),
        (b'{"model":"Org/Served" , "a":1}', b'{"model":"Org/Served" , "a":1}'),
        (b'{"model":"second"  }', b'{"model":"second"  }'),
        (b'{"model":"my-lora"  }', b'{"model":"my-lora"  }'),
        (b'{"a" : [ 1e5 ]}', b'{"a" : [ 1e5 ]}'),
        (b'{"model":"my-lora","model":"chat"}', b'{"model":"Org/Served"}'),
        (
            b'{"mod\\u0065l":"chat","n":12345678901234567890}',
            b'{"model":"Org/Served","n":12345678901234567890}',
        ),
    ],
)
async def test_the_name_is_put_right_where_the_server_does_not_know_it(sent: bytes, arrives: bytes) -> None:
    config = settings(model("chat", served_names=("Org/Served", "second"), lora_names=("my-lora",)))
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        await gate.ask("/chat/v1/completions", sent)
        assert server.requests[0].body == arrives


async def test_names_that_servers_know_lead_to_them() -> None:
    config = settings(
        model("chat", served_names=("both", "Org/Served"), lora_names=("my-lora",)),
        model("coder", served_names=("both",)),
    )
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        for name in ("my-lora", "Org/Served"):
            assert (await gate.ask("/v1/completions", json.dumps({"model": name}).encode())).status == 200
        assert (await gate.ask("/v1/completions", b'{"model":"both"}')).status == 404


async def test_allowed_paths_of_one_model() -> None:
    config = settings(model("chat", allow_paths=("/v2/embed", "/extra/**")), model("coder"))
    async with (
        Served(always(ok(b"{}"))) as server,
        front(config, ready={"chat": server.port, "coder": server.port}) as gate,
    ):
        for path in ("/chat/v2/embed", "/chat/extra/a/b", "/v2/embed", "/extra/x"):
            assert (await gate.ask(path, PLAIN)).status == 200, path
        for path in ("/coder/v2/embed", "/chat/extra", "/chat/v2/embed/x", "/chat/v2/embedx"):
            assert (await gate.ask(path, PLAIN)).status == 404, path
        assert (await gate.ask("/v2/embed", b'{"model":"coder"}')).status == 404


async def test_another_configuration_takes_over_at_once() -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/new/v1/x", PLAIN)
        assert (await wire.answer()).status == 404
        gate.gateway.configure(
            settings(model("chat"), routes=(RouteSpec(name="new", model="chat", path="/new"),)),
            local_only=False,
        )
        await wire.ask("/new/v1/x", PLAIN)
        assert (await wire.answer()).status == 200


# Forms


def form(*parts: tuple[str, bytes], boundary: str = "b0und") -> tuple[bytes, tuple[tuple[str, str], ...]]:
    lines = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"
        % (boundary.encode(), field.encode(), value)
        for field, value in parts
    )
    kind = (("Content-Type", f"multipart/form-data; boundary={boundary}"),)
    return lines + f"--{boundary}--\r\n".encode(), kind


AUDIO = ('name="file"; filename="a.wav"', b"RIFF\x00\xff\r\n--b0un\r\nmodel\r\n")


async def test_the_model_of_a_form_is_read_and_put_right() -> None:
    config = settings(model("chat", served_names=("Org/Whisper",)), model("coder"))
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        body, kind = form(('name="model"', b"chat"), AUDIO, ('name="language"', b"de"))
        assert (await gate.ask("/v1/audio/transcriptions", body, headers=kind)).status == 200
        assert server.requests[0].body == body.replace(b"\r\nchat\r\n", b"\r\nOrg/Whisper\r\n")
        body, kind = form(AUDIO, ('name="model"', b"Org/Whisper"))
        assert (await gate.ask("/chat/v1/audio/transcriptions", body, headers=kind)).status == 200
        assert server.requests[1].body == body
        assert server.requests[1].get("content-type") == kind[0][1]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([('name="model"', b"chat"), ('name="model"', b"coder")], "more than one model"),
        ([('name="model"; filename="x"', b"chat")], "plain field"),
        ([('name="model"', b""), ('name="model"', b"chat")], "more than one model"),
        ([('name="model"', b"x" * 2000)], "too long"),
        ([("nothing=1", b"x")], "no name"),
        ([(f'name="x{n}"', b"") for n in range(1001)], "more than 1000"),
    ],
)
async def test_forms_that_are_refused(parts: list[tuple[str, bytes]], words: str) -> None:
    async with front(ready={"chat": 1}) as gate:
        body, kind = form(*parts)
        answer = await gate.ask("/chat/v1/audio/transcriptions", body, headers=kind)
        assert answer.status == 400
        assert words in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-8],
        lambda body: body[:40],
        lambda body: b"junk",
        lambda body: body.replace(b"b0und--", b"other--"),
        lambda body: b'{"model":"chat"}',
    ],
    ids=["no-end", "cut", "junk", "other-boundary", "json"],
)
async def test_broken_forms(change: object) -> None:
    assert callable(change)
    async with front(ready={"chat": 1}) as gate:
        body, kind = form(('name="model"', b"chat"), AUDIO)
        assert (await gate.ask("/chat/v1/audio/x", change(body), headers=kind)).status == 400
        bare = (("Content-Type", "multipart/form-data"),)
        assert (await gate.ask("/chat/v1/audio/x", body, headers=bare)).status == 400


# Without a key: this machine only


@pytest.mark.parametrize(
    "authority",
    [
        b"localhost",
        b"localhost:8000",
        b"LOCALHOST",
        b"127.0.0.1",
        b"127.9.9.9:1",
        b"[::1]:8000",
        b"[::1]",
        b"a.localhost",
    ],
)
async def test_this_machine(authority: bytes) -> None:
    assert is_local_authority(authority)
    assert is_local_origin(b"http://" + authority)
    async with front(local_only=True) as gate:
        assert (await gate.ask("/v1/models", host=authority.decode())).status == 200


@pytest.mark.parametrize(
    "authority",
    [
        b"evil.example",
        b"evil.example:8000",
        b"localhost.evil.example",
        b"localhost@evil.example",
        b"127.0.0.1.evil.example",
        b"192.168.1.2",
        b"0.0.0.0",
        b"[::1",
        b"[::1]x",
        b"[2001:db8::1]",
        b"localhost:80x",
        b"",
        b"2130706433",
    ],
)
async def test_strangers(authority: bytes) -> None:
    assert not is_local_authority(authority)
    assert not is_local_origin(b"http://" + authority)
    async with front(local_only=True) as gate:
        for path in ("/v1/models", "/healthz", "/chat/v1/x"):
            by_host = await gate.ask(path, host=authority.decode())
            assert (by_host.status, json.loads(by_host.body)["error"]["code"]) == (403, "not_local")
            origin = (("Origin", f"http://{authority.decode()}"),)
            assert (await gate.ask(path, headers=origin)).status == 403


async def test_an_opaque_origin_is_a_stranger() -> None:
    async with front(local_only=True) as gate:
        assert (await gate.ask("/v1/models", headers=(("Origin", "null"),))).status == 403
    async with front(local_only=False) as gate:
        assert (
            await gate.ask("/v1/models", headers=(("Origin", "null"),), host="evil.example")
        ).status == 200

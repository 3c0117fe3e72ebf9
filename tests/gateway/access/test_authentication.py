"""Who may ask: every credential against every path, on sockets."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import tracemalloc
from typing import Any

import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import Served, always, ok
from hotseat.core.access_spec import AuthSpec, BasicSpec, KeySpec, PolicySpec
from hotseat.core.spec import RouteSpec, Settings

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
SECRETS = {
    "default": "sk-default-0123456789",
    "admin": "sk-admin-0123456789",
    "chat_only": "sk-chat-0123456789",
    "old": "sk-old-0123456789",
    "page": "pk-page-0123456789",
}
CHAT, CODER = b'{"model":"chat","n":1}', b'{"model":"coder","n":1}'
FORM = (
    b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nchat\r\n'
    b'--B\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nxx\r\n--B--\r\n'
)
FORM_TYPE = ("content-type", "multipart/form-data; boundary=B")


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def key(name: str, **more: Any) -> KeySpec:
    return KeySpec(name=name, digest=digest(SECRETS[name]), **more)


AUTH = AuthSpec(
    keys=(
        key("default"),
        key("admin", routes=frozenset(), admin=True),
        key("chat_only", routes=frozenset({"chat"})),
        key("old", expires_at=NOW),
        key("page", routes=frozenset({"chat"}), origins=("https://example.org",)),
    )
)
GUARDED = settings(model("chat", allow_paths=("/ping",)), model("coder"), auth=AUTH, default_route="chat")


def bearer(name: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {SECRETS[name]}")


class Asker:
    """Asks a gateway in front of one server, and counts what came to it."""

    def __init__(self, gate: Front, server: Served) -> None:
        self.gate, self.server = gate, server

    async def status(self, path: str, body: bytes | None, *headers: tuple[str, str], **more: Any) -> int:
        return (await self.gate.ask(path, body, headers=headers, **more)).status


async def asked(config: Settings, *requests: Any, **terms: Any) -> tuple[list[int], int]:
    """The statuses of requests, and how many of them came to a model's server."""
    async with (
        Served(always(ok(b"{}"))) as server,
        front(
            config, ready={"chat": server.port, "coder": server.port}, wall_clock=lambda: NOW, **terms
        ) as gate,
    ):
        asker = Asker(gate, server)
        statuses = [await asker.status(path, body, *headers) for path, body, *headers in requests]
        return statuses, len(server.requests)


PATHS_TO_MODELS: list[tuple[str, bytes | None]] = [
    ("/chat/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", CHAT),
    ("/v1/responses", CHAT),
    ("/v1/messages", CHAT),
    ("/v1/messages/count_tokens", CHAT),
    ("/chat/v1/messages/count_tokens", CHAT),
    ("/v1/embeddings", CHAT),
    ("/v1/embeddings", b"{}"),
    ("/chat/v1/models", None),
    ("/chat/v1/models/chat", None),
    ("/v1/responses/abc", None),
    ("/tokenize", CHAT),
    ("/chat/tokenize", CHAT),
    ("/chat/ping", None),
    ("/ping", None),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@pytest.mark.parametrize(("path", "body"), PATHS_TO_MODELS)
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer sk-nobody-knows-this"),),
        (("Authorization", "Bearer"),),
        (("Authorization", f"Token {SECRETS['default']}"),),
        (("Authorization", SECRETS["default"]),),
        (("x-api-key", "sk-nobody-knows-this"),),
        (("x-api-key", ""),),
        (("Cookie", f"key={SECRETS['default']}"),),
        (("Authorization", f"Bearer {SECRETS['default']}x"),),
        (("Authorization", f"Bearer {digest(SECRETS['default']).hex()}"),),
        (bearer("old"),),
    ],
)
async def test_strangers_reach_no_model(path: str, body: bytes | None, headers: Any) -> None:
    statuses, reached = await asked(GUARDED, (path, body, *headers), (path + "?api_key=x", body, *headers))
    assert (statuses, reached) == ([401, 401], 0)


@pytest.mark.parametrize(("path", "body"), PATHS_TO_MODELS)
@pytest.mark.parametrize(
    "header",
    [
        bearer("default"),
        ("x-api-key", SECRETS["default"]),
        ("authorization", f"bearer {SECRETS['default']}"),
        ("Authorization", f"BEARER   {SECRETS['default']} "),
        bearer("chat_only"),
    ],
)
async def test_a_key_opens_its_models(path: str, body: bytes | None, header: tuple[str, str]) -> None:
    assert await asked(GUARDED, (path, body, header)) == ([200], 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path", ["/chat/v1/chat/completions", "/v1/models", "/v1/x", "/stats", "/nope", "/ui/api/x"]
)
async def test_no_method_gets_past(method: str, path: str) -> None:
    async with front(GUARDED, ready={"chat": 1}, wall_clock=lambda: NOW) as gate:
        answer = await gate.ask(path, CHAT if method in ("POST", "PUT", "PATCH") else None, method=method)
        assert (answer.status, gate.seats.tickets) == (401, [])


async def test_a_form_and_a_websocket_get_past_nowhere() -> None:
    requests = [
        ("/v1/audio/transcriptions", FORM, FORM_TYPE),
        ("/chat/v1/audio/transcriptions", FORM, FORM_TYPE),
        ("/chat/v1/realtime", None, ("Connection", "upgrade"), ("Upgrade", "websocket")),
    ]
    assert await asked(GUARDED, *requests) == ([401, 401, 401], 0)
    known = [(path, body, *headers, bearer("chat_only")) for path, body, *headers in requests]
    assert await asked(GUARDED, *known) == ([200, 200, 400], 2)  # let in, and then it is no handshake
    elsewhere = (FORM.replace(b"chat", b"coder"), FORM_TYPE, bearer("chat_only"))
    assert await asked(GUARDED, ("/v1/audio/transcriptions", *elsewhere)) == ([403], 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/coder/v1/chat/completions", CHAT),
        ("/coder/v1/models", None),
        ("/v1/chat/completions", CODER),
        ("/v1/chat/completions", b'{"model":"chat","model":"coder"}'),
        ("/v1/chat/completions", b'{"model":"chat","mod\\u0065l":"coder"}'),
        ("/v1/messages", CODER),
        ("/v1/messages/count_tokens", CODER),
        ("/coder/tokenize", CHAT),
    ],
)
async def test_another_models_key_is_refused_by_its_name(path: str, body: bytes | None) -> None:
    async with front(GUARDED, ready={"coder": 1}) as gate:
        answer = await gate.ask(path, body, headers=[bearer("chat_only")])
        assert answer.status == 403
        assert b"'chat_only' may not use 'coder'" in answer.body
        assert SECRETS["chat_only"].encode() not in answer.body
        assert gate.seats.tickets == []


async def test_the_401_says_how_in_both_shapes() -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        openai = await gate.ask("/v1/chat/completions", CHAT)
        assert openai.get("www-authenticate") == 'Bearer realm="hotseat"'
        error = json.loads(openai.body)["error"]
        assert (error["code"], error["type"]) == ("missing_api_key", "authentication_error")
        anthropic = json.loads((await gate.ask("/v1/messages", CHAT, headers=[("x-api-key", "sk-no")])).body)
        assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")
        expired = await gate.ask("/v1/embeddings", CHAT, headers=[bearer("old")])
        assert json.loads(expired.body)["error"]["message"] == "the key 'old' has expired"


async def test_a_key_is_good_until_its_moment() -> None:
    async with Served(always(ok(b"{}"))) as server:
        moments = {"now": NOW - 0.001}
        ready = {"chat": server.port}
        async with front(GUARDED, ready=ready, wall_clock=lambda: moments["now"]) as gate:
            for expected in (200, 401):
                answer = await gate.ask("/v1/embeddings", CHAT, headers=[bearer("old")])
                assert answer.status == expected
                moments["now"] = NOW


async def test_a_pages_key_is_good_on_its_pages_only() -> None:
    def page(origin: str | None) -> Any:
        headers = [bearer("page"), *([("Origin", origin)] if origin else [])]
        return ("/chat/v1/embeddings", CHAT, *headers)

    origins = ["https://example.org", None, "https://evil.org", "null", "https://example.org.evil.org"]
    assert await asked(GUARDED, *map(page, origins)) == ([200, 403, 403, 403, 403], 1)


@pytest.mark.parametrize("path", ["/stats", "/routes", "/logs/chat", "/metrics", "/events", "/admin/start"])
async def test_only_an_admin_key_opens_admin_pages(path: str) -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        found = {}
        for name in ("default", "chat_only", "page", "old", "admin"):
            answer = await gate.ask(path, headers=[bearer(name), ("Origin", "https://example.org")])
            found[name] = answer.status
        assert found == {"default": 403, "chat_only": 403, "page": 403, "old": 401, "admin": 200}
        assert (await gate.ask(path)).status == 401


async def test_an_admin_key_alone_opens_no_model() -> None:
    assert await asked(GUARDED, ("/v1/embeddings", CHAT, bearer("admin"))) == ([403], 0)


async def test_what_a_stranger_sees_of_our_own_pages() -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        for path in ("/health", "/healthz"):
            assert (await gate.ask(path)).get("x-role") == "ANONYMOUS"
            assert (await gate.ask(path, headers=[bearer("chat_only")])).get("x-role") == "READER"
            assert (await gate.ask(path, headers=[bearer("admin")])).get("x-role") == "ADMIN"
            assert (await gate.ask(path, headers=[bearer("old")])).get("x-role") == "ANONYMOUS"
        assert (await gate.ask("/openapi.json")).status == 401
        assert (await gate.ask("/openapi.json", headers=[bearer("chat_only")])).status == 200


async def test_without_any_key_everybody_here_is_the_owner() -> None:
    async with front(local_only=True) as gate:
        assert (await gate.ask("/stats")).get("x-role") == "ADMIN"


async def test_the_list_shows_what_the_key_opens() -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        listed = {}
        for name in ("default", "chat_only", "admin"):
            answer = json.loads((await gate.ask("/v1/models", headers=[bearer(name)])).body)
            listed[name] = [one["id"] for one in answer["data"]]
        assert listed == {"default": ["chat", "coder"], "chat_only": ["chat"], "admin": []}
        assert (await gate.ask("/v1/models/coder", headers=[bearer("chat_only")])).status == 404
        assert (await gate.ask("/v1/models")).status == 401


OPEN_SITE = settings(
    model("chat"),
    model("coder"),
    routes=(RouteSpec(name="site", model="chat", path="/site", policy=PolicySpec(auth=False)),),
    auth=AUTH,
)


async def test_an_open_route_needs_no_key_and_opens_no_other() -> None:
    requests = [
        ("/site/v1/embeddings", CHAT),
        ("/v1/embeddings", b'{"model":"site"}'),
        ("/site/v1/embeddings", CHAT, ("Authorization", "Bearer nobody")),
        ("/chat/v1/embeddings", CHAT),
        ("/v1/embeddings", CHAT),
        ("/v1/embeddings", b'{"model":"nope"}'),
        ("/v1/embeddings", b"{}"),
        ("/v1/models", None),
        ("/stats", None),
    ]
    assert await asked(OPEN_SITE, *requests) == ([200, 200, 200, 401, 401, 401, 401, 401, 401], 3)


async def test_the_opt_out_opens_models_and_not_the_admin_pages() -> None:
    config = settings(
        auth=AuthSpec(keys=(key("default"), key("admin", routes=frozenset(), admin=True)), required=False)
    )
    requests = [
        ("/v1/embeddings", CHAT),
        ("/v1/embeddings", CODER, ("Authorization", "Bearer nobody")),
        ("/v1/models", None),
        ("/stats", None),
        ("/stats", None, bearer("default")),
        ("/stats", None, bearer("admin")),
    ]
    assert await asked(config, *requests) == ([200, 200, 200, 401, 403, 200], 2)


def basic(user: str, password: str) -> tuple[str, str]:
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


async def test_a_second_factor_comes_before_anything() -> None:
    config = settings(auth=AuthSpec(keys=(key("default"),), api_secret=digest("second-factor")))
    secret = ("X-API-Secret", "second-factor")
    requests = [
        ("/v1/embeddings", CHAT, bearer("default")),
        ("/v1/embeddings", CHAT, secret),
        ("/v1/embeddings", CHAT, bearer("default"), ("X-API-Secret", "wrong")),
        ("/v1/embeddings", CHAT, bearer("default"), secret),
        ("/v1/models", None, bearer("default")),
    ]
    assert await asked(config, *requests) == ([401, 401, 401, 200, 401], 1)


async def test_basic_with_a_password_of_its_own() -> None:
    config = settings(
        auth=AuthSpec(keys=(key("default"),), basic=BasicSpec(user=digest("me"), password=digest("pw")))
    )
    api_key = ("x-api-key", SECRETS["default"])
    requests = [
        ("/v1/embeddings", CHAT, basic("me", "pw"), api_key),
        ("/v1/embeddings", CHAT, basic("me", "pw")),
        ("/v1/embeddings", CHAT, bearer("default")),
        ("/v1/embeddings", CHAT, basic("me", "no"), api_key),
        ("/v1/embeddings", CHAT, basic("you", "pw"), api_key),
        ("/v1/embeddings", CHAT, ("Authorization", "Basic !!!"), api_key),
        ("/v1/embeddings", CHAT, basic("me", SECRETS["default"])),
    ]
    assert await asked(config, *requests) == ([200, 401, 401, 401, 401, 401, 401], 1)


async def test_basic_whose_password_is_the_key() -> None:
    config = settings(auth=AuthSpec(keys=(key("default"),), basic=BasicSpec(user=digest("me"))))
    requests = [
        ("/v1/embeddings", CHAT, basic("me", SECRETS["default"])),
        ("/v1/embeddings", CHAT, basic("you", SECRETS["default"])),
        ("/v1/embeddings", CHAT, basic("me", "other")),
        ("/v1/embeddings", CHAT, bearer("default")),
    ]
    assert await asked(config, *requests) == ([200, 401, 401, 401], 1)
    async with front(config) as gate:
        assert (await gate.ask("/v1/models")).get("www-authenticate") == 'Basic realm="hotseat"'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((("Sec-Fetch-Site", "cross-site"),), 403),
        ((("Sec-Fetch-Site", "same-site"),), 403),
        ((("Sec-Fetch-Site", "same-origin"), ("Origin", "http://localhost")), 200),
        ((("Sec-Fetch-Site", "none"),), 200),
        ((("Origin", "https://evil.org"),), 403),
        ((("Origin", "null"),), 403),
        ((("Origin", "http://localhost"),), 200),
        ((), 200),
    ],
)
async def test_orders_from_other_sites_are_refused(headers: Any, status: int) -> None:
    for config in (None, GUARDED):
        async with front(config, wall_clock=lambda: NOW) as gate:
            key_too = [] if config is None else [bearer("admin")]
            answer = await gate.ask("/admin/start", b"{}", headers=[*headers, *key_too])
            assert answer.status == status


async def test_keys_change_as_one_and_at_once() -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(GUARDED, ready={"chat": server.port}, wall_clock=lambda: NOW) as gate,
        await gate.open() as wire,
    ):
        headers = [bearer("chat_only")]
        await wire.ask("/v1/embeddings", CHAT, headers=headers)
        assert (await wire.answer()).status == 200
        without = AuthSpec(keys=tuple(one for one in AUTH.keys if one.name != "chat_only"))
        gate.gateway.configure(settings(auth=without), local_only=False)
        await wire.ask("/v1/embeddings", CHAT, headers=headers)
        assert (await wire.answer()).status == 401


async def test_the_models_server_gets_its_own_key_and_no_others() -> None:
    config = settings(model("chat", upstream_key="inner-key-123"), model("coder"), auth=AUTH)
    secrets = [bearer("default"), ("x-api-key", SECRETS["default"]), ("X-API-Secret", "second-factor")]
    async with Served(always(ok(b"{}"))) as server:
        ready = {"chat": server.port, "coder": server.port}
        async with front(config, ready=ready) as gate:
            for name in ("chat", "coder"):
                await gate.ask(f"/{name}/v1/embeddings", CHAT, headers=[*secrets, ("Cookie", "a=b")])
        with_key, without = server.requests
        assert with_key.get("authorization") == "Bearer inner-key-123"
        assert without.get("authorization") is None
        for request in server.requests:
            assert not {"x-api-key", "x-api-secret", "cookie"} & request.names
            assert not any(
                secret.encode() in value for _, value in request.fields for secret in SECRETS.values()
            )


async def test_wrong_keys_leave_nothing_behind() -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        authenticator = gate.gateway.snapshot.authenticator

        def attempt(numbers: range) -> int:
            """Bytes that are allocated after so many wrong keys."""
            for number in numbers:
                header = {b"authorization": b"Bearer sk-%d" % number}
                assert authenticator.authenticate(header).problem is not None
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = attempt(range(1_000))
            assert attempt(range(1_000, 20_000)) - before < 10_000
        finally:
            tracemalloc.stop()


SECOND = ("X-API-Secret", "second-factor")


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        # no key: who has the second factor is the owner
        (AuthSpec(api_secret=digest("second-factor")), {"with": (200, 200), "without": (401, 401)}),
        # and with auth: off still the owner alone opens the admin pages
        (
            AuthSpec(api_secret=digest("second-factor"), required=False),
            {"with": (200, 200), "without": (200, 401)},
        ),
        # with a key the second factor alone shows nobody
        (
            AuthSpec(keys=(key("default", admin=True),), api_secret=digest("second-factor"), required=False),
            {"with": (200, 401), "without": (200, 401), "both": (200, 200)},
        ),
        (AuthSpec(required=False), {"without": (200, 200)}),
    ],
)
async def test_the_owners_role(auth: AuthSpec, expected: dict[str, tuple[int, int]]) -> None:
    sent = {"with": [SECOND], "without": [], "both": [SECOND, bearer("default")]}
    for name, statuses in expected.items():
        requests = [("/v1/embeddings", CHAT, *sent[name]), ("/stats", None, *sent[name])]
        assert (await asked(settings(auth=auth), *requests))[0] == list(statuses), name


async def test_the_401_of_an_admin_page_names_what_is_missing() -> None:
    secret = AuthSpec(api_secret=digest("second-factor"), required=False)
    user = AuthSpec(basic=BasicSpec(user=digest("me"), password=digest("pw")), required=False)
    for auth, code in ((secret, "missing_api_secret"), (user, "missing_basic_auth")):
        async with front(settings(auth=auth)) as gate:
            assert json.loads((await gate.ask("/stats")).body)["error"]["code"] == code


async def test_a_published_key_tells_of_no_route() -> None:
    async with front(GUARDED, wall_clock=lambda: NOW) as gate:
        for origin in ((), (("Origin", "https://example.org"),)):
            answer = await gate.ask("/healthz", headers=[bearer("page"), *origin])
            assert answer.get("x-role") == "ANONYMOUS"

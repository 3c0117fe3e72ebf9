"""The pages, extensions and editors that may send requests from a browser."""

from __future__ import annotations

import json

import pytest

from fakes.gateway import front, settings
from fakes.wire import Served, always, ok
from hotseat.config.parsers.network import origins, page_origins
from hotseat.core.access_spec import AuthSpec, KeySpec, PolicySpec
from hotseat.core.spec import RouteSpec, Settings
from hotseat.gateway.policy.cors import Cors

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat"}'


def let_in(*allowed: str) -> Settings:
    policy = PolicySpec(cors=origins(list(allowed)))
    return settings(routes=(RouteSpec(name="chat", model="chat", path="/chat", policy=policy),))


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org",
        "http://localhost:3000",
        "http://192.168.1.5:8080",
        "http://[::1]:3000",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://2f9a7c0e-0f4d-4f1b-9a3e-0c9f2b1c7d11",
        "safari-web-extension://5A1B2C3D-0000-4000-8000-ABCDEFABCDEF",
        "vscode-webview://1t0c3m5a7b9d",
        "vscode-file://vscode-app",
        "app://obsidian.md",
        "app://-",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
    ],
)
async def test_an_origin_that_is_listed_gets_its_answers(origin: str) -> None:
    config = let_in(origin)
    async with (
        Served(always(ok(b"{}"))) as server,
        front(config, ready={"chat": server.port}, local_only=True) as gate,
    ):
        asked = (("Origin", origin), ("Content-Type", "application/json"))
        answer = await gate.ask("/chat/v1/completions", PLAIN, headers=asked)
        assert (answer.status, answer.get("access-control-allow-origin")) == (200, origin)
        preflight = await gate.ask(
            "/chat/v1/completions",
            method="OPTIONS",
            headers=(("Origin", origin), ("Access-Control-Request-Method", "POST")),
        )
        assert (preflight.status, preflight.get("access-control-allow-origin")) == (204, origin)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "https://*.example.com",
            ["https://a.example.com", "https://a.b.example.com", "https://x-1.example.com"],
            [
                "https://example.com",
                "https://evil-example.com",
                "https://a.example.com.evil.org",
                "http://a.example.com",
                "https://a.example.com:8443",
                "https://.example.com",
                "https://evil.org/.example.com",
                "https://evil.org:1.example.com",
                "https://a@b.example.com",
                "https://aXexample.com",
                "https://a.example.com\n",
            ],
        ),
        (
            "https://*.example.com:8443",
            ["https://a.example.com:8443"],
            ["https://a.example.com", "https://a.example.com:84430"],
        ),
        (
            "https://*.example.com:*",
            ["https://a.example.com", "https://a.example.com:1"],
            ["https://a.example.com:x", "https://example.com:1"],
        ),
        (
            "http://*",
            ["http://a", "http://a.b:80", "http://localhost:3000", "http://[::1]:3000", "http://10.0.0.1"],
            ["https://a", "http://", "http://a/b", "http://a:b", "http://a b", "null", "xhttp://a"],
        ),
        ("http://*:3000", ["http://a:3000"], ["http://a", "http://a:3001"]),
        (
            "http://localhost:*",
            ["http://localhost", "http://localhost:5173"],
            ["http://localhost.evil.org:1", "http://notlocalhost:1", "https://localhost:1"],
        ),
        ("http://[::1]:*", ["http://[::1]:1"], ["http://[::2]:1"]),
        (
            "chrome-extension://*",
            ["chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
            ["moz-extension://a", "chrome-extension://", "chrome-extensionx://a"],
        ),
        ("vscode-webview://*", ["vscode-webview://1t0c3m5a7b9d"], ["vscode-file://vscode-app"]),
        ("*", ["https://anything", "null", "app://-"], []),
    ],
)
def test_what_a_pattern_matches(pattern: str, inside: list[str], outside: list[str]) -> None:
    for cors in (
        Cors(origins(pattern)),
        Cors(origins([pattern, "https://other.org"] if pattern != "*" else pattern)),
    ):
        assert [origin for origin in inside if origin.encode() not in cors] == []
        assert [origin for origin in outside if origin.encode() in cors] == []


@pytest.mark.parametrize(
    "written",
    [
        "https://*example.com",
        "https://example.*",
        "https://a.*.com",
        "https://*.*.com",
        "https://*.",
        "*://example.com",
        "https://*.example.com/",
        "https://Example.com",
        "https://example.com:0",
        "https://example.com:99999",
        "https://example.com:8*",
        "https://a@example.com",
        "chrome-extension://",
        "https://",
        "example.com",
        "",
        ["*", "https://a.b"],
    ],
)
def test_what_could_never_match_is_refused_with_the_configuration(written: object) -> None:
    with pytest.raises(ValueError, match=r"origin|empty"):
        origins(written)


@pytest.mark.parametrize("written", ["*", "http://*", "https://*:8443", "chrome-extension://*"])
def test_a_public_key_is_never_for_all_pages(written: str) -> None:
    with pytest.raises(ValueError, match="one by one"):
        page_origins(written)


async def test_a_public_keys_pattern_matches_as_the_configuration_says() -> None:
    digest = bytes.fromhex("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")  # of "secret"
    key = KeySpec(name="site", digest=digest, origins=page_origins("https://*.example.com"))
    config = settings(auth=AuthSpec(keys=(key,)))
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        for origin, status in (("https://a.example.com", 200), ("https://example.com", 403)):
            headers = (("Origin", origin), ("Authorization", "Bearer secret"))
            assert (await gate.ask("/chat/v1/x", PLAIN, headers=headers)).status == status


async def test_a_foreign_page_is_told_what_to_configure() -> None:
    async with front(ready={"chat": 1}, local_only=True) as gate:
        headers = (("Origin", "https://app.example.org"),)
        answer = await gate.ask("/chat/v1/completions", PLAIN, headers=headers)
        assert answer.status == 403
        message = json.loads(answer.body)["error"]["message"]
        assert "cors: [https://app.example.org]" in message


@pytest.mark.parametrize(("asked", "told"), [("true", "true"), (None, None), ("false", None)])
async def test_a_public_page_may_reach_a_private_network_where_it_is_let_in(
    asked: str | None, told: str | None
) -> None:
    headers = [("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST")]
    if asked is not None:
        headers.append(("Access-Control-Request-Private-Network", asked))
    async with front(let_in("https://example.org")) as gate:
        answer = await gate.ask("/chat/v1/x", method="OPTIONS", headers=tuple(headers))
        assert answer.get("access-control-allow-private-network") == told
        headers[0] = ("Origin", "https://evil.org")
        other = await gate.ask("/chat/v1/x", method="OPTIONS", headers=tuple(headers))
        assert other.get("access-control-allow-private-network") is None

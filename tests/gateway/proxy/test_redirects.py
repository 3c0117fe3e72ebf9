"""No redirect of a server leads a client around the gateway."""

from __future__ import annotations

import json

import pytest

from fakes.gateway import front
from fakes.wire import Served, always, ok, once
from hotseat.core.views import Upstream
from hotseat.gateway.proxy import forward
from hotseat.gateway.proxy.redirects import location_for_client

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat"}'


@pytest.fixture(autouse=True)
def reasons_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run ends in these tests: nothing is lost by not waiting for the news."""
    monkeypatch.setattr(forward, "REASON_S", 0.01)


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/chat/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/chat//v1/messages//", "/v1/messages"),
        ("//chat/v1/embeddings", "/v1/embeddings"),
        ("/v1/responses/", "/v1/responses"),
        ("/chat/v1/audio/speech/?a=1", "/v1/audio/speech?a=1"),
        ("/tokenize/", "/tokenize"),
        ("/rerank//", "/rerank"),
    ],
)
async def test_spare_slashes_are_left_out_of_known_paths(path: str, arrives: str) -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask(path, PLAIN)).status == 200
        assert server.requests[0].first.decode() == f"POST {arrives} HTTP/1.1"


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "//v1/models", "/v1/models//"])
async def test_the_list_of_models_may_have_spare_slashes_too(path: str) -> None:
    async with front() as gate:
        assert json.loads((await gate.ask(path)).body)["object"] == "list"


@pytest.mark.parametrize(
    "path", ["/v1//nonsense", "/chat//sleep", "//", "/chat//", "/v1/../v1/models/", "/%2f/v1/models/"]
)
async def test_unknown_paths_with_empty_segments_lead_nowhere(path: str) -> None:
    async with front(ready={"chat": 1}) as gate:
        assert (await gate.ask(path, PLAIN)).status == 404
        assert gate.seats.tickets == []


def redirect(status: int, location: str) -> bytes:
    return b"HTTP/1.1 %d Go\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, location.encode())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://127.0.0.1:{port}/v1/x", "{prefix}/v1/x"),
        ("HTTP://127.0.0.1:{port}/v1/x?a=1#b", "{prefix}/v1/x?a=1#b"),
        ("http://localhost:{port}/v1/x", "{prefix}/v1/x"),
        ("https://127.0.0.1:{port}/v1/x", "{prefix}/v1/x"),
        ("//127.0.0.1:{port}/v1/x", "{prefix}/v1/x"),
        ("/v1/x", "{prefix}/v1/x"),
        ("x", "{prefix}/v1/x"),
        ("../y", "{prefix}/y"),
        ("?a=1", "{prefix}/v1/asked/?a=1"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/chat"])
async def test_a_redirect_to_the_server_itself_leads_to_the_gateway(
    status: int, location: str, told: str, prefix: str
) -> None:
    server = Served(once(b""))

    async with server, front(ready={"chat": server.port}) as gate:
        server.script = once(redirect(status, location.format(port=server.port)))
        path = f"{prefix}/v1/asked" + ("/" if location.startswith("?") else "")
        answer = await gate.ask(path, PLAIN)
        assert (answer.status, answer.get("location")) == (status, told.format(prefix=prefix))


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/v1/x",
        "http://internal.example:8000/v1/x",
        "https://login.example/",
        "//evil.example/",
        "http://u:p@127.0.0.1:{port}/",
        "javascript:alert(1)",
        "http://[::1/",
        "http://127.0.0.1:99999999/",
        "\xff",
    ],
)
async def test_a_redirect_to_anywhere_else_is_refused(method: str, status: int, location: str) -> None:
    server = Served(once(b""))
    async with server, front(ready={"chat": server.port}) as gate:
        server.script = once(redirect(status, location.format(port=server.port)))
        answer = await gate.ask("/chat/v1/x", PLAIN if method == "POST" else None, method=method)
        assert (answer.status, answer.get("location")) == (502, None)
        if method != "HEAD":
            assert "redirects" in json.loads(answer.body)["error"]["message"]
        await gate.ticket_closed()


async def test_what_was_created_elsewhere_is_told_without_its_place() -> None:
    created = redirect(201, "http://10.0.0.1:7/x")
    async with Served(once(created)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/files", PLAIN)
        assert (answer.status, answer.get("location")) == (201, None)


@pytest.mark.parametrize(
    ("location", "told"),
    [("/base/v1/x", b"location: /chat/v1/x\r\n"), ("/v1/x", b""), ("y", b"location: /chat/v1/y\r\n")],
)
def test_a_servers_base_path_is_not_told(location: str, told: bytes) -> None:
    upstream = Upstream(model="chat", run=1, host="vllm", port=8000, base_path="/base")
    lines = b"a: b\r\nlocation: %b\r\ncontent-location: /z\r\n" % location.encode()
    told_lines, is_foreign = location_for_client(lines, upstream, b"/v1/asked", b"/chat")
    assert told_lines == b"a: b\r\ncontent-location: /z\r\n" + told
    assert is_foreign == (not told)

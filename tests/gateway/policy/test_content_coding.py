"""Bodies that clients compress, bodies of any type, and what else is well meant in them."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from fakes.gateway import front, model, settings
from fakes.wire import Served, always, ok
from hotseat.core.access_spec import PolicySpec
from hotseat.core.spec import RouteSpec
from hotseat.gateway.http.errors import RequestRefused
from hotseat.gateway.policy.content_coding import decode

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat","prompt":"' + b"x" * 1000 + b'"}'
PATH = "/v1/completions"
LIMIT = 100_000


def raw_deflate(content: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(content) + encoder.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("gzip", lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd.compress),
    ("zstd", lambda content: zstd.compress(content[:9]) + zstd.compress(content[9:])),
    ("gzip, zstd", lambda content: zstd.compress(gzip.compress(content))),
    ("identity", bytes),
    ("identity, gzip", gzip.compress),
]


def coded(coding: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", "application/json"), ("Content-Encoding", coding))


@pytest.mark.parametrize(("coding", "encode"), CODINGS)
async def test_a_compressed_body_reaches_the_server_decompressed(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask(PATH, encode(PLAIN), headers=coded(coding))).status == 200
        [request] = server.requests
        assert (request.body, request.get("content-encoding")) == (PLAIN, None)
        assert gate.records[0].bytes_in == len(PLAIN)  # a limit on tokens is not evaded by compression


async def test_codings_on_two_lines_are_one_list() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        content = zstd.compress(gzip.compress(PLAIN))
        headers = (("Content-Encoding", "gzip"), ("Content-Encoding", "zstd"))
        assert (await gate.ask(PATH, content, headers=headers)).status == 200
        assert server.requests[0].body == PLAIN


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, br", "gzip, gzip, gzip, gzip", "x"])
async def test_another_coding_is_refused_and_the_known_ones_are_named(coding: str) -> None:
    async with front(ready={"chat": 1}) as gate:
        answer = await gate.ask(PATH, PLAIN, headers=coded(coding))
        assert answer.status == 415
        message = json.loads(answer.body)["error"]["message"]
        assert all(name in message for name in ("gzip", "deflate", "zstd"))
        assert answer.get("accept-encoding") == "gzip, deflate, zstd"
        assert gate.seats.tickets == []


@pytest.mark.parametrize(("coding", "encode"), CODINGS[:9])
@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda _: b"{}", lambda b: b[5:]])
async def test_a_broken_body_is_refused(
    coding: str, encode: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(RequestRefused) as refused:
        decode(damage(encode(PLAIN)), coding.encode(), LIMIT)
    assert refused.value.problem.status == 400


@pytest.mark.parametrize(("coding", "encode"), CODINGS[:9])
def test_a_bomb_is_refused_before_it_goes_off(coding: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(b"0" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefused) as refused:
            decode(bomb, coding.encode(), LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 20 * LIMIT
    finally:
        tracemalloc.stop()
    assert refused.value.problem.status == 413


@pytest.mark.parametrize(("coding", "encode"), CODINGS[:9])
def test_a_body_of_just_the_limit_is_taken(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert decode(encode(b"0" * LIMIT), coding.encode(), LIMIT) == b"0" * LIMIT
    with pytest.raises(RequestRefused):
        decode(encode(b"0" * (LIMIT + 1)), coding.encode(), LIMIT)


# Types


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/octet-stream", "audio/wav", "application/x-protobuf", "image/png"],
)
@pytest.mark.parametrize("path", ["/extra/x", "/chat/extra/x"])
@pytest.mark.parametrize("content", [b"hello", b"\x00\xff\xfe", b"[1]", b"{broken", b"\xef\xbb\xbf"])
async def test_an_allowed_path_takes_any_content_type(content_type: str, path: str, content: bytes) -> None:
    config = settings(model("chat", allow_paths=("/extra/**",)), default_route="chat")
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        answer = await gate.ask(path, content, headers=(("Content-Type", content_type),))
        assert answer.status == 200
        assert (server.requests[0].body, server.requests[0].get("content-type")) == (content, content_type)


async def test_an_allowed_path_still_checks_what_says_that_it_is_json() -> None:
    config = settings(model("chat", allow_paths=("/extra/**",)), default_route="chat")
    async with front(config, ready={"chat": 1}) as gate:
        for content_type in ("application/json", "application/json; charset=utf-8", "application/ld+json"):
            answer = await gate.ask("/extra/x", b"{broken", headers=(("Content-Type", content_type),))
            assert answer.status == 400
        assert (
            await gate.ask("/chat/v1/x", b"hello", headers=(("Content-Type", "text/plain"),))
        ).status == 400


async def test_no_other_type_gets_around_a_routes_policy() -> None:
    policy = PolicySpec(clamp={"max_tokens": 7.0})
    route = RouteSpec(name="chat", model="chat", path="/chat", policy=policy)
    config = settings(model("chat", allow_paths=("/extra/**",)), routes=(route,))
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        headers = (("Content-Type", "text/plain"),)
        assert (await gate.ask("/chat/extra/x", b"{broken", headers=headers)).status == 400
        assert (await gate.ask("/chat/extra/x", b'{"max_tokens":9}', headers=headers)).status == 200
        assert json.loads(server.requests[0].body) == {"max_tokens": 7}


async def test_a_byte_order_mark_before_json_is_left_out() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        for content in (b"\xef\xbb\xbf" + PLAIN, '\ufeff{"model":"chat","a":"\u00e4"}'.encode()):
            assert (await gate.ask(PATH, content)).status == 200
        assert [request.body[:8] for request in server.requests] == [b'{"model"'] * 2


@pytest.mark.parametrize("ending", [b"\r\n", b"; charset=utf-8\r\n"])
async def test_a_form_with_an_empty_model_falls_to_the_default_as_json_does(ending: bytes) -> None:
    config = settings(model("chat", served_names=("Org/Whisper",)), default_route="chat", strict_models=True)
    extra = b"" if ending == b"\r\n" else b"Content-Type: text/plain" + ending
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n' + extra + b"\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\n\r\n--b--\r\n'
    )
    async with Served(always(ok(b"{}"))) as server, front(config, ready={"chat": server.port}) as gate:
        headers = (("Content-Type", "multipart/form-data; boundary=b"),)
        assert (await gate.ask("/v1/audio/transcriptions", body, headers=headers)).status == 200
        assert (await gate.ask(PATH, b'{"model":""}')).status == 200
        form, plain = (request.body for request in server.requests)
        assert form == body.replace(b"\r\n\r\n\r\n--b\r\n", b"\r\n\r\nOrg/Whisper\r\n--b\r\n", 1)
        assert plain == b'{"model":"Org/Whisper"}'
        assert gate.records[0].asked == ""


# Header fields on several lines


@pytest.mark.parametrize(
    "headers",
    [
        (("Connection", "keep-alive"), ("Connection", "x-hop"), ("X-Hop", "1")),
        (("X-Request-ID", "one"), ("X-Request-ID", "two")),
        (("Upgrade", "h2c"), ("Upgrade", "foo")),
        (
            ("Connection", "Upgrade"),
            ("Connection", "HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", ""),
        ),
        (("Accept", "text/html"), ("Accept", "application/json")),
    ],
)
async def test_lists_on_two_lines_are_one_list(headers: tuple[tuple[str, str], ...]) -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(PATH, PLAIN, headers=headers)
        assert answer.status == 200
        assert "x-hop" not in server.requests[0].names
        assert answer.get("x-request-id") not in ("one", "two", "one, two")


@pytest.mark.parametrize("name", ["Content-Type", "Authorization", "X-API-Key", "Origin"])
async def test_what_is_no_list_may_come_once(name: str) -> None:
    async with front(ready={"chat": 1}) as gate:
        assert (await gate.ask(PATH, PLAIN, headers=((name, "a"), (name, "b")))).status == 400

"""Small parts of the front door: addresses behind proxies, usage at the end of answers, ids, the books."""

from __future__ import annotations

import json

import pytest

from hotseat.gateway.access.client_address import UNKNOWN, Addresses
from hotseat.gateway.http.request_id import request_id
from hotseat.gateway.proxy import usage
from hotseat.gateway.proxy.access_log import AccessLog, RequestRecord

pytestmark = pytest.mark.anyio

PROXIES = Addresses(("127.0.0.1", "10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [("x-forwarded-for", "1.2.3.4")], "203.0.113.9"),
        ("203.0.113.9", [("cf-connecting-ip", "1.2.3.4")], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4:5678")], "1.2.3.4"),
        ("127.0.0.1", [("x-forwarded-for", "[2001:db8::5]:80")], "2001:db8::/64"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4, made up")], UNKNOWN),
        ("127.0.0.1", [("x-forwarded-for", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
        ("127.0.0.1", [("x-forwarded-for", "1.2.3.4"), ("cf-connecting-ip", "6.6.6.6")], "1.2.3.4"),
        ("127.0.0.1", [("cf-connecting-ip", "1.2.3.4")], "1.2.3.4"),
        ("fd00::1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:10.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:1.2.3.4", [], "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
    ],
)
def test_the_clients_address(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers]
    assert PROXIES.of((peer, 1), fields) == address


def test_without_proxies_nobody_is_believed() -> None:
    forged = [(b"x-forwarded-for", b"1.2.3.4"), (b"cf-connecting-ip", b"1.2.3.4")]
    assert Addresses(()).of(("127.0.0.1", 1), forged) == "127.0.0.1"
    assert Addresses(()).of(None, forged) == UNKNOWN
    assert (
        PROXIES.of(("127.0.0.1", 1), [(b"x-forwarded-for", b"6.6.6.6," * 10_000 + b"1.2.3.4")]) == "1.2.3.4"
    )


@pytest.mark.parametrize(
    ("tail", "tokens"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":5,"total_tokens":12,"completion_tokens":7}}', (5, 12 - 5)),
        (b'"usage": {\n "prompt_tokens": 5,\n "completion_tokens": 7}}', (5, 7)),
        (b'"usage":{"completion_tokens":7,"prompt_tokens":5,"total_tokens":12},"timings":{}}', (5, 7)),
        (
            b'{"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":4}}',
            (3, 4),
        ),
        (b'data: {"type":"message_delta","usage":{"output_tokens":9}}\n\ndata: {}\n\n', (None, 9)),
        (b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n', (1, 2)),
        (b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: {"usage":null}\n\n', (1, 2)),
        (b'data: {"usage": null}\n\ndata: [DONE]\n\n', (None, None)),
        (b'{"text":"\\"usage\\":{\\"prompt_tokens\\":99}"}', (None, None)),
        (b'"usage":{"prompt_tokens":', (None, None)),
        (b"", (None, None)),
    ],
)
def test_usage_is_read_from_the_end(tail: bytes, tokens: tuple[int | None, int | None]) -> None:
    assert usage.read(tail) == tokens


@pytest.mark.parametrize("sent", [b"abc", b"00-1.2_3:4", b"A" * 128])
def test_a_sound_id_is_kept(sent: bytes) -> None:
    assert request_id(sent) == sent.decode()


@pytest.mark.parametrize(
    "sent", [None, b"", b"A" * 129, b"a b", b'a"b', b"a\x00", b"\xc3\xa4", b"a,b", b"<x>"]
)
def test_another_id_is_made_anew_and_none_twice(sent: bytes | None) -> None:
    made = [request_id(sent) for _ in range(10)]
    assert len(set(made)) == 10
    assert all(one.startswith("req-") for one in made)


async def test_lines_are_written_together() -> None:
    written: list[bytes] = []
    books = AccessLog(written.append, lambda: 1_700_000_000.25)
    seen: list[RequestRecord] = []
    books.on_record = seen.append
    books.enter(RequestRecord(id="a", status=200), logged=True)
    books.enter(RequestRecord(id="b", status=500), logged=False)
    books.enter(RequestRecord(id="c", status=404, tokens_in=3), logged=True)
    assert written == []
    books.flush()
    books.flush()
    assert len(written) == 1
    first, second = map(json.loads, written[0].splitlines())
    assert (first["id"], first["time"], first["event"]) == ("a", "2023-11-14T22:13:20.250Z", "request")
    assert (second["status"], second["tokens_in"]) == (404, 3)
    assert [record.status for record in seen] == [200, 500, 404]

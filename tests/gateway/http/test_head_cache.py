"""Heads that came before are not parsed again, and the responses do not show it."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.gateway import Front, front, settings
from fakes.wire import Served, always, ok, read_message
from hotseat.core.access_spec import AuthSpec, KeySpec
from hotseat.gateway.http import connection, upstream
from hotseat.gateway.http.head_cache import CachedHead, learn

pytestmark = pytest.mark.anyio

HEAD = b"POST /chat/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nX-Last: 1\r\n\r\n"


def asked(body: bytes) -> bytes:
    return HEAD % len(body) + body


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_head_is_recognized_with_any_complete_body_and_with_nothing_else(
    first: bytes, other: bytes
) -> None:
    known = learn(asked(first), b"%d" % len(first))
    assert known is not None
    for body in (first, other):
        whole = asked(body)
        assert whole[known.body_at(whole) :] == body
        assert known.body_at(whole) == len(whole) - len(body)
        assert not known.body_at(whole + b"P")  # more than this message
        assert not known.body_at(whole[:-1])  # less, or no body at all
        assert not known.body_at(whole.replace(b"localhost", b"localhosT"))
        assert not known.body_at(whole.replace(b"X-Last: 1", b"X-Last: 2"))


@pytest.mark.parametrize("digits", [b"", b"+4", b"-4", b" 4", b"4 ", b"0x4", b"4_0", b"\xb2", b"4" * 400])
def test_a_length_is_digits_and_nothing_else(digits: bytes) -> None:
    known = learn(asked(b"abcd"), b"4")
    assert known is not None
    before, _, behind = (HEAD % 4).partition(b"4")
    assert known.body_at(before + b"4" + behind + b"abcd")
    assert not known.body_at(before + digits + behind + b"abcd")


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", b"0"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", b"3"),  # another message behind it
        (b"\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na", b"1"),
        (b"POST / HTTP/1.1\r\nContent-Length: 01\r\n\r\na", b"10"),
    ],
)
def test_a_head_that_cannot_be_recognized_with_certainty_is_not_kept(data: bytes, length: bytes) -> None:
    assert learn(data, length) is None


async def answers(gate: Front, pieces: list[bytes], ends: list[int]) -> list[tuple[int, bytes]]:
    """Send these requests on one connection and return the responses: status and body.

    ``ends``: where each request ends. Where a piece ends with a request, its response is usually awaited
    before more is sent.
    """
    found: list[tuple[int, bytes]] = []
    rng = random.Random(len(pieces))
    async with await gate.open() as wire:
        sent = 0
        for piece in pieces:
            await wire.send(piece)
            sent += len(piece)
            if sent in ends and rng.random() < 0.8:
                while len(found) <= ends.index(sent):
                    answer = await read_message(wire.reader)
                    found.append((answer.status, answer.body))
        while len(found) < len(ends):
            answer = await read_message(wire.reader)
            found.append((answer.status, answer.body))
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_responses_are_the_same_with_and_without_the_cache(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    heads = [
        b"POST /chat/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
        b"POST /chat/v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length:%d\r\nX-A: b\r\n\r\n",
        b"POST /coder/v1/x?content-length:5 HTTP/1.1\r\nHost: localhost\r\nCONTENT-LENGTH: %d \r\n\r\n",
    ]
    requests, pieces = [], []
    for number in range(30):
        text = b'{"n":%d,"x":"%b"}' % (number, b"y" * rng.choice((0, 1, 90, 900)))
        requests.append(rng.choice(heads[: rng.choice((1, 3))]) % len(text) + text)
    for request, following in itertools.pairwise([*requests, b""]):
        kind = rng.random()
        if kind < 0.15:  # in two pieces
            at = rng.randrange(1, len(request))
            pieces += [request[:at], request[at:]]
        elif kind < 0.25 and following:  # together with the start of the next one
            pieces += [request + following[:3]]
        else:
            pieces.append(request)
    ends = list(itertools.accumulate(len(request) for request in requests))
    pieces = _cut_as(pieces, b"".join(requests))
    seen = []
    for cached in (True, False):
        with monkeypatch.context() as patch:
            if not cached:
                patch.setattr(connection, "learn", lambda data, length: None)
                patch.setattr(upstream, "learn", lambda data, length: None)
            async with (
                Served(always(ok(b'{"a": 1}'))) as server,
                front(ready={"chat": server.port, "coder": server.port}) as gate,
            ):
                got = await answers(gate, pieces, ends)
                sent = [(request.first, sorted(request.names), request.body) for request in server.requests]
                seen.append((got, sent))
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == len(requests)


def _cut_as(pieces: list[bytes], stream: bytes) -> list[bytes]:
    """Cut the stream about where these pieces end."""
    cut, at = [], 0
    for piece in pieces:
        cut.append(stream[at : at + len(piece)])
        at += len(piece)
    return [*cut, stream[at:]]


async def test_a_head_that_came_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    body_at = CachedHead.body_at

    def watched(self: CachedHead, data: bytes) -> int:
        found.append(body_at(self, data))
        return found[-1]

    monkeypatch.setattr(CachedHead, "body_at", watched)
    async with (
        Served(always(ok(b'{"a": 1}'))) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        for number in range(4):
            await wire.send(asked(b'{"n":%d}' % 10**number))
            assert (await wire.answer()).body == b'{"a": 1}'
        assert [request.body for request in server.requests] == [b'{"n":%d}' % 10**n for n in range(4)]
    assert len([at for at in found if at]) >= 4  # both ways, from the third request on at the latest


async def test_a_known_head_gives_no_access_that_was_withdrawn_meanwhile() -> None:
    spec = KeySpec(name="me", digest=hashlib.sha256(b"a-key").digest())
    head = HEAD.replace(b"X-Last: 1", b"Authorization: Bearer a-key")
    async with (
        Served(always(ok(b"{}"))) as server,
        front(settings(auth=AuthSpec(keys=(spec,))), ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        for _ in range(3):
            await wire.send(head % 2 + b"{}")
            assert (await wire.answer()).status == 200
        other = KeySpec(name="you", digest=hashlib.sha256(b"another").digest())
        gate.gateway.configure(settings(auth=AuthSpec(keys=(other,))), local_only=False)
        await wire.send(head % 2 + b"{}")
        assert (await wire.answer()).status == 401


async def test_a_key_that_expires_is_refused_from_then_on() -> None:
    now = [100.0]
    spec = KeySpec(name="me", digest=hashlib.sha256(b"a-key").digest(), expires_at=200.0)
    head = HEAD.replace(b"X-Last: 1", b"Authorization: Bearer a-key")
    async with (
        Served(always(ok(b"{}"))) as server,
        front(
            settings(auth=AuthSpec(keys=(spec,))), ready={"chat": server.port}, wall_clock=lambda: now[0]
        ) as gate,
        await gate.open() as wire,
    ):
        for _ in range(3):
            await wire.send(head % 2 + b"{}")
            assert (await wire.answer()).status == 200
        now[0] = 200.0
        await wire.send(head % 2 + b"{}")
        assert (await wire.answer()).status == 401


async def test_a_thousand_requests_in_a_row_do_not_nest() -> None:
    refused = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with front() as gate, await gate.open() as wire:
        await wire.send(refused * 3000)
        for _ in range(3000):
            assert (await read_message(wire.reader)).status == 404

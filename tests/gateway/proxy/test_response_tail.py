"""The end of a response: its usage and how its server ended it, whatever pieces it came in."""

from __future__ import annotations

import pytest

from hotseat.gateway.http.outlier_detection import ResponseEnd
from hotseat.gateway.proxy.response_tail import ResponseTail, Usage, estimate_tokens


def tail_of(first: bytes = b"", *pieces: bytes) -> ResponseTail:
    tail = ResponseTail(first)
    for piece in pieces:
        tail.add(piece)
    return tail


def ended_with(*pieces: bytes) -> Usage:
    usage, _ = tail_of(*pieces).conclude(200)
    return usage


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
def test_usage_is_read_from_the_end_of_a_response(tail: bytes, tokens: tuple[int | None, int | None]) -> None:
    assert ended_with(tail) == tokens


def test_usage_may_come_two_pieces_before_the_end() -> None:
    usage = b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    assert ended_with(b"data: 1\n\n", usage, b": ping\n\n", b"data: [DONE]\n\n") == (1, 2)
    assert ended_with(usage[:30], usage[30:], b"data: [DONE]\n\n") == (1, 2)
    assert ended_with(usage, b"data: 1\n\n", b": ping\n\n", b"data: [DONE]\n\n") == (None, None)


@pytest.mark.parametrize(
    ("status", "pieces", "end"),
    [
        (200, (), ResponseEnd.GOOD),
        (200, (b"data: 1\n\n", b"data: [DONE]\n\n"), ResponseEnd.GOOD),
        (404, (b'{"error":{}}',), ResponseEnd.GOOD),
        (200, (b'data: {"finish_reason":"abort"}\n\n', b"data: [DONE]\n\n"), ResponseEnd.ABORTED),
        (200, (b'data: {"err', b'or":{}}\n\n'), ResponseEnd.FAILED),
        (500, (b"{}",), ResponseEnd.FAILED),
        (500, (b"EngineDeadError",), ResponseEnd.DEAD),
    ],
)
def test_how_a_response_ended(status: int, pieces: tuple[bytes, ...], end: ResponseEnd) -> None:
    assert tail_of(*pieces).conclude(status)[1] is end


@pytest.mark.parametrize(
    ("pieces", "number"),
    [
        ((b"data: 1\n\n",), -1),
        ((b'data: {"sequence_number":3}\n\n', b'data: {"sequence_number": 12}\n\n', b"da"), 12),
        ((b'data: {"sequence_num', b'ber":7}\n\n'), 7),
    ],
)
def test_the_number_of_the_last_event(pieces: tuple[bytes, ...], number: int) -> None:
    assert tail_of(*pieces).sequence_number == number


def test_tokens_are_estimated_from_the_requests_size_and_the_events() -> None:
    assert estimate_tokens(400, 7) == 107

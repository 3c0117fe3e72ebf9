"""An event stream is passed on in whole events, whatever pieces it comes in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hotseat.gateway.proxy.event_alignment import MAX_HELD_BYTES, EventAligner, end_of_last_event

PIECES = st.sampled_from([b"data: 1", b"event: x", b"\n", b"\r", b"\r\n", b"\n\n", b": c", b"\xc3", b"\xa4"])


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"data: 1", 0),
        (b"data: 1\n", 0),
        (b"data: 1\r\n", 0),
        (b"data: 1\n\n", 9),
        (b"data: 1\r\n\r\n", 11),
        (b"data: 1\r\r", 9),
        (b"data: 1\n\r\n", 10),
        (b"data: 1\r\n\r", 10),
        (b"data: 1\n\ndata: 2", 9),
        (b"data: 1\n\ndata: 2\n\n", 18),
        (b"data: 1\n\ndata: 2\r\n", 9),
    ],
)
def test_an_event_ends_with_a_blank_line(data: bytes, end: int) -> None:
    assert end_of_last_event(data) == end


def is_between_events(data: bytes) -> bool:
    """Whether a reader of the event stream is at the beginning of an event (as the HTML standard reads)."""
    return not data or re.split(b"\r\n|\n|\r", data)[-2:] == [b"", b""]


@effort(max_examples=500, deadline=None)
@given(st.lists(st.lists(PIECES, min_size=1, max_size=8).map(b"".join), max_size=20))
def test_what_was_passed_on_is_always_whole_events_and_nothing_is_lost(pieces: list[bytes]) -> None:
    aligner, passed = EventAligner(), b""
    for piece in pieces:
        passed += aligner.feed(piece)
        assert is_between_events(passed.removeprefix(b"\n")), passed
        assert not aligner.is_open
    assert passed + aligner.rest() == b"".join(pieces)


@pytest.mark.parametrize("size", [1, 7, 1000, MAX_HELD_BYTES, 3 * MAX_HELD_BYTES])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_a_very_large_event_is_passed_on_in_pieces_and_closed_again(size: int, end: bytes) -> None:
    whole = b"data: " + b"x" * (4 * MAX_HELD_BYTES) + end + b"data: 2" + end + b"data: ha"
    aligner, passed, was_open = EventAligner(), b"", False
    for at in range(0, len(whole), size):
        passed += aligner.feed(whole[at : at + size])
        was_open = was_open or aligner.is_open
        assert len(whole[: at + size]) - len(passed) <= MAX_HELD_BYTES
    assert was_open or size > 2 * MAX_HELD_BYTES
    assert not aligner.is_open
    rest = aligner.rest()
    assert passed + rest == whole
    assert rest.lstrip(b"\n") == b"data: ha"  # the LF of a CRLF is held if it came late: it ends nothing

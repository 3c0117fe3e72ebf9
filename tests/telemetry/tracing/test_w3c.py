"""``traceparent``, in and out."""

from __future__ import annotations

import pytest

from hotseat.telemetry.tracing.w3c import TraceContext, read, take_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOUND = f"00-{TRACE}-{SPAN}-01"


def test_there_and_back() -> None:
    context = read(SOUND.encode())
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), True)
    assert str(context) == SOUND
    assert str(read(f"00-{TRACE}-{SPAN}-00".encode())).endswith("-00")


def test_a_later_version_may_say_more() -> None:
    assert read(f"cc-{TRACE}-{SPAN}-09-what-else".encode()) == TraceContext(
        int(TRACE, 16), int(SPAN, 16), True
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        SOUND.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        SOUND + "\n",
    ],
)
def test_what_says_nothing(value: str) -> None:
    assert read(value.encode()) is None


def test_it_is_taken_out_of_the_header() -> None:
    lines = b"accept: */*\r\ntraceparent: %b\r\ntracestate: a=b\r\nx-traceparent: 1\r\n" % SOUND.encode()
    rest, context = take_context(lines)
    assert rest == b"accept: */*\r\ntracestate: a=b\r\nx-traceparent: 1\r\n"
    assert context is not None


@pytest.mark.parametrize("parents", [[], [b"nonsense"], [SOUND.encode()] * 2])
def test_a_state_without_a_sound_parent_goes(parents: list[bytes]) -> None:
    lines = b"".join(b"traceparent: %b\r\n" % parent for parent in parents)
    assert take_context(lines + b"tracestate: a=b\r\naccept: */*\r\n") == (b"accept: */*\r\n", None)

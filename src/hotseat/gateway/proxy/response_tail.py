"""The end of a response: how many tokens it took, and whether its server ended it well.

Servers say both in the last bytes: ``usage`` and ``finish_reason`` in JSON, or in the last events of a
stream. In JSON a quote inside a text is escaped, so no answer's text looks like these fields.
"""

from __future__ import annotations

import re

import msgspec

from hotseat.gateway.http.outlier_detection import ResponseEnd, classify_end

Usage = tuple[int | None, int | None]
"""Tokens of the prompt and of the answer; ``None`` where the server did not say."""

UNKNOWN: Usage = (None, None)
_PIECES = 3
"""Three, because the last event of a stream (``[DONE]``) may come apart from the one with the usage, and that
one apart from the one with the reason of the end."""
_NULL = (b"null", b" null")
_TOKENS_IN = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d{1,18})')
_TOKENS_OUT = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,18})')


class ResponseTail(msgspec.Struct, eq=False, gc=False):
    """The last pieces of a response's body. (A ``msgspec.Struct``, because that is constructed in C.)"""

    _pieces: list[bytes] = msgspec.field(default_factory=list)

    def add(self, piece: bytes) -> None:
        """Take the next piece; the oldest one is dropped."""
        pieces = self._pieces
        pieces.append(piece)
        if len(pieces) > _PIECES:
            del pieces[0]

    def conclude(self, status: int) -> tuple[Usage, ResponseEnd]:
        """Judge a response of this status that has ended: its usage, and how its server ended it."""
        pieces = self._pieces
        tail = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return read_usage(tail), classify_end(status, tail)

    @property
    def event_separator(self) -> bytes:
        """What must be written before another event of the stream can begin: line ends, or nothing."""
        last = self._pieces[-1] if self._pieces else b"\n\n"
        if last.endswith(b"\n\n"):
            return b""
        return b"\n" if last.endswith(b"\n") else b"\n\n"


def read_usage(tail: bytes) -> Usage:
    """Read the last ``usage`` that is not null from the end of a response's body."""
    at = tail.rfind(b'"usage":')
    while at != -1 and tail.startswith(_NULL, at + 8):
        at = tail.rfind(b'"usage":', 0, at)
    if at == -1:
        return UNKNOWN
    tokens_in, tokens_out = _TOKENS_IN.search(tail, at), _TOKENS_OUT.search(tail, at)
    return tokens_in and int(tokens_in[1]), tokens_out and int(tokens_out[1])


def estimate_tokens(request_bytes: int, events: int) -> int:
    """Estimate the tokens of both directions, where the server did not say (a stream without usage, an
    answer cut short): a quarter of the request's bytes, and one for each event."""
    return request_bytes // 4 + events

"""The end of a response: how many tokens it took, and whether its server ended it well.

Servers say both in the last bytes: ``usage`` and ``finish_reason`` in JSON, or in the last events of a
stream. In JSON a quote inside a text is escaped, so no answer's text looks like these fields.
"""

from __future__ import annotations

import re

from hotseat.gateway.http.outlier_detection import ResponseEnd, classify_end

Usage = tuple[int | None, int | None]
"""Tokens of the prompt and of the answer; ``None`` where the server did not say."""

UNKNOWN: Usage = (None, None)
_NULL = (b"null", b" null")
_TOKENS_IN = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d{1,18})')
_TOKENS_OUT = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,18})')

_SEQUENCE_NUMBER = re.compile(rb'"sequence_number":\s*(\d{1,18})')


class ResponseTail:
    """The last three pieces of a response's body.

    Three, because the last event of a stream (``[DONE]``) may come apart from the one with the usage, and
    that one apart from the one with the reason of the end.
    """

    __slots__ = ("_last", "_second_last", "_third_last")

    def __init__(self, first: bytes) -> None:
        self._last = first
        self._second_last = self._third_last = b""

    def add(self, piece: bytes) -> None:
        """Take the next piece; the oldest one is dropped."""
        self._third_last = self._second_last
        self._second_last = self._last
        self._last = piece

    def conclude(self, status: int) -> tuple[Usage, ResponseEnd]:
        """Judge a response of this status that has ended: its usage, and how its server ended it.

        The usage is the last one in the tail that is not null.
        """
        tail = self._last
        if self._second_last:
            tail = self._third_last + self._second_last + tail
        at = tail.rfind(b'"usage":')
        while at != -1 and tail.startswith(_NULL, at + 8):
            at = tail.rfind(b'"usage":', 0, at)
        if at == -1:
            return UNKNOWN, classify_end(status, tail)
        tokens_in, tokens_out = _TOKENS_IN.search(tail, at), _TOKENS_OUT.search(tail, at)
        usage = tokens_in and int(tokens_in[1]), tokens_out and int(tokens_out[1])
        return usage, classify_end(status, tail)

    @property
    def sequence_number(self) -> int:
        """The last event's number in a stream of the Responses API; -1 where there is none."""
        tail = self._third_last + self._second_last + self._last
        found = _SEQUENCE_NUMBER.findall(tail)
        return int(found[-1]) if found else -1


def estimate_tokens(request_bytes: int, events: int) -> int:
    """Estimate the tokens of both directions, where the server did not say (a stream without usage, an
    answer cut short): a quarter of the request's bytes, and one for each event."""
    return request_bytes // 4 + events

"""Recognizes heads of messages that came before, byte for byte except for the body's length.

On a kept connection, one message's head usually equals the last one's except for ``Content-Length``. A
head that the parser has accepted is not parsed again: the same bytes have the same meaning, and an HTTP
parser keeps no state between two messages. Only a read that holds one complete message and nothing else is
recognized; everything else goes through the parser.
"""

from __future__ import annotations

_MAX_DIGITS = 15


class CachedHead:
    """One head, as it was on the wire, without the digits of ``Content-Length``."""

    __slots__ = ("_after", "_after_size", "_before", "_digits_at", "_max_size")

    def __init__(self, before: bytes, after: bytes) -> None:
        """``before`` and ``after`` the digits of the length."""
        self._before = before
        self._digits_at = len(before)
        self._after = after
        self._after_size = len(after)
        self._max_size = self._digits_at + _MAX_DIGITS + self._after_size

    def body_at(self, data: bytes) -> int:
        """Return where the body begins, if ``data`` is this head and a complete body; otherwise 0."""
        if data.startswith(self._before):
            at = self._digits_at
            end = data.find(self._after, at, self._max_size)
            digits = data[at:end]
            if end != -1 and digits.isdigit():
                body_at = end + self._after_size
                if int(digits) == len(data) - body_at:
                    return body_at
        return 0


def learn(data: bytes, length: bytes) -> CachedHead | None:
    """Make a cached head of a message that the parser has just accepted as the whole of ``data``.

    ``length``: the value of its ``Content-Length``. Returns ``None`` where the head could not be recognized
    again with certainty.
    """
    end = data.find(b"\r\n\r\n") + 4
    at = data[:end].lower().find(b"\r\ncontent-length:")
    if end < 4 or at == -1:
        return None
    at = data.find(length, at + 17, end)
    head = CachedHead(data[:at], data[at + len(length) : end])
    return head if at != -1 and head.body_at(data) else None

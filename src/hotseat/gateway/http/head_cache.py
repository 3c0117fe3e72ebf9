"""Heads of messages that came before, byte for byte, but for the length of the body.

On a kept connection one message's head is usually the next one's, with another ``Content-Length``. A head
that the parser has taken is not parsed again: the same bytes have the same meaning, and between two
messages a parser of HTTP keeps nothing. Only a message that is here as a whole, and nothing else with
it, is taken this way; all else goes through the parser.
"""

from __future__ import annotations

_DIGITS_MOST = 15


class CachedHead:
    """One head, as it was on the wire."""

    __slots__ = ("_at", "_before", "_behind", "_most", "_size")

    def __init__(self, before: bytes, behind: bytes) -> None:
        """``before`` the digits of the length, and ``behind`` them."""
        self._before = before
        self._at = len(before)
        self._behind = behind
        self._size = len(behind)
        self._most = self._at + _DIGITS_MOST + self._size

    def body_at(self, data: bytes) -> int:
        """Where the body begins, if ``data`` is this head with its whole body behind it; else 0."""
        if data.startswith(self._before):
            at = self._at
            end = data.find(self._behind, at, self._most)
            digits = data[at:end]
            if end != -1 and digits.isdigit():
                body_at = end + self._size
                if int(digits) == len(data) - body_at:
                    return body_at
        return 0


def learn(data: bytes, length: bytes) -> CachedHead | None:
    """The head of a message that the parser has just taken as the whole of ``data``.

    ``length``: the value of its ``Content-Length``. ``None`` where the message cannot be told by its head.
    """
    end = data.find(b"\r\n\r\n") + 4
    at = data[:end].lower().find(b"\r\ncontent-length:")
    if end < 4 or at == -1:
        return None
    at = data.find(length, at + 17, end)
    known = CachedHead(data[:at], data[at + len(length) : end])
    return known if at != -1 and known.body_at(data) else None

"""Passes an event stream on in whole events, so that something can always be added between two of them.

A client that got half an event would take whatever follows for its other half: the error that says why the
stream was cut, or a sign of life. A half event is kept until its blank line comes; only an event that is
very large is passed on in pieces.
"""

from __future__ import annotations

MAX_HELD_BYTES = 64 * 1024
"""Of an incomplete event. A larger one (an image) is passed on as it comes."""
_BLANK_LINES = (b"\n\n", b"\n\r", b"\r\r")
"""The beginnings of all blank lines: a line ends with LF, CRLF or CR."""


def end_of_last_event(data: bytes | bytearray, start: int = 0) -> int:
    """The position behind the last blank line that begins at ``start`` or later; 0 where there is none."""
    found = max(data.rfind(mark, start) for mark in _BLANK_LINES)
    if found == -1:
        return 0
    end = found + 2
    return end + 1 if data[found + 1] == 0x0D and data[end : end + 1] == b"\n" else end


class EventAligner:
    """Holds back what has come of an incomplete event."""

    __slots__ = ("_held", "_is_open", "_last")

    def __init__(self) -> None:
        self._held = bytearray()
        self._is_open = False
        self._last = b""
        """The end of what was passed on of an open event: its blank line may come in two pieces."""

    @property
    def is_open(self) -> bool:
        """Whether the client has got a part of an event: nothing can be put behind it."""
        return self._is_open

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the stream and return what can be passed on now."""
        if self._is_open:
            begun = self._last + data
            end = end_of_last_event(begun) - len(self._last)
            if end <= 0:
                self._last = begun[-2:]
                return data
            self._is_open = False
            self._held += data[end:]
            return data[:end] + self._overflow()
        held = self._held
        start = max(0, len(held) - 2)
        held += data
        end = end_of_last_event(held, start)
        events = bytes(held[:end])
        del held[:end]
        return events + self._overflow()

    def rest(self) -> bytes:
        """Return what is left at the stream's own end, as its server sent it."""
        rest, self._held = bytes(self._held), bytearray()
        return rest

    def _overflow(self) -> bytes:
        if len(self._held) <= MAX_HELD_BYTES:
            return b""
        self._is_open = True
        passed = self.rest()
        self._last = passed[-2:]
        return passed

"""``X-Request-ID``: the client's own, where it is safe to return and to log, else a new, random one.

A number that counts up would tell every client how many requests there are. A server never gets the client's
own id: vLLM names its work by it, and two clients might send the same.
"""

from __future__ import annotations

import os

_MAX_LENGTH = 128
_ALLOWED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:"
_DIGITS = 24
"""Hexadecimal digits of an id."""
_FETCHED_BYTES = 3072
"""Random bytes that are fetched from the kernel at once."""


class _RandomIds:
    """Random ids; the kernel is asked for a few hundred at a time."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def next(self) -> str:
        at = self._at
        if at >= len(self._digits):
            self._digits = os.urandom(_FETCHED_BYTES).hex()
            at = 0
        end = self._at = at + _DIGITS
        return f"req-{self._digits[at:end]}"


new_request_id = _RandomIds().next
"""Make a new, random id."""


def request_id(sent: bytes | None) -> str:
    """The id that the client sent, if it is short and plain ASCII; otherwise a new, random one."""
    if sent and len(sent) <= _MAX_LENGTH and not sent.translate(None, _ALLOWED):
        return sent.decode("ascii")
    return new_request_id()

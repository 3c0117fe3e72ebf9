"""``X-Request-ID``: the client's own, where it is safe to pass on and to log, else a new one."""

from __future__ import annotations

import secrets
from itertools import count

_MAX_LENGTH = 128
_ALLOWED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:"

_prefix = f"req-{secrets.token_hex(6)}-"
_numbers = count(1)


def request_id(sent: bytes | None) -> str:
    """The id that the client sent, if it is short and plain ASCII; otherwise a new, unique one."""
    if sent and len(sent) <= _MAX_LENGTH and not sent.translate(None, _ALLOWED):
        return sent.decode("ascii")
    return _prefix + hex(next(_numbers))[2:]

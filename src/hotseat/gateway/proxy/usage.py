"""How many tokens a request took: read from the end of the answer, where servers tell it.

In JSON a quote inside a text is escaped, so no answer's text looks like these fields.
"""

from __future__ import annotations

import re

_NULL = (b"null", b" null")
_IN = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d{1,18})')
_OUT = re.compile(rb'"(?:completion|output)_tokens":\s*(\d{1,18})')


def read(tail: bytes) -> tuple[int | None, int | None]:
    """Tokens in and out, from the last ``usage`` of an answer's end; ``None`` where it does not say."""
    at = tail.rfind(b'"usage":')
    while at != -1 and tail.startswith(_NULL, at + 8):
        at = tail.rfind(b'"usage":', 0, at)
    if at == -1:
        return None, None
    asked, answered = _IN.search(tail, at), _OUT.search(tail, at)
    return asked and int(asked[1]), answered and int(answered[1])


def estimate(asked_bytes: int, events: int) -> int:
    """Where the server told nothing (a stream without usage, an answer cut short): a quarter of the
    request's bytes, and a token for each event."""
    return asked_bytes // 4 + events

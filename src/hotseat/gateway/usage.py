"""How many tokens a request took: read from the end of the answer, where servers tell it.

In JSON a quote inside a text is escaped, so no answer's text looks like these fields.
"""

from __future__ import annotations

_IN = (b'"prompt_tokens":', b'"input_tokens":')
_OUT = (b'"completion_tokens":', b'"output_tokens":')
_DIGITS = b"0123456789"


def read(tail: bytes) -> tuple[int | None, int | None]:
    """Tokens in and out, from the last ``usage`` of an answer's end; ``None`` where it does not say."""
    at = tail.rfind(b'"usage":')
    while at != -1 and tail[at + 8 : at + 14].lstrip()[:4] == b"null":
        at = tail.rfind(b'"usage":', 0, at)
    if at == -1:
        return None, None
    return _number(tail, at, _IN), _number(tail, at, _OUT)


def _number(tail: bytes, start: int, names: tuple[bytes, ...]) -> int | None:
    for name in names:
        at = tail.find(name, start)
        if at != -1:
            digits = tail[at + len(name) : at + len(name) + 20].lstrip()
            end = len(digits) - len(digits.lstrip(_DIGITS))
            return int(digits[:end]) if end else None
    return None


def estimate(asked_bytes: int, events: int) -> int:
    """Where the server told nothing (a stream without usage, an answer cut short): a quarter of the
    request's bytes, and a token for each event."""
    return asked_bytes // 4 + events

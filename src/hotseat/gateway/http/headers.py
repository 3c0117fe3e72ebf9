"""A request's header fields: read once, split into what we judge by and what the model's server is told."""

from __future__ import annotations

import functools

from hotseat.gateway.http.errors import bad_request
from hotseat.secret_names import is_secret_name

Headers = list[tuple[bytes, bytes]]

_PICK_AND_PASS = 1
_PICK = 2
_DROP = 3
_CODED = 4

_FIELDS = {
    b"content-type": _PICK_AND_PASS,
    b"content-encoding": _PICK,
    b"host": _PICK,
    b"origin": _PICK,
    b"sec-fetch-site": _PICK,
    b"connection": _PICK,
    b"upgrade": _PICK,
    # Credentials are the gateway's own business: never passed on.
    b"authorization": _PICK,
    b"x-api-key": _PICK,
    b"x-api-secret": _PICK,
    # Sent on with the id that we settle on.
    b"x-request-id": _PICK,
    b"cf-access-client-id": _DROP,  # names the secret that comes with it
    # Hop by hop (RFC 9110 §7.6.1).
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"transfer-encoding": _CODED,
    b"http2-settings": _DROP,
    b"expect": _DROP,
}
"""What is done with a field; one that is not here is passed on as it is, unless it holds a secret."""

_JSON = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)
_USUAL_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b""})


@functools.lru_cache(1024)
def _holds_secret(name: bytes) -> bool:
    return is_secret_name(name.decode("latin-1"))


class RequestHead:
    """The fields of one request."""

    __slots__ = ("is_json", "passed", "picked")

    def __init__(self, headers: Headers) -> None:
        """``headers``: names in lower case. Raises ``Refuse`` (400) for a field that must not repeat."""
        picked: dict[bytes, bytes] = {}
        passed: list[bytes] = []
        for name, value in headers:
            if name not in _FIELDS:
                if not _holds_secret(name):
                    passed += (name, b": ", value, b"\r\n")
            elif (use := _FIELDS[name]) != _DROP:
                if name in picked:
                    raise bad_request(f"the header {name.decode('latin-1')} must not be sent twice")
                picked[name] = value
                if use == _PICK_AND_PASS:
                    passed += (name, b": ", value, b"\r\n")
                elif use == _CODED and value.strip().lower() != b"chunked":
                    raise bad_request(
                        "of transfer codings only chunked is taken", code="unsupported_encoding"
                    )
        connection = picked.get(b"connection", b"")
        if connection not in _USUAL_CONNECTION:
            passed = _without_nominated(passed, connection)
        self.picked = picked
        self.is_json = b"content-encoding" not in picked and picked.get(b"content-type", b"") in _JSON
        """Whether the body is plain JSON by its own word; what says nothing may be, too."""
        self.passed = b"".join(passed)
        """Header lines for the model's server, each with its line end."""


def _without_nominated(passed: list[bytes], connection: bytes) -> list[bytes]:
    """Header lines less those that ``Connection`` names as hop by hop."""
    nominated = {token.strip().lower() for token in connection.split(b",")} - {b"content-type"}
    kept: list[bytes] = []
    for at in range(0, len(passed), 4):
        if passed[at] not in nominated:
            kept += passed[at : at + 4]
    return kept

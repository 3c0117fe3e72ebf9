"""Splits a request's header fields into those the gateway decides by and those the model's server gets."""

from __future__ import annotations

import functools

from hotseat.gateway.http.errors import bad_request
from hotseat.secret_names import is_secret_name

Headers = list[tuple[bytes, bytes]]

_PICK_AND_PASS = 1
"""Read by the gateway, and passed on."""
_PICK = 2
"""Read by the gateway only."""
_DROP = 3
_TRANSFER_CODING = 4
_ACCEPTED_CODING = 5
"""Passed on unless the response is an event stream."""
_COOKIE = 6
"""Read by the gateway only; several fields are one list (HTTP/2 splits it)."""

_FIELDS = {
    b"content-type": _PICK_AND_PASS,
    b"content-encoding": _PICK,
    b"accept-encoding": _ACCEPTED_CODING,
    b"host": _PICK,
    b"origin": _PICK,
    b"sec-fetch-site": _PICK,
    b"connection": _PICK,
    b"upgrade": _PICK,
    # Of a WebSocket's handshake, which is made anew.
    b"sec-websocket-key": _PICK,
    b"sec-websocket-protocol": _PICK,
    # Credentials end at the gateway.
    b"authorization": _PICK,
    b"x-api-key": _PICK,
    b"x-api-secret": _PICK,
    b"cookie": _COOKIE,
    # Set anew, to the id that the gateway decides on.
    b"x-request-id": _PICK,
    # A client's wishes for this request.
    b"x-hotseat-may-evict": _PICK,
    b"x-hotseat-progress": _PICK,
    b"cf-access-client-id": _DROP,  # names the secret that comes with it
    # Hop by hop (RFC 9110 §7.6.1).
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"transfer-encoding": _TRANSFER_CODING,
    b"http2-settings": _DROP,
    b"expect": _DROP,
}
"""What is done with a header field; one that is not listed is passed on unless its name is a secret's."""

_LISTS = frozenset(
    {b"connection", b"upgrade", b"content-encoding", b"sec-websocket-protocol", b"x-request-id"}
)
"""Picked fields that may come on several lines, which are then one list. Of two ids none is taken."""

_JSON = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b""})


@functools.lru_cache(1024)
def _holds_secret(name: bytes) -> bool:
    return is_secret_name(name.decode("latin-1"))


class RequestHead:
    """The header fields of one request."""

    __slots__ = ("accept_encoding", "coding", "is_json", "passed", "picked")

    def __init__(self, headers: Headers) -> None:
        """``headers``: names in lower case. Raises ``RequestRefused`` (400) for a field that must not
        repeat, and for a transfer coding that is not supported."""
        picked: dict[bytes, bytes] = {}
        passed: list[bytes] = []
        accept_encoding: list[bytes] = []
        for name, value in headers:
            if name not in _FIELDS:
                if not _holds_secret(name):
                    passed += (name, b": ", value, b"\r\n")
            elif (use := _FIELDS[name]) == _ACCEPTED_CODING:
                accept_encoding += (name, b": ", value, b"\r\n")
            elif use != _DROP:
                if use == _COOKIE and name in picked:
                    picked[name] += b"; " + value
                    continue
                if name in _LISTS and name in picked:  # RFC 9110 §5.3
                    picked[name] += b", " + value
                    continue
                if name in picked:
                    raise bad_request(f"the header {name.decode('latin-1')} is sent twice; send it once")
                picked[name] = value
                if use == _PICK_AND_PASS:
                    passed += (name, b": ", value, b"\r\n")
                elif use == _TRANSFER_CODING and value.strip().lower() != b"chunked":
                    raise bad_request(
                        "the transfer coding is not supported; use chunked", code="unsupported_encoding"
                    )
        connection = picked.get(b"connection", b"")
        if connection not in _PLAIN_CONNECTION:
            passed = _without_nominated(passed, connection)
        self.picked = picked
        coding = picked.get(b"content-encoding", b"")
        self.coding = b"" if coding.lower() == b"identity" else coding
        """The content codings of the body, to be undone; empty: none."""
        self.is_json = b"content-encoding" not in picked and picked.get(b"content-type", b"") in _JSON
        """Whether the content type says JSON, without a content encoding. (A body without a type may be
        JSON, too.)"""
        self.passed = b"".join(passed)
        """Header lines for the model's server, each with its line end; without ``Accept-Encoding``."""
        self.accept_encoding = b"".join(accept_encoding)
        """The lines of ``Accept-Encoding``; empty without one."""


def _without_nominated(passed: list[bytes], connection: bytes) -> list[bytes]:
    """Drop the header lines that ``Connection`` names as hop by hop."""
    nominated = {token.strip().lower() for token in connection.split(b",")} - {b"content-type"}
    kept: list[bytes] = []
    for at in range(0, len(passed), 4):
        if passed[at] not in nominated:
            kept += passed[at : at + 4]
    return kept

"""The HTTP server: whatever bytes come, the responses are well formed, and every request that is accepted is
read in the same way by h11, where h11 accepts it.
"""

from __future__ import annotations

import h11

from fuzz.wires import MARK, REPEATED, Talk, packets, responses
from hotseat.gateway.http.errors import ErrorResponse
from hotseat.gateway.http.request_cycle import BodyTooLarge, RequestCycle

MAX_BODY = 100_000
Fields = list[tuple[bytes, bytes]]
Seen = tuple[bytes, bytes, bytes, Fields]
"""Method, target, body, fields."""
_NOT_COMPARED = frozenset({b"content-length", b"connection", b"transfer-encoding"})
_TOO_LARGE = ErrorResponse(status=413, code="body_too_large", message="too large")


class Echo:
    """Accepts and records every request."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.methods: list[bytes] = []

    async def answer(self, cycle: RequestCycle) -> None:
        self.methods.append(cycle.method)
        try:
            body = await cycle.read(MAX_BODY)
        except BodyTooLarge:
            cycle.refuse(_TOO_LARGE)
            return
        fields = [field for field in cycle.headers if field[0] not in _NOT_COMPARED]
        self.seen.append((cycle.method, cycle.path + cycle.query, body, fields))
        cycle.respond(200, b"content-type: text/plain\r\n", b"accepted")


ECHO = Echo()
TALK = Talk(ECHO)


def one(data: bytes) -> None:
    """One connection's bytes (the first says how they are cut)."""
    ECHO.seen.clear()
    ECHO.methods.clear()
    pieces = packets(data)
    answers = responses(TALK.say(pieces), ECHO.methods)
    assert len(answers) <= len(ECHO.methods) + 1, "more answers than requests"
    for ours, theirs in zip(ECHO.seen, other_reading(b"".join(pieces)), strict=False):
        assert ours[0] == theirs[0], (ours, theirs)
        assert ours[2:] == theirs[2:], (ours, theirs)
        if theirs[1].startswith(b"/"):
            assert ours[1] == theirs[1].partition(b"#")[0], (ours, theirs)


def other_reading(data: bytes) -> list[Seen]:
    """The whole requests that h11 reads before it finds something wrong."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    found: list[Seen] = []
    method = target = b""
    body = bytearray()
    fields: Fields = []
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = bytes(event.method), bytes(event.target), bytearray()
                fields = [(name, value) for name, value in event.headers if name not in _NOT_COMPARED]
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, bytes(body), fields))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return found
                connection.start_next_cycle()
            else:
                return found
    except h11.ProtocolError:
        return found


_HEAD = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n"
SHAPES = [
    b"Content-Length: 2\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0002\r\n{}\r\n00\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"Content-Length : 2\r\n\r\n{}",
    b"Content-Length: +2\r\n\r\n{}",
    b"Content-Length: 2, 2\r\n\r\n{}",
    b"Content-Length: 02\r\n\r\n{}",
    b"Content-Length: 18446744073709551618\r\n\r\n{}",
    b"Content-Length: 0x2\r\n\r\n{}",
    b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    b"X: a\rContent-Length: 2\r\n\r\n{}",
    b"X: a\nContent-Length: 2\n\n{}",
    b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
    b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
    b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\n{}",
]
"""Continuations of a request line and a Host; many are read differently by different parsers."""
_USUAL = _HEAD + b"Content-Length: 2\r\nX: a\r\n\r\n{}"
TWINS = [
    _USUAL + _USUAL,
    _USUAL + b"\r\n",
    _USUAL[:-1],
    _USUAL.replace(b"{}", b"{12}"),
    _USUAL.replace(b": 2", b": 4").replace(b"{}", b"{12}"),
    _USUAL.replace(b": 2", b": 4").replace(b"{}", b"{12}") + _USUAL,
    _USUAL.replace(b": 2", b": 02"),
    _USUAL.replace(b": 2", b": 2 "),
    _USUAL.replace(b": 2", b": +2"),
    _USUAL.replace(b": 2", b": 2, 2"),
    _USUAL.replace(b": 2", b": 0").replace(b"{}", b""),
    _USUAL.replace(b"X: a", b"X: b"),
    _USUAL.replace(b"X: a", b"X: abcd"),
    _USUAL.replace(b"X: a", b"Content-Length: 2"),
    _USUAL.replace(b"X: a", b"Transfer-Encoding: chunked"),
    _USUAL.replace(b"X: a\r\n\r\n", b"\r\n"),
    _USUAL.replace(b"X: a\r\n\r\n", b"X: a\n\n"),
    _USUAL.replace(b"X: a\r\n\r\n", b"X: a\r\n"),
]
"""Messages that differ a little from the one before."""
SEEDS = [
    *(bytes([cut]) + _HEAD + shape for shape in SHAPES for cut in (0, 1)),
    *(b"\x00" + (_HEAD + shape) * 2 + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" for shape in SHAPES),
    *(bytes([REPEATED]) + _USUAL + MARK + twin + MARK + _USUAL for twin in TWINS),
    *(bytes([REPEATED]) + _HEAD + shape + MARK + _HEAD + SHAPES[0] for shape in SHAPES),
    b"\x00GET http://localhost/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00HEAD /v1/models HTTP/1.0\r\n\r\n",
    b"\x00OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n",
]
WORDS = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"OPTIONS ",
    b"CONNECT ",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n\r\n",
    b"\r\n",
    b"Host: localhost\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: ",
    b"chunked",
    b"identity",
    b"gzip",
    b"Connection: ",
    b"Upgrade: ",
    b"close",
    b"keep-alive",
    b"upgrade",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"2\r\n{}\r\n",
    b"\x00",
    b"\t",
    b" ",
    b"\x0b",
    b"\x0c",
    b"\xff",
    b"http://",
    b"/v1/models",
    b"?",
    MARK,
    b"#",
    b"%2f",
]

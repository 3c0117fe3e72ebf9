"""Fast fake model server, which does the same little work for every proxy under test.

    python -m benchmarks.fake_upstream --port 18090

Answers ``GET /health``, ``GET /v1/models`` and any POST. The response to a POST is JSON of 500 bytes or,
if the body has a ``"bench"`` object, a stream of server-sent events:

``rate``    chunks per second (0: a flood); streams of one rate write in turn, at equal distances,
``chunks``  number of chunks before ``[DONE]`` (0: until the client disconnects),
``step``    a name: a chunk is written only when ``POST /step?name`` asks for one.

Each chunk contains the time at which it was written (``t``, CLOCK_MONOTONIC in ns, which all processes of
a machine share), so that a client can compute its latency.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

ANSWER_BYTES = 500
_BODY = {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "fake"} | {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}


def _plain(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _answer() -> bytes:
    bare = json.dumps(_BODY).encode()
    return _plain(bare.replace(b'"content": ""', b'"content": "%b"' % (b"x" * (ANSWER_BYTES - len(bare)))))


ANSWER = _answer()
HEALTH = _plain(b"{}")
MODELS = _plain(b'{"object":"list","data":[{"id":"fake","object":"model","created":1,"owned_by":"bench"}]}')
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_EVENT = (
    b'data: {"t":%016d,"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"fake",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_CHUNK = b"%x\r\n" % len(_EVENT % 0) + _EVENT + b"\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Stream:
    """One open stream of events."""

    __slots__ = ("chunks", "transport")

    def __init__(self, transport: asyncio.Transport, chunks: int) -> None:
        self.transport = transport
        self.chunks = chunks or 1 << 62

    def send(self) -> bool:
        """Write one chunk; ``False`` if it was the last, or if the client has disconnected."""
        if self.transport.is_closing():
            return False
        self.chunks -= 1
        if self.chunks > 0:
            self.transport.write(_CHUNK % time.monotonic_ns())
            return True
        self.transport.write(_CHUNK % time.monotonic_ns() + DONE)
        return False


class Pacer:
    """Writes on all streams of one rate, one after the other, at equal distances.

    Uses a timerfd, since the event loop's timers have a resolution of 1 ms and would bunch the chunks.
    """

    _libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, rate: float) -> None:
        self._gap_ns = 1e9 / rate
        self._ring: deque[Stream] = deque()
        self._fd = self._libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._fd, self._due)

    def add(self, stream: Stream) -> None:
        if stream.send():
            self._ring.append(stream)
            self._arm()

    def _arm(self) -> None:
        gap = int(self._gap_ns / len(self._ring)) if self._ring else 0
        spec = struct.pack("qqqq", gap // 10**9, gap % 10**9, gap // 10**9, gap % 10**9)
        self._libc.timerfd_settime(self._fd, 0, spec, None)

    def _due(self) -> None:
        try:
            (expired,) = struct.unpack("Q", os.read(self._fd, 8))
        except BlockingIOError:
            return
        ring = self._ring
        left = False
        for _ in range(min(expired, len(ring))):
            stream = ring.popleft()
            if stream.send():
                ring.append(stream)
            else:
                left = True
        if left:
            self._arm()


class SharedState:
    """State that all connections share."""

    def __init__(self, first_byte_file: str | None) -> None:
        self.pacers: dict[float, Pacer] = {}
        self.steps: dict[str, Stream] = {}
        self.first_byte_file = first_byte_file
        """File for the lag until the first POST; ``None`` once it is written."""
        self.listening_ns = 0

    def pace(self, rate: float, stream: Stream) -> None:
        if rate not in self.pacers:
            self.pacers[rate] = Pacer(rate)
        self.pacers[rate].add(stream)

    def record_first(self, arrived_ns: int) -> None:
        """Record, once, the time from listening to the first POST."""
        if self.first_byte_file is not None:
            with open(self.first_byte_file, "a") as file:
                file.write(json.dumps({"lag_ns": arrived_ns - self.listening_ns}) + "\n")
            self.first_byte_file = None


class Connection(asyncio.Protocol):
    """Connection of one client; the methods ``on_…`` are callbacks of the parser."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._flooding: Stream | None = None
        self._paused = False
        self._arrived_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._flooding = None

    def data_received(self, data: bytes) -> None:
        self._arrived_ns = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if body:
            if self._shared.first_byte_file is not None:
                self._shared.record_first(self._arrived_ns)
            if b'"bench"' in body:
                self._open(json.loads(body))
            else:
                self._transport.write(ANSWER)
        elif self._url.startswith(b"/step?"):
            self._step(self._url[6:].decode())
        elif self._url == b"/health":
            self._transport.write(HEALTH)
        elif self._url == b"/v1/models":
            self._transport.write(MODELS)
        else:
            self._transport.write(_plain(b"{}", b"404 Not Found"))

    def _open(self, order: dict[str, Any]) -> None:
        bench = order.get("bench", {})
        stream = Stream(self._transport, int(bench.get("chunks", 0)))
        self._transport.write(STREAM_HEAD)
        if "step" in bench:
            self._shared.steps[bench["step"]] = stream
        elif bench.get("rate"):
            self._shared.pace(float(bench["rate"]), stream)
        else:
            self._flooding = stream
            self._flood()

    def _step(self, name: str) -> None:
        stream = self._shared.steps.get(name)
        if stream is None:
            self._transport.write(_plain(b"{}", b"404 Not Found"))
            return
        if not stream.send():
            del self._shared.steps[name]
        self._transport.write(HEALTH)

    def _flood(self) -> None:
        """Write one chunk per turn of the event loop, so that each is sent by itself."""
        if self._flooding is None or self._paused:
            return
        if self._flooding.send():
            asyncio.get_running_loop().call_soon(self._flood)
        else:
            self._flooding = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flood()


async def serve(args: argparse.Namespace) -> None:
    """Listen after the delay; serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    shared = SharedState(args.first_byte_file)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", args.port))
    if args.listen_after:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), args.listen_after)
    shared.listening_ns = time.monotonic_ns()
    server = await loop.create_server(lambda: Connection(shared), sock=sock, backlog=4096)
    if args.port_file:
        args.port_file.write_text(f"{sock.getsockname()[1]} {os.getpid()}")
    await stop.wait()
    server.close()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="benchmarks.fake_upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=18090, help="port to listen on (0: any free one)")
    parser.add_argument("--port-file", type=Path, help="write 'PORT PID' to this file once listening")
    parser.add_argument("--core", type=int, help="pin this process to a core")
    parser.add_argument(
        "--listen-after", type=float, default=0.0, help="refuse connections for this long, in s"
    )
    parser.add_argument(
        "--first-byte-file", help="append the lag from listening to the first POST to this file"
    )
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    uvloop.run(serve(args))


if __name__ == "__main__":
    main()

"""Load generator: one process on the load core that takes orders, one JSON object per line.

Each order (``{"do": "streams", …}``) gets one JSON object as its result. The load generator reads the
proxy's CPU clock and memory itself, exactly when its own count begins and ends. Nothing is retried: a
request that fails is counted as an error.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from benchmarks.measure import cpu_ns, quantile, rss_kib

_STAMP = b'{"t":'
Result = dict[str, float]


@dataclass(slots=True)
class Order:
    """Order to the load generator: the target and the load."""

    host: str
    port: int
    path: str
    pids: list[int]
    headers: dict[str, str] = field(default_factory=dict)
    count: int = 1
    """Concurrent streams or connections."""
    rate: float = 0.0
    """Chunks per second and stream; 0: a flood."""
    chunks: int = 0
    """Chunks per stream; 0: until the load generator closes it."""
    total: int = 0
    """Total number of streams or requests."""
    window_s: float = 1.0
    settle_s: float = 0.5
    """Pause between opening the last stream and the start of the window."""
    ramp: float = 2000.0
    """Maximum number of streams opened per second."""
    latencies: bool = False

    def request(self) -> bytes:
        """Bytes of one request: a JSON body of 600 bytes, streamed if there are chunks or a rate."""
        body: dict[str, Any] = {
            "model": "fake",
            "messages": [{"role": "user", "content": ""}],
            "temperature": 0.2,
            "max_tokens": 100,
        }
        if self.rate or self.chunks:
            body |= {"stream": True, "bench": {"rate": self.rate, "chunks": self.chunks}}
        body["messages"][0]["content"] = "x" * (600 - len(_compact(body)))
        payload = _compact(body)
        head = f"POST {self.path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\nuser-agent: bench\r\n"
        head += "accept: */*\r\ncontent-type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload


def _compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


class Tally:
    """Counts of all connections of one order."""

    def __init__(self, latencies: bool) -> None:
        self.events = 0
        self.errors = 0
        self.opened = 0
        self.ended = 0
        self.first_error = ""
        self.latencies: list[int] | None = [] if latencies else None

    def error(self, what: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or what


class StreamClient(asyncio.Protocol):
    """Connection with one stream at a time; ``ended`` is called with its success at the last byte."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._started = False
        self._head = b""
        self._tail = b""
        self.first_ns = 0
        self.answered = asyncio.Event()
        """Whether the headers have arrived, or the stream has failed."""
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def begin(self, request: bytes) -> None:
        """Send the request of a new stream on this connection."""
        self._started = False
        self._head = self._tail = b""
        self.first_ns = 0
        self.ended = asyncio.get_running_loop().create_future()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        tally = self._tally
        if not self._started:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            if not self._head.startswith(b"HTTP/1.1 200 "):
                self._finish(self._head[:200].decode(errors="replace"))
                self.transport.abort()
                return
            self._started = True
            tally.opened += 1
            self.answered.set()
            data = self._head
        tally.events += (seen := data.count(_STAMP))
        if seen and not self.first_ns:
            self.first_ns = now
        if tally.latencies is not None:
            at = data.find(_STAMP)
            while at >= 0:
                tally.latencies.append(now - int(data[at + 5 : at + 21]))
                at = data.find(_STAMP, at + 21)
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        if self._tail == b"0\r\n\r\n":
            self._finish("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish("the connection was lost in mid-stream")

    def _finish(self, fault: str) -> None:
        self.answered.set()
        if not self.ended.done():
            self._tally.ended += 1
            if fault:
                self._tally.error(fault)
            self.ended.set_result(not fault)


class RequestClient(asyncio.Protocol):
    """Connection in a closed loop: each request is sent when the previous response is complete."""

    def __init__(self, order: Order, latencies: list[int], done: Callable[[str], None]) -> None:
        self._request = order.request()
        self._latencies = latencies
        self._done = done
        self._buffer = b""
        self._sent_ns = 0
        self.running = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent_ns = time.monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        if not head.startswith(b"http/1.1 200 "):
            self._stop(data[:200].decode(errors="replace"))
            return
        at = head.find(b"content-length:")
        if at < 0:  # then the response is chunked
            if not data.endswith(b"0\r\n\r\n"):
                return
        elif len(data) < end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0]):
            return
        self._buffer = b""
        self._latencies.append(now - self._sent_ns)
        if self.running:
            self._send()
        else:
            self._stop("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop("the connection was lost before the answer")

    def _stop(self, fault: str) -> None:
        done, self._done = self._done, lambda fault: None
        done(fault)
        self._transport.close()


async def _open(order: Order, tally: Tally) -> list[StreamClient]:
    """Open streams at the rate of the ramp, until each has its headers or has failed."""
    loop = asyncio.get_running_loop()
    request = order.request()
    clients = []
    began = time.monotonic()
    for number in range(order.count):
        ahead = number / order.ramp - (time.monotonic() - began)
        if ahead > 0.002:
            await asyncio.sleep(ahead)
        try:
            _, client = await loop.create_connection(lambda: StreamClient(tally), order.host, order.port)
        except OSError as error:
            tally.error(str(error))
            continue
        client.begin(request)
        clients.append(client)
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(*(client.answered.wait() for client in clients))
    except TimeoutError:
        for _ in range(order.count - tally.opened - tally.errors):
            tally.error("no headers within 30 s")
    return clients


async def streams(order: Order) -> Result:
    """Run concurrent streams and count during a window of time."""
    tally = Tally(latencies=False)
    rss_before = rss_kib(order.pids)
    clients = await _open(order, tally)
    await asyncio.sleep(order.settle_s)
    tally.latencies = [] if order.latencies else None
    tally.events, began, cpu = 0, time.monotonic(), cpu_ns(order.pids)
    await asyncio.sleep(order.window_s)
    events, cpu, took = tally.events, cpu_ns(order.pids) - cpu, time.monotonic() - began
    found = sorted(tally.latencies or ())
    tally.latencies = None
    rss_open = rss_kib(order.pids)
    broken = sum(client.ended.done() for client in clients)
    _tell(tally.first_error)
    errors = max(tally.errors, broken)
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(order.settle_s)
    result: Result = {
        "chunks": events,
        "chunks_per_s": events / took,
        "delivered": events / took / (order.count * order.rate) if order.rate else 1.0,
        "cpu_us_per_chunk": cpu / 1000 / max(events, 1),
        "busy": cpu / 1e9 / took,
        "errors": errors,
        "rss_before_kib": rss_before,
        "rss_open_kib": rss_open,
        "rss_after_kib": rss_kib(order.pids),
    }
    if found:
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            result[f"latency_{name}_us"] = quantile(found, share) / 1000
    return result


async def flood(order: Order) -> Result:
    """Run unpaced streams of a fixed length to their ends."""
    tally = Tally(latencies=False)
    loop = asyncio.get_running_loop()
    request = order.request()
    pairs = [
        await loop.create_connection(lambda: StreamClient(tally), order.host, order.port)
        for _ in range(order.count)
    ]
    began, cpu = time.monotonic(), cpu_ns(order.pids)
    for _, client in pairs:
        client.begin(request)
    await asyncio.gather(*(client.ended for _, client in pairs))
    took, cpu = time.monotonic() - began, cpu_ns(order.pids) - cpu
    for transport, _ in pairs:
        transport.close()
    _tell(tally.first_error)
    sent = order.count * order.chunks
    return {
        "chunks_per_s": sent / took,
        "cpu_us_per_chunk": cpu / 1000 / sent,
        "busy": cpu / 1e9 / took,
        "errors": tally.errors,
    }


async def churn(order: Order) -> Result:
    """Run ``total`` short streams, ``count`` at a time, each on a connection of its own."""
    tally = Tally(latencies=False)
    loop = asyncio.get_running_loop()
    request = order.request()
    left = order.total

    async def visitor() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            try:
                transport, client = await loop.create_connection(
                    lambda: StreamClient(tally), order.host, order.port
                )
            except OSError as error:
                tally.error(str(error))
                continue
            client.begin(request)
            await client.ended
            transport.close()

    began, cpu = time.monotonic(), cpu_ns(order.pids)
    await asyncio.gather(*(visitor() for _ in range(order.count)))
    took, cpu = time.monotonic() - began, cpu_ns(order.pids) - cpu
    _tell(tally.first_error)
    return {
        "streams_per_s": order.total / took,
        "cpu_us_per_stream": cpu / 1000 / order.total,
        "errors": tally.errors,
        "rss_after_kib": rss_kib(order.pids),
    }


async def first_token(order: Order) -> Result:
    """Run ``total`` streams in sequence on one connection; measure from the request to the first event."""
    tally = Tally(latencies=False)
    request = order.request()
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(lambda: StreamClient(tally), order.host, order.port)
    waits: list[float] = []
    for _ in range(order.total):
        sent = time.monotonic_ns()
        client.begin(request)
        if not await client.ended:
            break
        waits.append((client.first_ns - sent) / 1000)
    transport.close()
    _tell(tally.first_error)
    return {
        "ttft_p50_us": quantile(waits, 0.5),
        "ttft_p99_us": quantile(waits, 0.99),
        "errors": tally.errors,
    }


async def requests(order: Order) -> Result:
    """Run plain requests over ``count`` connections in a closed loop."""
    loop = asyncio.get_running_loop()
    latencies: list[int] = []
    faults: list[str] = []
    finished = asyncio.Event()
    open_now = order.count

    def done(fault: str) -> None:
        nonlocal open_now
        open_now -= 1
        if fault:
            faults.append(fault)
        if not open_now:
            finished.set()

    clients = [
        (await loop.create_connection(lambda: RequestClient(order, latencies, done), order.host, order.port))[
            1
        ]
        for _ in range(order.count)
    ]
    await asyncio.sleep(order.settle_s)
    latencies.clear()
    began, cpu = time.monotonic(), cpu_ns(order.pids)
    await asyncio.sleep(order.window_s)
    found, took, cpu = latencies[:], time.monotonic() - began, cpu_ns(order.pids) - cpu
    for client in clients:
        client.running = False
    await finished.wait()
    _tell(faults[0] if faults else "")
    return {
        "requests_per_s": len(found) / took,
        "cpu_us_per_request": cpu / 1000 / max(len(found), 1),
        "busy": cpu / 1e9 / took,
        "p50_us": quantile(found, 0.5) / 1000,
        "p99_us": quantile(found, 0.99) / 1000,
        "errors": len(faults),
    }


def _tell(error: str) -> None:
    """Print the first error for the user; the result holds the count."""
    if error:
        print(f"  {error}", file=sys.stderr)


JOBS: dict[str, Callable[[Order], Awaitable[Result]]] = {
    "streams": streams,
    "flood": flood,
    "churn": churn,
    "first_token": first_token,
    "requests": requests,
}


async def _work() -> None:
    loop = asyncio.get_running_loop()
    gc.disable()  # pauses of this process must not look like the proxy's; collected between orders
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        result = await JOBS[order.pop("do")](Order(**order))
        print(json.dumps(result), flush=True)
        gc.collect()


if __name__ == "__main__":
    uvloop.run(_work())

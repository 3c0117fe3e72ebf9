"""One request on its way through: the seat asked for, the wait, the relay, the end.

Where the model is ready nothing here waits but for the model's server itself. The response is handed
on inside the parser's callbacks; the client's back-pressure reaches the server by pausing the read.
The client's end cancels the task, and with it whatever was going on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from hotseat.core.errors import Reason
from hotseat.core.views import Loading
from hotseat.gateway import errors, usage, waiting
from hotseat.gateway.client import Client
from hotseat.gateway.doubts import Doubts, End, judge
from hotseat.gateway.routing import Route
from hotseat.gateway.seats import Lease, Refused, Seats, Ticket
from hotseat.gateway.upstream import Pool, UpstreamConnection, UpstreamFailure, Upstreams
from hotseat.gateway.waiting import Patience

_log = logging.getLogger(__name__)

LAST_WORDS_S = 0.2
"""What a run wrote before it ended may still be on its way to us."""
REASON_S = 0.3
"""How long a failed answer waits for the news that its run has ended, and why."""
GONE_S = 3.0
"""The same for a run that cannot be reached: if it has ended, the request goes to the next one."""
TRIES = 3
"""Runs that one request is given to at most; only what got no byte of it is tried again."""
_ERROR_BODY_BYTES = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Asked:
    """What a request asks of a model's server, ready to be sent."""

    route: Route
    method: bytes
    target: bytes
    """Path and query at the server."""
    headers: bytes
    """Header lines to pass on."""
    content: bytes
    size: int
    """Of the body as the client sent it."""
    stream: bool
    anthropic: bool
    """Whose shape errors have."""
    priority: int = 0
    key: str = ""
    """The name of the key that asks; requests of one model are served fairly by key."""


class Exchange:
    """One request to a model and its response."""

    __slots__ = (
        "_asked",
        "_awaited",
        "_broken",
        "_client",
        "_collected",
        "_connection",
        "_done",
        "_doubts",
        "_early",
        "_gone",
        "_hold",
        "_last",
        "_lease",
        "_loading",
        "_second",
        "_sse",
        "_third",
        "_tries",
        "code",
        "failure",
        "first_byte_at",
        "granted_at",
        "refused",
        "truncated",
        "upstream_status",
        "usage",
    )

    def __init__(self, client: Client, asked: Asked) -> None:
        self._client = client
        self._asked = asked
        self._early = False
        """The headers went before the model's server had answered."""
        self._sse = False
        self._last = b"\n\n"
        self._second = self._third = b""
        """What came before the last piece: where the reason of a stream's end stands."""
        self._awaited = False
        """No byte of the response's body has come yet, and somebody watches the time."""
        self._lease: Lease | None = None
        self._doubts: Doubts | None = None
        self._collected: bytearray | None = None
        self._connection: UpstreamConnection | None = None
        self._done: asyncio.Future[UpstreamFailure | None] | None = None
        self._broken: Reason | None = None
        self._gone: asyncio.Future[None] | None = None
        self._tries = 1
        self._loading: Loading | None = None
        self.refused = False
        self.code = ""
        """Of the error that we told the client, if we did."""
        self.failure: str | None = None
        """Why the answer is missing or cut short, if it is."""
        self.truncated = False
        """The server cut the answer short and did not call it an error."""
        self.upstream_status = 0
        self._hold: asyncio.Timeout | None = None
        """Runs out where a silent request may not be held any longer."""
        self.granted_at: float | None = None
        """When it had its seat, in ``time.monotonic``."""
        self.first_byte_at: float | None = None
        """When the first byte of the answer's body came."""
        self.usage: tuple[int | None, int | None] = (None, None)
        """Tokens in and out, where the server told them."""

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._asked.route.model

    async def run(self, seats: Seats, upstreams: Upstreams, patience: Patience) -> None:
        """Serve the request to its end. Cancelled when the client goes.

        Raises ``Refuse`` (503) when it was held as long as its route allows.
        """
        held_s = self._asked.route.max_hold_s
        if held_s is None or self._asked.stream:
            await self._run(seats, upstreams, patience)
            return
        try:
            async with asyncio.timeout(held_s) as self._hold:
                await self._run(seats, upstreams, patience)
        except TimeoutError:
            self.refused = True
            raise errors.Refuse(errors.held(self.model, held_s, self._loading)) from None

    async def _run(self, seats: Seats, upstreams: Upstreams, patience: Patience) -> None:
        try:
            while await self._try(seats, upstreams, patience):
                pass
        except Refused as refused:
            self.refused = True
            problem = errors.from_refusal(refused.refusal, self._loading)
            self.code = problem.code
            self._tell(problem)

    async def _try(self, seats: Seats, upstreams: Upstreams, patience: Patience) -> bool:
        """Stand in line and be served; true when the run had gone before it got the request: once more."""
        client, asked = self._client, self._asked
        with seats.ask(asked.route.model, priority=asked.priority, key=asked.key) as ticket:
            if ticket.lease is None:
                await self._wait(ticket, patience)
            lease = ticket.lease
            assert lease is not None
            self.granted_at = time.monotonic()
            self._loading = None
            failure = await self._relay(lease, upstreams)
            if failure is not None:
                if failure.unreachable and self._broken is not None and self._tries < TRIES:
                    self._tries, self._broken = self._tries + 1, None
                    return True
                self._fail(failure, asked.route.model)
            if client.is_slow:
                await client.drained()
        return False

    async def _wait(self, ticket: Ticket, patience: Patience) -> None:
        asked = self._asked
        try:
            await waiting.wait(
                ticket, self._client, route=asked.route.name, stream=asked.stream, patience=patience
            )
        except (Refused, asyncio.CancelledError):
            self._loading = ticket.loading()
            raise
        finally:
            self._early = self._client.response_started

    async def _relay(self, lease: Lease, upstreams: Upstreams) -> UpstreamFailure | None:
        pool = upstreams.pool(lease.upstream)
        self._lease, self._doubts = lease, pool.doubts
        lease.on_break(self._on_break)
        try:
            failure = await self._attempt(pool)
            while failure is not None and failure.stale and self._broken is None:
                failure = await self._attempt(pool)
            if failure is not None and not failure.silent and self._broken is None:
                await self._why(failure)
            return failure
        finally:
            lease.on_break(None)
            if self._awaited:
                pool.doubts.first_byte(self)
            self._client.source = None
            if self._connection is not None:
                self._connection.abandon()

    async def _why(self, failure: UpstreamFailure) -> None:
        """A connection ends a little before its run is known to have ended: wait for that, and its reason."""
        self._suspect(failure.words)
        self._gone = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._gone], timeout=GONE_S if failure.unreachable else REASON_S)
        self._gone = None

    async def _attempt(self, pool: Pool) -> UpstreamFailure | None:
        """Send the request and see the response through."""
        connection = pool.take()
        if connection is None:
            try:
                connection = await pool.connect()
            except UpstreamFailure as failure:
                return failure
        client = self._client
        self._done = asyncio.get_running_loop().create_future()
        self._connection = client.source = connection
        connection.send(self._request(pool), self, method_is_head=self._asked.method == b"HEAD")
        if (limit_s := self._asked.route.first_byte_timeout_s) is not None:
            self._awaited = True
            pool.doubts.await_first_byte(self, limit_s)
        if client.is_slow:
            connection.pause_reading()
        return await self._done

    def _request(self, pool: Pool) -> bytes:
        """The request as it goes to the model's server. (Nothing keeps it while the answer runs.)"""
        asked = self._asked
        content = asked.content
        sized = content or asked.method in _WITH_BODY
        return b"".join(
            (
                asked.method,
                b" ",
                pool.base_path,
                asked.target,
                pool.lead,
                asked.route.authorization,
                asked.headers,
                b"content-length: %d\r\n\r\n" % len(content) if sized else b"\r\n",
                content,
            )
        )

    # The response (Sink)

    def on_head(self, status: int, headers: bytes, length: bytes | None, content_type: bytes) -> None:
        self.upstream_status = status
        self._asked.content = b""  # it will not be sent again
        if self._hold is not None:
            self._hold.reschedule(None)
        self._sse = content_type.startswith(b"text/event-stream")
        if not self._sse:  # a stream's header goes before its server has done any work
            self._first_byte()
        if not self._early:
            self._client.start(status, headers, length)
        elif status >= 400 or not self._sse:
            self._collected = bytearray()

    def _first_byte(self) -> None:
        if self._awaited:
            self._awaited = False
            assert self._doubts is not None
            self._doubts.first_byte(self)

    def on_data(self, data: bytes) -> None:
        if self._awaited:
            self._first_byte()
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
        if self._collected is None:
            self._third = self._second
            self._second = self._last
            self._last = data
            self._client.write(data)
        elif len(self._collected) < _ERROR_BODY_BYTES:
            self._collected += data

    def on_read(self) -> None:
        self._client.flush()

    def on_end(self) -> None:
        if self._collected is not None:
            tail = bytes(self._collected)
            self._tell(errors.from_upstream(self.upstream_status, tail))
        else:
            tail = self._third + self._second + self._last if self._second else self._last
            self._client.finish()
        self.usage = usage.read(tail)
        self._judge(judge(self.upstream_status, tail))
        self._ended(None)

    def _judge(self, end: End) -> None:
        """What the end of the answer says of its server, where the end was not our doing."""
        assert self._doubts is not None
        if end is End.GOOD:
            self._doubts.good()
        elif self._broken is None and end is End.ABORTED:
            self.truncated = True
            _log.warning("model %s: its server cut an answer short (finish_reason: abort)", self.model)
        elif self._broken is None:
            self._suspect(f"it answers errors ({self.upstream_status})", certain=self._doubts.error(end))

    def _suspect(self, why: str, *, certain: bool = False) -> None:
        assert self._lease is not None
        self._lease.suspect(why, certain=certain)

    def on_failure(self, failure: UpstreamFailure) -> None:
        self._ended(failure)

    def _ended(self, failure: UpstreamFailure | None) -> None:
        self._connection = None
        if self._done is not None and not self._done.done():
            self._done.set_result(failure)

    # Failures

    def out_of_patience(self, limit_s: float) -> None:
        """No byte has come for as long as anybody should wait."""
        self._awaited = False
        if self._connection is None or self._doubts is None:
            return
        words = f"its server sent nothing for {limit_s:g} s"
        self._suspect(words, certain=self._doubts.silence())
        if self._connection is not None:  # unless being suspected has ended it already
            self._connection.fail(words, silent=True)

    def _on_break(self, reason: Reason) -> None:
        self._broken = reason
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        # A server that is told to stop may end its answers as if they were whole (vLLM does).
        words_s = 0.0 if reason.alive else LAST_WORDS_S
        asyncio.get_running_loop().call_later(words_s, self._give_up)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.fail("its server has ended")

    def _fail(self, failure: UpstreamFailure, model: str) -> None:
        """Tell the client, in the way that is still open, that there is no (whole) answer."""
        words = failure.words
        if self._broken is not None:
            has = "is being stopped" if self._broken.alive else "has ended"
            words = f"its server {has}: {self._broken.for_clients()}"
        self.failure = words
        client = self._client
        if client.response_started and not self._early and not self._sse:
            client.abort()  # only a cut connection tells such a client that something is missing
        else:
            status = 503 if failure.unreachable else 504 if failure.silent else 502
            problem = errors.unreachable(model, words, status=status)
            self.code = problem.code
            self._tell(problem)

    def _tell(self, problem: errors.Problem) -> None:
        client, anthropic = self._client, self._asked.anthropic
        if not client.response_started:
            client.refuse(problem, anthropic=anthropic)
            return
        if not self._last.endswith(b"\n\n"):
            client.write(b"\n" if self._last.endswith(b"\n") else b"\n\n")
        client.write(errors.event(problem, anthropic=anthropic))
        client.finish()


class Metered(Exchange):
    """An exchange that counts events too, for limits on tokens where the server tells no usage."""

    __slots__ = ("events",)

    def __init__(self, client: Client, asked: Asked) -> None:
        super().__init__(client, asked)
        self.events = 0

    def on_data(self, data: bytes) -> None:
        self.events += data.count(b"data:")
        super().on_data(data)


_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

"""One request to a model and its response: the seat asked for, the wait, the relay, the end.

Where the model is ready and a connection to it rests, the request is sent at once, and the rest happens
inside the parser's callbacks: the response is handed on as it comes, and the client's back-pressure
reaches the server by pausing the read. What must be waited for (a model that starts, a new connection,
the reason of a failure) is a coroutine, cancelled when the client goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any, NamedTuple, Protocol

import msgspec

from hotseat.core.errors import Reason
from hotseat.core.views import Loading
from hotseat.gateway.http import errors
from hotseat.gateway.http.outlier_detection import OutlierDetector, ResponseEnd, classify_end
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.upstream import ConnectionPool, UpstreamConnection, UpstreamFailure, UpstreamPools
from hotseat.gateway.proxy import usage, waiting
from hotseat.gateway.proxy.lease import Lease, LeaseProvider, LeaseRefused, Ticket
from hotseat.gateway.proxy.prepare import UpstreamRequest
from hotseat.gateway.proxy.waiting import WaitPolicy

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


class Owner(Protocol):
    """Whose exchange it is (``gateway.proxy.request``)."""

    def end(self) -> None:
        """It has ended without a task."""

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """It has to wait for something after all."""


class ForwardServices(NamedTuple):
    """What all exchanges need."""

    seats: LeaseProvider
    upstreams: UpstreamPools
    patience: WaitPolicy


class Forward(msgspec.Struct, eq=False):
    """One request to a model and its response.

    A struct, since that is made in C: most of what it keeps never differs from these first values.
    """

    _owner: Owner
    _client: RequestCycle
    _asked: UpstreamRequest
    _means: ForwardServices
    _early: bool = False
    """The headers went before the model's server had answered."""
    _sse: bool = False
    _last: bytes = b"\n\n"
    _second: bytes = b""
    _third: bytes = b""
    """What came before the last piece: where the reason of a stream's end stands."""
    _awaited: bool = False
    """No byte of the response's body has come yet, and somebody watches the time."""
    _ticket: Ticket | None = None
    _lease: Lease | None = None
    _pool: ConnectionPool | None = None
    _doubts: OutlierDetector | None = None
    _collected: bytearray | None = None
    _connection: UpstreamConnection | None = None
    _done: asyncio.Future[UpstreamFailure | None] | None = None
    """What the task waits for, where there is one."""
    _broken: Reason | None = None
    _gone: asyncio.Future[None] | None = None
    _tries: int = 1
    _loading: Loading | None = None
    _hold: asyncio.Timeout | None = None
    """Runs out where a silent request may not be held any longer."""
    code: str = ""
    """Of the error that we told the client, if we did."""
    failure: str | None = None
    """Why the answer is missing or cut short, if it is."""
    truncated: bool = False
    """The server cut the answer short and did not call it an error."""
    upstream_status: int = 0
    granted_at: float | None = None
    """When it had its seat, in ``time.monotonic``."""
    first_byte_at: float | None = None
    """When the first byte of the answer's body came."""
    usage: tuple[int | None, int | None] = (None, None)
    """Tokens in and out, where the server told them."""

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._asked.route.model

    def begin(self) -> Coroutine[Any, Any, None] | None:
        """Send the request, if that can be done at once (``owner.end`` follows); else: what to wait for."""
        asked = self._asked
        if asked.route.max_hold_s is None or asked.stream:
            try:
                lease = self._ask().lease
            except LeaseRefused as refused:
                self._refuse(refused)
                self._owner.end()
                return None
            if lease is not None:
                connection = self._sit(lease).take()
                if connection is not None:
                    self._send(connection)
                    return None
        return self.run()

    async def run(self) -> None:
        """Serve the request to its end. Cancelled when the client goes.

        Raises ``Refuse`` (503) when it was held as long as its route allows.
        """
        held_s = self._asked.route.max_hold_s
        if held_s is None or self._asked.stream:
            await self._run()
            return
        try:
            async with asyncio.timeout(held_s) as self._hold:
                await self._run()
        except TimeoutError:
            raise errors.RequestRefused(errors.held(self.model, held_s, self._loading)) from None

    async def _run(self) -> None:
        try:
            while await self._try():
                pass
        except LeaseRefused as refused:
            self._refuse(refused)

    def _refuse(self, refused: LeaseRefused) -> None:
        problem = errors.from_refusal(refused.refusal, self._loading)
        self.code = problem.code
        self._tell(problem)

    def close(self) -> None:
        """Let go of all that is still held. Repeats are harmless."""
        self._stand_up()
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        if self._ticket is not None:
            self._ticket.close()

    # The seat

    def _ask(self) -> Ticket:
        asked = self._asked
        ticket = self._ticket = self._means.seats.ask(
            asked.route.model, priority=asked.priority, key=asked.key
        )
        return ticket

    def _sit(self, lease: Lease) -> ConnectionPool:
        self.granted_at = monotonic()
        self._lease = lease
        pool = self._pool = self._means.upstreams.pool(lease.upstream)
        self._doubts = pool.outliers
        lease.on_break(self._on_break)
        return pool

    def _stand_up(self) -> None:
        """The answer has ended; the lease is kept until its last byte has gone."""
        if self._lease is not None:
            self._lease.on_break(None)
        if self._awaited:
            self._awaited = False
            assert self._doubts is not None
            self._doubts.unwatch(self)
        self._client.source = None

    async def _try(self) -> bool:
        """Stand in line and be served; true when the run had gone before it got the request: once more."""
        ticket = self._ticket or self._ask()
        if ticket.lease is None:
            await self._wait(ticket)
        lease = ticket.lease
        assert lease is not None
        self._loading = None
        return await self._see_through(await self._attempt(self._sit(lease)))

    async def _wait(self, ticket: Ticket) -> None:
        asked = self._asked
        try:
            await waiting.wait(
                ticket,
                self._client,
                route=asked.route.name,
                stream=asked.stream,
                patience=self._means.patience,
            )
        except (LeaseRefused, asyncio.CancelledError):
            self._loading = ticket.loading()
            raise
        finally:
            self._early = self._client.response_started

    # The request

    async def _attempt(self, pool: ConnectionPool) -> UpstreamFailure | None:
        """Send the request and see the response through."""
        connection = pool.take()
        if connection is None:
            try:
                connection = await pool.connect()
            except UpstreamFailure as failure:
                return failure
        self._done = asyncio.get_running_loop().create_future()
        self._send(connection)
        return await self._done

    def _send(self, connection: UpstreamConnection) -> None:
        client, asked, pool = self._client, self._asked, self._pool
        assert pool is not None
        self._connection = client.source = connection
        content = asked.content
        sized = content or asked.method in _WITH_BODY
        connection.send(
            b"".join(
                (
                    asked.method,
                    b" ",
                    pool.base_path,
                    asked.target,
                    pool.request_line_end,
                    asked.route.authorization,
                    asked.headers,
                    b"content-length: %d\r\n\r\n" % len(content) if sized else b"\r\n",
                    content,
                )
            ),
            self,
            method_is_head=asked.method == b"HEAD",
        )
        limit_s = asked.route.first_byte_timeout_s
        if limit_s is not None:
            self._awaited = True
            pool.outliers.watch(self, limit_s)
        if client.is_slow:
            connection.pause_reading()

    async def _see_through(self, failure: UpstreamFailure | None) -> bool:
        """What comes after an attempt; true when the run had gone before it got the request: once more."""
        pool, client = self._pool, self._client
        assert pool is not None
        while failure is not None and failure.stale and self._broken is None:
            failure = await self._attempt(pool)
        if failure is not None and not failure.timed_out and self._broken is None:
            await self._why(failure)
        self._stand_up()
        if failure is not None:
            if failure.unreachable and self._broken is not None and self._tries < TRIES:
                self._tries, self._broken = self._tries + 1, None
                assert self._ticket is not None
                self._ticket.close()
                self._ticket = None
                return True
            self._fail(failure)
        if client.is_slow:
            await client.drain()
        return False

    async def _go_on(self, failure: UpstreamFailure | None) -> None:
        """From an answer that did not end as it should, or ended before the client had taken it."""
        if await self._see_through(failure):
            await self._run()

    async def _why(self, failure: UpstreamFailure) -> None:
        """A connection ends a little before its run is known to have ended: wait for that, and its reason."""
        self._suspect(failure.message)
        self._gone = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._gone], timeout=GONE_S if failure.unreachable else REASON_S)
        self._gone = None

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

    def on_complete_response(self, status: int, headers: bytes, content_type: bytes, body: bytes) -> None:
        if self._early or not body or self._hold is not None:
            self.on_head(status, headers, b"%d" % len(body), content_type)
            if body:
                self.on_data(body)
            return
        self.upstream_status = status
        self._asked.content = b""
        if self._awaited:
            self._first_byte()
        self._client.start(status, headers, b"%d" % len(body))
        self.on_data(body)

    def _first_byte(self) -> None:
        if self._awaited:
            self._awaited = False
            assert self._doubts is not None
            self._doubts.unwatch(self)

    def on_data(self, data: bytes) -> None:
        if self._awaited:
            self._first_byte()
        if self.first_byte_at is None:
            self.first_byte_at = monotonic()
        if self._collected is None:
            self._third = self._second
            self._second = self._last
            self._last = data
            self._client.write(data)
        elif len(self._collected) < _ERROR_BODY_BYTES:
            self._collected += data

    def on_read_complete(self) -> None:
        self._client.flush()

    def on_end(self) -> None:
        self._client.source = None  # the connection rests already, or is somebody else's soon
        try:
            if self._collected is not None:
                tail = bytes(self._collected)
                self._tell(errors.from_upstream(self.upstream_status, tail))
            else:
                tail = self._third + self._second + self._last if self._second else self._last
                self._client.finish()
            self.usage = usage.read(tail)
            self._judge(classify_end(self.upstream_status, tail))
        except Exception:  # a parser calls us, and would keep it to itself
            _log.exception("the end of an answer could not be taken")
            self._client.abort()
        self._ended(None)

    def _judge(self, end: ResponseEnd) -> None:
        """What the end of the answer says of its server, where the end was not our doing."""
        assert self._doubts is not None
        if end is ResponseEnd.GOOD:
            self._doubts.record_success()
        elif self._broken is None and end is ResponseEnd.ABORTED:
            self.truncated = True
            _log.warning("model %s: its server cut an answer short (finish_reason: abort)", self.model)
        elif self._broken is None:
            dead = end is ResponseEnd.DEAD
            why = "it says that its engine is dead" if dead else f"it answers errors ({self.upstream_status})"
            self._suspect(why, certain=self._doubts.record_error(end))

    def _suspect(self, why: str, *, certain: bool = False) -> None:
        assert self._lease is not None
        self._lease.suspect(why, certain=certain)

    def on_failure(self, failure: UpstreamFailure) -> None:
        self._ended(failure)

    def _ended(self, failure: UpstreamFailure | None) -> None:
        self._connection = None
        if self._done is not None:
            if not self._done.done():
                self._done.set_result(failure)
        elif failure is None and not self._client.is_slow:
            self._owner.end()
        else:
            self._owner.go_on(self._go_on(failure))

    # Failures

    def on_first_byte_timeout(self, limit_s: float) -> None:
        """No byte has come for as long as anybody should wait."""
        self._awaited = False
        if self._connection is None or self._doubts is None:
            return
        words = f"its server sent nothing for {limit_s:g} s"
        self._suspect(words, certain=self._doubts.record_timeout())
        if self._connection is not None:  # unless being suspected has ended it already
            self._connection.fail(words, timed_out=True)

    def _on_break(self, reason: Reason) -> None:
        self._broken = reason
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        # A server that is told to stop may end its answers as if they were whole (vLLM does).
        words_s = 0.0 if reason.alive else LAST_WORDS_S
        asyncio.get_running_loop().call_later(words_s, self._give_up)

    def _give_up(self) -> None:
        if self._connection is not None and self._broken is not None:  # else it is with another run by now
            self._connection.fail("its server has ended")

    def _fail(self, failure: UpstreamFailure) -> None:
        """Tell the client, in the way that is still open, that there is no (whole) answer."""
        words = failure.message
        if self._broken is not None:
            has = "is being stopped" if self._broken.alive else "has ended"
            words = f"its server {has}: {self._broken.for_clients()}"
        self.failure = words
        client = self._client
        if client.response_started and not self._early and not self._sse:
            client.abort()  # only a cut connection tells such a client that something is missing
        else:
            status = 503 if failure.unreachable else 504 if failure.timed_out else 502
            problem = errors.unreachable(self.model, words, status=status)
            self.code = problem.code
            self._tell(problem)

    def _tell(self, problem: errors.ErrorResponse) -> None:
        client, anthropic = self._client, self._asked.anthropic
        if not client.response_started:
            client.refuse(problem, anthropic=anthropic)
            return
        if not self._last.endswith(b"\n\n"):
            client.write(b"\n" if self._last.endswith(b"\n") else b"\n\n")
        client.write(errors.event(problem, anthropic=anthropic))
        client.finish()


class MeteredForward(Forward, eq=False):
    """An exchange that counts events too, for limits on tokens where the server tells no usage."""

    events: int = 0

    def on_data(self, data: bytes) -> None:
        self.events += data.count(b"data:")
        super().on_data(data)


_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

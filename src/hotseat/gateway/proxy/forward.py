"""Forwards one request to a model's server: the lease, the connection, the relay of the response, its end.

Where the model is ready and a connection to it is idle, the request is sent at once and the rest happens
inside the parser's callbacks: each piece of the response is passed on as it comes, and a slow client
pauses the read from the server. What must be waited for (a model that starts, a new connection, the
reason of a failure) is a coroutine, cancelled when the client goes.

The phases (``Phase``) and what leads from one to the next:

    QUEUED ─lease─> CONNECTING ─request sent─> AWAITING_HEAD ─head─> STREAMING | RELAYING | COLLECTING
    QUEUED ─lease, and an idle connection: request sent─> AWAITING_HEAD
    AWAITING_HEAD ─the idle connection closed, the method is idempotent─> CONNECTING (sent once more)
    any of these ─failure─> AWAITING_REASON ─run has gone, nothing was sent─> QUEUED (the next run)
    any ─the response has ended, or the client has gone─> DONE
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from enum import Enum
from time import monotonic, time
from typing import Any, Protocol

import msgspec

from hotseat.core.errors import Reason
from hotseat.core.states import State
from hotseat.core.views import Loading
from hotseat.gateway.http import errors
from hotseat.gateway.http.outlier_detection import OutlierDetector, ResponseEnd
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.upstream import ConnectionPool, UpstreamConnection, UpstreamFailure
from hotseat.gateway.proxy import response_tail, signs_of_life
from hotseat.gateway.proxy.event_alignment import EventAligner
from hotseat.gateway.proxy.lease import Lease, LeaseRefused, Ticket
from hotseat.gateway.proxy.prepare import UpstreamRequest
from hotseat.gateway.proxy.redirects import location_for_client
from hotseat.gateway.proxy.response_tail import ResponseTail, Usage
from hotseat.gateway.proxy.services import GatewayServices
from hotseat.gateway.proxy.snapshot import ConfigSnapshot
from hotseat.gateway.proxy.waiting import STREAM_HEADERS, wait_for_lease

_log = logging.getLogger(__name__)

LAST_OUTPUT_S = 0.2
"""How long after a run's end its last bytes may still arrive."""
REASON_S = 0.3
"""How long a failed response waits for the news that its run has ended, and why."""
UNREACHABLE_REASON_S = 3.0
"""The same for a run that cannot be reached: if it has ended, the request goes to the next one."""
MAX_RUNS = 3
"""How many runs one request is given to at most; it is given to another only while no byte was sent."""
_ERROR_BODY_BYTES = 64 * 1024


class Phase(Enum):
    """The steps of a request on its way to a model and back."""

    QUEUED = "queued"
    """No lease yet."""
    CONNECTING = "connecting"
    """A lease is held; a connection is being made."""
    AWAITING_HEAD = "awaiting head"
    """The request was sent; the server has not answered."""
    STREAMING = "streaming"
    """An event stream is relayed; an error can be told as its last event."""
    RELAYING = "relaying"
    """Any other body is relayed; only a cut connection tells the client that it is not whole."""
    COLLECTING = "collecting"
    """The client was promised a stream while it waited, and the server answered something else: that is
    kept, to be told as an error event."""
    AWAITING_REASON = "awaiting reason"
    """The response failed; perhaps because its run has ended, which is about to be known."""
    DONE = "done"


# Read for each request or chunk: as globals they cost less than as attributes of the class.
_AWAITING_HEAD = Phase.AWAITING_HEAD
_STREAMING = Phase.STREAMING
_RELAYING = Phase.RELAYING
_COLLECTING = Phase.COLLECTING
_DONE = Phase.DONE


class Owner(Protocol):
    """The one on whose behalf a request is forwarded."""

    def end(self) -> None:
        """Take notice that forwarding has ended, in a callback, without a task."""

    def continue_in_task(self, pending: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine: after all, something has to be waited for."""


class Forward(msgspec.Struct, eq=False):
    """One request to a model, and the handler of its response.

    A ``msgspec.Struct``, because that is constructed in C: most fields never change from their defaults.
    """

    _owner: Owner
    _cycle: RequestCycle
    _request: UpstreamRequest
    _services: GatewayServices
    _snapshot: ConfigSnapshot
    _tail: ResponseTail | None = None
    """From the first piece of the body on."""
    _phase: Phase = Phase.QUEUED
    _ticket: Ticket | None = None
    _lease: Lease | None = None
    """The lease, once granted."""
    _pool: ConnectionPool | None = None
    """The connections to the lease's run."""
    _connection: UpstreamConnection | None = None
    """While a response is awaited or relayed."""
    _first_byte_watch: OutlierDetector | None = None
    """Where this request is registered as waiting for the first byte; ``None``: it is not."""
    _aligner: EventAligner | None = None
    """Holds half an event; ``None`` as long as all pieces of the stream were whole events."""
    _sent_at: float = 0.0
    """When the request was sent to the server (only where comments are sent), in the loop's time."""
    _comment_every_s: float = 0.0
    """Seconds between two comments while nothing comes; 0: none are sent."""
    _silences: int = 0
    """How many intervals have passed without a sign of life from the server."""
    _collected: bytes = b""
    """The server's answer; in ``COLLECTING``."""
    _waiter: asyncio.Future[UpstreamFailure | None] | None = None
    """What a task waits for: the end of the attempt or, in ``AWAITING_REASON``, the end of the run.
    ``None``: there is no task, callbacks see to the end."""
    _runs: int = 1
    """How many runs the request was given to."""
    _loading: Loading | None = None
    """How far the start was when waiting for it ended without a lease."""
    _hold: asyncio.Timeout | None = None
    """Expires when a client that cannot be told anything has been held as long as its route allows."""
    code: str = ""
    """The code of the error that the client was told, if it was."""
    failure: str | None = None
    """Why the response is missing or cut short, if it is."""
    truncated: bool = False
    """The server cut the response short and did not call it an error."""
    upstream_status: int = 0
    granted_at: float | None = None
    """When the lease was granted, in ``time.monotonic``."""
    first_byte_at: float | None = None
    """When the first byte of the response's body came, in ``time.monotonic``."""
    usage: Usage = response_tail.UNKNOWN

    def __repr__(self) -> str:
        request = self._request
        target = f"{request.method.decode('latin-1')} {request.target.decode('latin-1')}"
        return f"<{type(self).__name__} {self.model} {target}: {self._phase.value}>"

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._request.route.model

    @property
    def phase(self) -> Phase:
        """The step that the request is at."""
        return self._phase

    def begin(self) -> Coroutine[Any, Any, None] | None:
        """Send the request, if that can be done at once; otherwise return what has to be waited for.

        ``None``: callbacks do the rest, and ``owner.end`` is called at its end (perhaps already).
        """
        request = self._request
        if request.events:
            every_s = request.route.policy.comment_every_s
            self._comment_every_s = self._snapshot.wait_policy.comment_every_s if every_s is None else every_s
        if request.route.policy.max_hold_s is None or self._comment_every_s:
            try:
                lease = self._enqueue().lease
            except LeaseRefused as refused:
                self._tell_refusal(refused)
                self._owner.end()
                return None
            if lease is not None:
                connection = self._take_lease(lease).take()
                if connection is not None:
                    self._send(connection)
                    return None
        return self.run()

    async def run(self) -> None:
        """Serve the request to its end. Cancelled when the client goes.

        Raises ``RequestRefused`` (503) when it was held as long as its route allows.
        """
        max_hold_s = self._request.route.policy.max_hold_s
        if max_hold_s is None or self._comment_every_s:
            await self._run()
            return
        try:
            async with asyncio.timeout(max_hold_s) as self._hold:
                await self._run()
        except TimeoutError:
            raise errors.RequestRefused(errors.held(self.model, max_hold_s, self._loading)) from None

    async def _run(self) -> None:
        try:
            while await self._try_run():
                pass
        except LeaseRefused as refused:
            self._tell_refusal(refused)

    def close(self) -> None:
        """Release everything that is held: connection, lease, place in the queue. May be repeated."""
        self._phase = _DONE
        self._detach()
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
        if self._ticket is not None:
            self._ticket.close()

    # The lease

    def _enqueue(self) -> Ticket:
        request, leases = self._request, self._services.leases
        model = request.route.model
        if not request.is_work and leases.state(model) != State.READY:
            raise errors.RequestRefused(errors.not_loaded(model, request.method))
        ticket = self._ticket = leases.ask(
            model,
            priority=request.priority,
            key=request.key,
            endpoint=request.endpoint,
            may_evict=request.may_evict,
        )
        if not request.is_work and ticket.lease is None:  # in the queue it could start a run
            raise errors.RequestRefused(errors.busy(model))
        return ticket

    async def _wait_for_lease(self, ticket: Ticket) -> None:
        request = self._request
        try:
            await wait_for_lease(
                ticket,
                self._cycle,
                route=request.route.name,
                hold_headers_s=self._snapshot.wait_policy.hold_headers_s,
                comment_every_s=self._waiting_interval(),
                sign=self._sign,
            )
        except (LeaseRefused, asyncio.CancelledError):
            self._loading = ticket.loading()
            raise

    def _waiting_interval(self) -> float:
        """Seconds between two comments while the request waits for its lease."""
        every_s = self._comment_every_s
        if every_s and signs_of_life.is_sparse(signs_of_life.user_agent(self._cycle.headers)):
            return max(every_s, signs_of_life.SPARSE_EVERY_S)
        return every_s

    def _take_lease(self, lease: Lease) -> ConnectionPool:
        self.granted_at = monotonic()
        self._lease = lease
        pool = self._pool = self._services.upstreams.pool(lease.upstream)
        lease.on_break(self._on_break)
        return pool

    def _detach(self) -> None:
        """Be called no more by the lease, the client or the detector; the lease is kept until ``close``."""
        if self._lease is not None:
            self._lease.on_break(None)
        if self._first_byte_watch is not None:
            self._stop_first_byte_watch()
        if self._comment_every_s:
            self._services.silence.unwatch(self, self._comment_every_s)
        self._cycle.source = None

    async def _try_run(self) -> bool:
        """Wait for a lease and use it; true when its run had gone before it got the request: try another."""
        ticket = self._ticket or self._enqueue()
        if ticket.lease is None:
            await self._wait_for_lease(ticket)
        lease = ticket.lease
        assert lease is not None
        self._loading = None
        return await self._finish_attempt(await self._attempt(self._take_lease(lease)))

    # The request

    async def _attempt(self, pool: ConnectionPool, *, fresh: bool = False) -> UpstreamFailure | None:
        """Send the request on a connection (a new one if ``fresh``), and wait for the end of the response."""
        connection = None if fresh else pool.take()
        if connection is None:
            self._phase = Phase.CONNECTING
            try:
                connection = await pool.connect()
            except UpstreamFailure as failure:
                return failure
        self._waiter = asyncio.get_running_loop().create_future()
        self._send(connection)
        return await self._waiter

    def _send(self, connection: UpstreamConnection) -> None:
        cycle, request, pool = self._cycle, self._request, self._pool
        assert pool is not None
        self._phase = _AWAITING_HEAD
        self._connection = cycle.source = connection
        content = request.content
        has_length = content or request.method in _METHODS_WITH_BODY
        connection.send(
            b"".join(
                (
                    request.method,
                    b" ",
                    pool.base_path,
                    request.target,
                    pool.request_line_end,
                    request.route.authorization,
                    request.headers,
                    b"content-length: %d\r\n\r\n" % len(content) if has_length else b"\r\n",
                    content,
                )
            ),
            self,
            method_is_head=request.method == b"HEAD",
        )
        limit_s = request.route.first_byte_timeout_s
        if limit_s is not None:
            watch = self._first_byte_watch = pool.outliers
            watch.watch(self, limit_s)
        if self._comment_every_s:
            self._sent_at = asyncio.get_running_loop().time()
            self._services.silence.watch(self, self._comment_every_s)
        if cycle.is_slow:
            connection.pause_reading()

    async def _finish_attempt(self, failure: UpstreamFailure | None) -> bool:
        """Deal with an attempt's end; true when its run had gone before it got the request: try another."""
        pool, lease, cycle = self._pool, self._lease, self._cycle
        assert pool is not None
        assert lease is not None
        sent = failure is not None and not failure.unreachable
        may_repeat = self._request.method in _IDEMPOTENT_METHODS  # RFC 9110 §9.2.2
        if failure is not None and failure.unanswered and may_repeat and lease.broken is None:
            failure = await self._attempt(pool, fresh=True)
        cut_short = self._phase is _RELAYING and cycle.response_started
        if failure is not None and not failure.timed_out and lease.broken is None:
            await self._await_reason(failure, lease)
        self._detach()
        if failure is not None:
            if failure.unreachable and not sent and lease.broken is not None and self._may_requeue:
                self._requeue()
                return True
            self._tell_failure(failure, lease.broken, cut_short=cut_short)
        if cycle.is_slow:
            self._request.content = b""  # it will not be sent again, and this may take long
            await cycle.drain()
        return False

    @property
    def _may_requeue(self) -> bool:
        return self._request.is_work and self._runs < MAX_RUNS

    def _requeue(self) -> None:
        """Give the lease of a run that has gone back, to ask for another."""
        assert self._ticket is not None
        self._ticket.close()
        self._ticket = self._lease = None
        self._runs += 1
        self._phase = Phase.QUEUED

    async def _continue(self, failure: UpstreamFailure | None) -> None:
        """Go on in a task after a response that failed, or that the client has not taken yet."""
        if await self._finish_attempt(failure):
            await self._run()

    async def _await_reason(self, failure: UpstreamFailure, lease: Lease) -> None:
        """Wait for the news that the run has ended: its connections end a little before that is known."""
        lease.suspect(failure.message)
        self._phase = Phase.AWAITING_REASON
        self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._waiter], timeout=UNREACHABLE_REASON_S if failure.unreachable else REASON_S)

    # The response (``ResponseHandler``)

    def on_head(self, status: int, headers: bytes, length: bytes | None, content_type: bytes) -> None:
        """Start the client's response (``AWAITING_HEAD``)."""
        cycle = self._cycle
        self.upstream_status = status
        self._request.content = b""  # it will not be sent again
        if self._request.held is not None:
            self._request.held.release()
        if self._hold is not None:
            self._hold.reschedule(None)
        is_stream = content_type.startswith(b"text/event-stream") and not _is_compressed(headers)
        # A stream's head comes before its server has done any work: there the first event counts.
        if not is_stream and self._first_byte_watch is not None:
            self._stop_first_byte_watch()
        if not cycle.response_started:
            if 200 < status < 400:
                headers, is_foreign = self._with_location(headers)
                if is_foreign and status >= 300:
                    assert self._connection is not None
                    self._connection.fail("its server redirects to another address")
                    return
            self._phase = _STREAMING if is_stream else _RELAYING
            cycle.start(status, headers, length)
        elif status >= 400 or not is_stream:
            self._phase = _COLLECTING
        else:
            self._phase = _STREAMING

    def _with_location(self, headers: bytes) -> tuple[bytes, bool]:
        """Make a ``Location`` one of the gateway; true where it leads elsewhere and was removed."""
        assert self._pool is not None
        target = self._request.target
        path = target.partition(b"?")[0]
        prefix = self._cycle.path.partition(path)[0].rstrip(b"/")
        return location_for_client(headers, self._pool.upstream, target, prefix)

    def on_complete_response(self, status: int, headers: bytes, content_type: bytes, body: bytes) -> None:
        """Pass a head and a whole body on, which came in one piece (``AWAITING_HEAD``)."""
        cycle = self._cycle
        if cycle.response_started or not body or self._hold is not None:
            self.on_head(status, headers, b"%d" % len(body), content_type)
            if body:
                self.on_data(body)
            return
        self._phase = _RELAYING
        self.upstream_status = status
        cycle.start(status, headers, b"%d" % len(body))
        self.on_data(body)

    def on_data(self, data: bytes) -> None:
        """Pass a piece of the body on (``STREAMING``, ``RELAYING``), or keep it (``COLLECTING``)."""
        tail = self._tail
        if tail is not None:
            tail.add(data)
            if self._aligner is not None or not data.endswith(b"\n\n"):
                data = self._whole_events(data)
                if not data:
                    return
            self._cycle.write(data)
            return
        if self.first_byte_at is None:
            self.first_byte_at = monotonic()
            if self._first_byte_watch is not None:
                self._stop_first_byte_watch()
        if self._phase is not _COLLECTING:
            self._tail = ResponseTail(data)
            if self._request.makes_ids and self.upstream_status < 300:
                self._services.made_ids.note(data, self.model)
            if not data.endswith(b"\n\n"):
                data = self._whole_events(data)
            if data:
                self._cycle.write(data)
        elif len(self._collected) < _ERROR_BODY_BYTES:
            self._collected += data

    def _whole_events(self, data: bytes) -> bytes:
        """Return what can be passed on of a body: whole events of a stream, everything otherwise."""
        if self._phase is not _STREAMING:
            return data
        aligner = self._aligner
        if aligner is None:
            aligner = self._aligner = EventAligner()
        return aligner.feed(data)

    def on_read_complete(self) -> None:
        """Send what came in one read (``STREAMING``, ``RELAYING``, ``COLLECTING``)."""
        self._cycle.flush()

    def on_end(self) -> None:
        """Complete the client's response (``STREAMING``, ``RELAYING``, ``COLLECTING``)."""
        self._cycle.source = None  # the connection is idle already, and may serve another request soon
        try:
            if self._phase is _COLLECTING:
                self._tell(errors.from_upstream(self.upstream_status, self._collected))
                tail = ResponseTail(self._collected)
            else:
                if self._aligner is not None and (rest := self._aligner.rest()):
                    self._cycle.write(rest)
                self._cycle.finish()
                tail = self._tail or ResponseTail(b"")
            self.usage, end = tail.conclude(self.upstream_status)
            assert self._pool is not None
            if end is ResponseEnd.GOOD:
                self._pool.outliers.record_success()
            else:
                self._report(end)
        except Exception:  # the parser that calls would swallow it
            _log.exception("the end of a response could not be processed")
            self._cycle.abort()
        self._end_attempt(None)

    def on_failure(self, failure: UpstreamFailure) -> None:
        """Take the end of a response that failed (``AWAITING_HEAD`` to ``COLLECTING``)."""
        self._end_attempt(failure)

    def _end_attempt(self, failure: UpstreamFailure | None) -> None:
        self._connection = None
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(failure)
        elif failure is None and not self._cycle.is_slow:
            self._owner.end()
        else:
            self._owner.continue_in_task(self._continue(failure))

    def _report(self, end: ResponseEnd) -> None:
        """Report a response's bad end to those who watch the run's health, unless the run was stopped."""
        pool, lease = self._pool, self._lease
        assert pool is not None
        assert lease is not None
        if lease.broken is not None:
            return
        if end is ResponseEnd.ABORTED:
            self.truncated = True
            _log.warning("model %s: its server cut a response short (finish_reason: abort)", self.model)
            return
        is_dead = end is ResponseEnd.DEAD
        why = "its engine is dead" if is_dead else f"it answers errors ({self.upstream_status})"
        lease.suspect(why, certain=pool.outliers.record_error(end))

    def _stop_first_byte_watch(self) -> None:
        watch, self._first_byte_watch = self._first_byte_watch, None
        if watch is not None:
            watch.unwatch(self)

    # Silence (``SilentStream``)

    @property
    def bytes_sent(self) -> int:
        """Bytes that the client was sent so far."""
        return self._cycle.bytes_sent

    def on_silence(self) -> None:
        """Send a sign of life (``AWAITING_HEAD``, ``STREAMING``): the server has sent nothing for a while."""
        cycle, now = self._cycle, asyncio.get_running_loop().time()
        if self._phase is _AWAITING_HEAD:
            if now - self._sent_at < self._snapshot.wait_policy.hold_headers_s:
                return
        elif self._phase is not _STREAMING or (self._aligner is not None and self._aligner.is_open):
            return
        self._silences += 1
        agent = signs_of_life.user_agent(cycle.headers)
        if signs_of_life.is_sparse(agent) and self._silences % signs_of_life.sparse_interval(
            self._comment_every_s
        ):
            return
        if not cycle.response_started:
            cycle.start(200, STREAM_HEADERS, None)
        if not cycle.is_slow:
            comment = signs_of_life.working_comment(self._request.route.name, now - self._sent_at)
            cycle.write(self._sign(comment))
            cycle.flush()

    def _sign(self, comment: bytes) -> bytes:
        """A sign of life as this client takes it."""
        if not self._request.responses or not signs_of_life.takes_keepalive_events(
            signs_of_life.user_agent(self._cycle.headers)
        ):
            return comment
        return signs_of_life.keepalive_event(comment, max(0, self._sequence_number))

    @property
    def _sequence_number(self) -> int:
        return -1 if self._tail is None else self._tail.sequence_number

    # Failures

    def on_first_byte_timeout(self, limit_s: float) -> None:
        """Fail the response: its first byte did not come in time (``AWAITING_HEAD``, ``STREAMING``)."""
        self._first_byte_watch = None
        pool, lease = self._pool, self._lease
        if self._connection is None or pool is None or lease is None:
            return
        words = f"its server sent nothing for {limit_s:g} s"
        lease.suspect(words, certain=pool.outliers.record_timeout())
        if self._connection is not None:  # unless the suspicion has ended it already
            self._connection.fail(words, timed_out=True)

    def _on_break(self, reason: Reason) -> None:
        """End the response soon: its run has ended or is being stopped (any phase with a lease)."""
        if self._phase is Phase.AWAITING_REASON and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        # A server that is told to stop may end its responses as if they were whole (vLLM does).
        grace_s = 0.0 if reason.alive else LAST_OUTPUT_S
        asyncio.get_running_loop().call_later(grace_s, self._cut_off)

    def _cut_off(self) -> None:
        # A lease that is not broken is another one: the request has moved on to the next run.
        if self._connection is not None and self._lease is not None and self._lease.broken is not None:
            self._connection.fail("its server has ended")

    def _tell_refusal(self, refused: LeaseRefused) -> None:
        problem = errors.from_refusal(refused.refusal, self._loading)
        self.code = problem.code
        self._tell(problem)

    def _tell_failure(self, failure: UpstreamFailure, broken: Reason | None, *, cut_short: bool) -> None:
        """Tell the client, in the way that is still open, that the response is missing or not whole."""
        words = failure.message
        if broken is not None:
            has = "is being stopped" if broken.alive else "has ended"
            words = f"its server {has}: {broken.for_clients()}"
        self.failure = words
        if cut_short:
            self._cycle.abort()
            return
        status = 503 if failure.unreachable else 504 if failure.timed_out else 502
        problem = errors.unreachable(self.model, words, status=status)
        self.code = problem.code
        self._tell(problem)

    def _tell(self, problem: errors.ErrorResponse) -> None:
        """Answer with an error; as the last event of the stream where that has begun."""
        cycle, request = self._cycle, self._request
        if not cycle.response_started:
            cycle.refuse(problem, anthropic=request.anthropic)
        elif self._aligner is not None and self._aligner.is_open:
            cycle.abort()  # behind half an event an error would not be seen
        else:
            cycle.write(self._error_event(problem))
            cycle.finish()

    def _error_event(self, problem: errors.ErrorResponse) -> bytes:
        request = self._request
        if not request.responses:
            return errors.event(problem, anthropic=request.anthropic)
        return errors.responses_events(
            problem,
            sequence_number=self._sequence_number + 1,
            response_id=f"resp_{secrets.token_hex(16)}",
            model=request.route.name,
            created_at=int(time()),
        )


class MeteredForward(Forward, eq=False):
    """Counts the events of the response too: for limits on tokens, where the server reports no usage."""

    events: int = 0

    def on_data(self, data: bytes) -> None:
        """Count the events in a piece of the body, and pass it on."""
        self.events += data.count(b"data:")
        super().on_data(data)


def _is_compressed(headers: bytes) -> bool:
    """Whether header lines name a content coding: events cannot be told apart in such a body."""
    at = headers.find(b"content-encoding: ")
    return at != -1 and headers[at + 18 : at + 26].lower() != b"identity"


_IDEMPOTENT_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_METHODS_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

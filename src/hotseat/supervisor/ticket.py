"""Tickets and leases: a request's place in the queue first, then on a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import msgspec

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import Loading, Upstream


class SuspectCallback(Protocol):
    """Reports that a run seems not to work."""

    def __call__(self, why: str, *, certain: bool = False) -> None:
        """Have the run checked now; ``certain``: it does not work, whatever its health check says."""


class Lease(msgspec.Struct, eq=False):
    """The right to use one run, held to the end of the response stream."""

    upstream: Upstream
    suspect: SuspectCallback
    """Reports that the run seems not to work."""
    broken: Reason | None = None
    """Why the run has gone; ``None`` while it lives."""
    _on_break: Callable[[Reason], None] | None = None

    def on_break(self, call: Callable[[Reason], None] | None) -> None:
        """Call ``call`` once when the lease breaks; at once if it is broken already."""
        if self.broken is not None and call is not None:
            call(self.broken)
        else:
            self._on_break = call

    def break_(self, reason: Reason) -> None:
        """Break the lease: its run has gone, or is going to be stopped."""
        self.broken = reason
        call, self._on_break = self._on_break, None
        if call is not None:
            call(reason)


class TicketOwner(Protocol):
    """Protocol of the supervisor as a ticket needs it."""

    refused: type[Exception]
    """Exception to raise with a ``Refusal``."""

    def give_back(self, ticket: Ticket) -> None:
        """Close a ticket."""

    def loading(self, ticket: Ticket) -> Loading:
        """Progress of the ticket's model."""


class Ticket(msgspec.Struct, eq=False):
    """One request's place: queued, then with a lease or a refusal. Leaving the ``with`` block closes it."""

    _owner: TicketOwner
    request: int
    model: str
    since: float
    lease: Lease | None = None
    refusal: Refusal | None = None
    closed: bool = False
    _waiter: asyncio.Future[None] | None = None

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the lease; false when the time ran out first. Raises the owner's ``refused``."""
        if self.lease is None and self.refusal is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._waiter,), timeout=timeout_s)
            self._waiter = None
        if self.refusal is not None:
            raise self._owner.refused(self.refusal)
        return self.lease is not None

    def loading(self) -> Loading:
        """Progress of the model, for the waiting client."""
        return self._owner.loading(self)

    def grant(self, lease: Lease) -> None:
        """Answer the request with a lease."""
        self.lease = lease
        self._wake()

    def refuse(self, refusal: Refusal) -> None:
        """Answer the request with a refusal."""
        self.refusal = refusal
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Give the lease back, or leave the queue. Repeats are harmless."""
        if not self.closed:
            self.closed = True
            self._owner.give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

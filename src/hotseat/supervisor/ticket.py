"""A request's place: in the queue first, then on a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import msgspec

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import Loading, Upstream


class SuspectCallback(Protocol):
    """How it is told that a run seems not to work."""

    def __call__(self, why: str, *, certain: bool = False) -> None:
        """Have the run looked at now; ``certain``: it does not work, whatever its health check says."""


class Lease(msgspec.Struct, eq=False):
    """The right to use one run, held to the end of the response stream."""

    upstream: Upstream
    suspect: SuspectCallback
    """Tells the run's owner that the run seems not to work."""
    broken: Reason | None = None
    _call: Callable[[Reason], None] | None = None

    def on_break(self, call: Callable[[Reason], None] | None) -> None:
        """Have ``call`` called once when the run goes; at once if it has gone already."""
        if self.broken is not None and call is not None:
            call(self.broken)
        else:
            self._call = call

    def break_(self, reason: Reason) -> None:
        """The run has gone."""
        self.broken = reason
        call, self._call = self._call, None
        if call is not None:
            call(reason)


class TicketOwner(Protocol):
    """What a ticket needs of the supervisor."""

    refused: type[Exception]
    """Raised with a ``Refusal``."""

    def give_back(self, ticket: Ticket) -> None:
        """The ticket is done with."""

    def loading(self, ticket: Ticket) -> Loading:
        """How far it is."""


class Ticket(msgspec.Struct, eq=False):
    """One request's place. Leaving the ``with`` block gives it back."""

    _desk: TicketOwner
    request: int
    model: str
    since: float
    lease: Lease | None = None
    refusal: Refusal | None = None
    closed: bool = False
    _waiter: asyncio.Future[None] | None = None

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the lease; ``False`` when the time ran out first. Raises the desk's ``refused``."""
        if self.lease is None and self.refusal is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._waiter,), timeout=timeout_s)
            self._waiter = None
        if self.refusal is not None:
            raise self._desk.refused(self.refusal)
        return self.lease is not None

    def loading(self) -> Loading:
        """How far it is, for the waiting client."""
        return self._desk.loading(self)

    def granted(self, lease: Lease) -> None:
        """The answer is yes."""
        self.lease = lease
        self._wake()

    def refuse(self, refusal: Refusal) -> None:
        """The answer is no."""
        self.refusal = refusal
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Give the lease back, or leave the queue. Repeats are harmless."""
        if not self.closed:
            self.closed = True
            self._desk.give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""The small protocol that the gateway needs from whoever owns the models.

The gateway does not know the supervisor. It asks for a seat and gives it back:

    ticket = seats.ask("chat")             # raises Refused
    while ticket.lease is None:
        await ticket.wait(10)              # raises Refused
        ...                                # tell the client how far the start is: ticket.loading()
    ...                                    # relay to ticket.lease.upstream, to the last byte
    ticket.close()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import Loading, Upstream


class LeaseRefused(Exception):
    """The request gets no lease."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Lease(Protocol):
    """The right to use one run, held to the end of the response stream."""

    @property
    def upstream(self) -> Upstream:
        """The run."""

    @property
    def broken(self) -> Reason | None:
        """Why the run has gone under it, if it has."""

    def suspect(self, why: str, *, certain: bool = False) -> None:
        """The run seems not to work: have its health checked now; ``certain``: end it, it does not work."""

    def on_break(self, call: Callable[[Reason], None] | None) -> None:
        """Have ``call`` called once when the run goes (at once if it has gone); ``None``: no more."""


class Ticket(Protocol):
    """One request's place: in the queue, then on a run. ``close`` gives it back."""

    @property
    def lease(self) -> Lease | None:
        """There at once when the model is ready and has room: no task switch."""

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the lease; ``False`` when the time ran out first. Raises ``LeaseRefused``."""

    def loading(self) -> Loading:
        """How far it is, for the waiting client."""

    def close(self) -> None:
        """Give the lease back, or leave the queue. Repeats are harmless."""


class LeaseProvider(Protocol):
    """Where leases come from."""

    def ask(self, model: str, *, priority: int = 0, key: str = "") -> Ticket:
        """Ask for a lease. Raises ``LeaseRefused`` when the answer is no at once; ``KeyError`` never."""

    def state(self, model: str) -> str:
        """The model's state, in the words of ``core.states``; starts nothing."""

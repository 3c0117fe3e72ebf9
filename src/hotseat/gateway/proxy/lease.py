"""The protocols through which the gateway borrows a model's run from whoever owns the models.

The gateway does not know the supervisor. It asks for a lease and gives it back:

    ticket = leases.ask("chat")            # raises LeaseRefused
    while ticket.lease is None:
        await ticket.wait(10)              # raises LeaseRefused
        ...                                # tell the client how far the start is: ticket.loading()
    ...                                    # relay to ticket.lease.upstream, to the last byte
    ticket.close()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hotseat.core.errors import Reason, Refusal
from hotseat.core.views import Loading, Upstream


class LeaseRefused(Exception):
    """The request gets no lease; ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Lease(Protocol):
    """The right to use one run, held to the end of the response stream."""

    @property
    def upstream(self) -> Upstream:
        """The address of the run."""

    @property
    def broken(self) -> Reason | None:
        """The reason why the run has ended or is being stopped under the lease; ``None`` while it serves."""

    def suspect(self, why: str, *, certain: bool = False) -> None:
        """Report that the run seems to be broken: its health is checked at once.

        ``certain``: it is broken, whatever the health check says, and is ended.
        """

    def on_break(self, call: Callable[[Reason], None] | None) -> None:
        """Have ``call`` called once when the lease breaks (at once if it has); ``None``: never."""


class Ticket(Protocol):
    """A request's place: in the model's queue first, then holding its lease. ``close`` gives it back."""

    @property
    def lease(self) -> Lease | None:
        """The lease, once granted: from the beginning where the model is ready and has room."""

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the lease; ``False`` when the time ran out first. Raises ``LeaseRefused``."""

    def loading(self) -> Loading:
        """The progress of the model's start, for the client that waits."""

    def close(self) -> None:
        """Give the lease back, or leave the queue. May be repeated."""


class LeaseProvider(Protocol):
    """Grants leases: the gateway's view of the supervisor."""

    def ask(
        self, model: str, *, priority: int = 0, key: str = "", endpoint: str = "", may_evict: bool = True
    ) -> Ticket:
        """Ask for a lease on a configured model.

        ``key``: the name of the client's key, for fairness between keys. ``endpoint``: the API's path;
        whether clients stay to the end of a start is learned by key and endpoint (empty: it is not).
        ``may_evict``: whether another model may be evicted. Raises ``LeaseRefused`` where it is refused at
        once.
        """

    def loaded(self) -> Sequence[str]:
        """The models that are loaded, the one used last first; then those that load. Starts nothing."""

    def state(self, model: str) -> str:
        """The model's state, in the words of ``core.states``; starts nothing."""

    def contended(self) -> bool:
        """Whether a request waits for a lease, of whichever model."""

"""Seats that do as the test says: ready, waiting until granted, refused, or broken in mid-stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hotseat.core.errors import Reason, Refusal
from hotseat.core.states import State
from hotseat.core.views import Loading, Upstream
from hotseat.gateway.proxy.lease import LeaseRefused


class FakeLease:
    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.broken: Reason | None = None
        self._call: Callable[[Reason], None] | None = None
        self.suspected: list[tuple[str, bool]] = []
        self.doubted = asyncio.Event()

    def suspect(self, why: str, *, certain: bool = False) -> None:
        self.suspected.append((why, certain))
        self.doubted.set()

    def on_break(self, call: Callable[[Reason], None] | None) -> None:
        self._call = call
        if call is not None and self.broken is not None:
            call(self.broken)

    @property
    def is_watched(self) -> bool:
        return self._call is not None

    def break_it(self, reason: Reason) -> None:
        self.broken = reason
        if self._call is not None:
            call, self._call = self._call, None
            call(reason)


class FakeTicket:
    def __init__(self, seats: FakeLeaseProvider, model: str, priority: int = 0) -> None:
        self.seats = seats
        self.model = model
        self.priority = priority
        self.endpoint, self.may_evict = "", True
        self.lease: FakeLease | None = None
        self.closed = asyncio.Event()
        self.waiting = asyncio.Event()
        """Set when somebody waits on it."""
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refusal: Refusal | None = None

    def grant(self) -> None:
        self.lease = FakeLease(self.seats.upstreams[self.model])
        self._answer.set_result(None)

    def refuse(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._answer.set_result(None)

    async def wait(self, timeout_s: float | None = None) -> bool:
        self.waiting.set()
        done, _ = await asyncio.wait([self._answer], timeout=timeout_s)
        if not done:
            return False
        if self._refusal is not None:
            raise LeaseRefused(self._refusal)
        return True

    def loading(self) -> Loading:
        return self.seats.loading

    def close(self) -> None:
        self.closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FakeLeaseProvider:
    """``ready`` models have an ``upstream``; for the others a ticket waits until the test decides."""

    def __init__(self) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.waiting_models: set[str] = set()
        self.refusals: dict[str, Refusal] = {}
        """Answers of ``ask`` itself."""
        self.states: dict[str, State] = {}
        self.tickets: list[FakeTicket] = []
        self.asked = asyncio.Event()
        self.loading = Loading(
            model="chat", state=State.STARTING, phase="loading weights", elapsed_s=12.2, eta_s=30.0
        )

    def ready(self, model: str, port: int, run: int = 1, base_path: str = "") -> None:
        self.upstreams[model] = Upstream(
            model=model, run=run, host="127.0.0.1", port=port, base_path=base_path
        )
        self.states[model] = State.READY

    def ask(
        self, model: str, *, priority: int = 0, key: str = "", endpoint: str = "", may_evict: bool = True
    ) -> FakeTicket:
        if model in self.refusals:
            raise LeaseRefused(self.refusals[model])
        ticket = FakeTicket(self, model, priority)
        ticket.endpoint, ticket.may_evict = endpoint, may_evict
        if model not in self.waiting_models:
            ticket.grant()
        self.tickets.append(ticket)
        self.asked.set()
        return ticket

    def loaded(self) -> list[str]:
        return [model for model, state in self.states.items() if state is State.READY]

    def contended(self) -> bool:
        return any(ticket.lease is None and not ticket.closed.is_set() for ticket in self.tickets)

    def state(self, model: str) -> str:
        return self.states.get(model, State.STOPPED).value

    @property
    def open(self) -> int:
        """Tickets not yet given back."""
        return sum(1 for ticket in self.tickets if not ticket.closed.is_set())

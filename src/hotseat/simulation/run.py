"""Run a scheduler over a scenario, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.simulation.traffic import ClosedLoopClient, Scenario, SimulatedRequest

ENDED = Reason(summary="stopped")
GIVE_UP_S = 6 * 3600.0
"""Seconds after the last request at which waiting requests are counted as unanswered."""


class TurnPolicy(Protocol):
    """A scheduler that can be simulated."""

    @property
    def wake_at(self) -> float:
        """Latest time to send ``TimePassed``; infinity for never."""

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Handle an event; returns the effects in order."""


@dataclass(slots=True)
class SimulationResult:
    """Waits and counts of one simulation."""

    waits_s: dict[str, list[float]] = field(default_factory=dict)
    """By model: seconds that each answered request waited for its lease."""
    answered: int = 0
    refused: int = 0
    given_up: int = 0
    """Requests whose client did not wait any longer."""
    broken: int = 0
    """Responses that were cut off."""
    unanswered: int = 0
    starts: int = 0
    wakes: int = 0
    serving_s: float = 0.0
    """Seconds in which at least one response was running."""
    took_s: float = 0.0
    """Seconds until the last response, at least the scenario's duration."""


class _Simulation:
    """One scheduler on one scenario."""

    def __init__(self, scenario: Scenario, scheduler: TurnPolicy) -> None:
        self.scenario, self.scheduler = scenario, scheduler
        self.now = 0.0
        self.result = SimulationResult(waits_s={name: [] for name in scenario.scheduler.models})
        self._future: list[tuple[float, int, ev.Event | SimulatedRequest | ClosedLoopClient]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[float, SimulatedRequest | ClosedLoopClient]] = {}
        self._held: dict[int, SimulatedRequest | ClosedLoopClient] = {}
        self._served_since = 0.0

    def run(self) -> SimulationResult:
        """Run until every request is answered or given up."""
        for ask in self.scenario.asks:
            self._at(ask.at_s, ask)
        for agent in self.scenario.agents:
            self._at(agent.begins_s, agent)
        self._tell(ev.TimePassed())
        give_up_at = self.scenario.duration_s + GIVE_UP_S
        while self._future or self._waiting:
            at = min(self._future[0][0] if self._future else float("inf"), self.scheduler.wake_at)
            if at > give_up_at:
                break
            self.now = max(self.now, at)
            if self._future and self._future[0][0] <= self.now:
                self._handle(heapq.heappop(self._future)[2])
            else:
                self._tell(ev.TimePassed())
        self.result.unanswered = len(self._waiting)
        self.result.took_s = max(self.now, self.scenario.duration_s)
        return self.result

    def _at(self, at: float, what: ev.Event | SimulatedRequest | ClosedLoopClient) -> None:
        heapq.heappush(self._future, (at, next(self._order), what))

    def _handle(self, what: ev.Event | SimulatedRequest | ClosedLoopClient) -> None:
        if isinstance(what, ev.LeaseReturned):
            self._response_ends(what)
        elif isinstance(what, ev.RequestWithdrawn):
            self._gives_up(what)
        elif isinstance(what, SimulatedRequest | ClosedLoopClient):
            self._ask(what)
        else:
            self._tell(what)

    def _ask(self, who: SimulatedRequest | ClosedLoopClient) -> None:
        if self.now >= self.scenario.duration_s:
            return
        request = next(self._numbers)
        self._waiting[request] = (self.now, who)
        self._tell(ev.RequestArrived(request, who.model, 0, who.key, who.key))
        if isinstance(who, ClosedLoopClient) and who.patience_s is not None and request in self._waiting:
            self._at(self.now + who.patience_s, ev.RequestWithdrawn(request))

    def _response_ends(self, returned: ev.LeaseReturned) -> None:
        who = self._held.pop(returned.request, None)
        if who is None:
            return
        self.result.answered += 1
        if not self._held:
            self.result.serving_s += self.now - self._served_since
        self._tell(returned)
        self._ask_again(who)

    def _gives_up(self, withdrawn: ev.RequestWithdrawn) -> None:
        if withdrawn.request not in self._waiting:
            return
        _, who = self._waiting.pop(withdrawn.request)
        self.result.given_up += 1
        self._tell(withdrawn)
        self._ask_again(who)

    def _ask_again(self, who: SimulatedRequest | ClosedLoopClient) -> None:
        if isinstance(who, ClosedLoopClient):
            self._at(self.now + who.think_s, who)

    def _tell(self, event: ev.Event) -> None:
        for effect in self.scheduler.handle(event, self.now):
            self._carry_out(effect)

    def _carry_out(self, effect: do.Effect) -> None:
        match effect:
            case do.GrantLease(request):
                since, who = self._waiting.pop(request)
                self.result.waits_s[who.model].append(self.now - since)
                if not self._held:
                    self._served_since = self.now
                self._held[request] = who
                self._at(self.now + who.service_s, ev.LeaseReturned(request))
            case do.RefuseRequest(request, refusal):
                _, who = self._waiting.pop(request)
                self.result.refused += 1
                if isinstance(who, ClosedLoopClient):
                    pause_s = refusal.retry_after_s or (1.0 if refusal.should_retry else who.think_s)
                    self._at(self.now + pause_s, who)
            case do.BreakLease(request):
                who = self._held.pop(request)
                self.result.broken += 1
                if not self._held:
                    self.result.serving_s += self.now - self._served_since
                self._ask_again(who)
            case do.StartRun(model, run):
                self.result.starts += 1
                self._at(self.now + self.scenario.costs[model].start_s, ev.ProbePassed(model, run))
            case do.StopRun(model, run):
                self._at(self.now + self.scenario.costs[model].stop_s, ev.RunExited(model, run, ENDED))
            case do.SleepRun(model, run):
                self._at(self.now + self.scenario.costs[model].sleep_s, ev.RunSlept(model, run))
            case do.WakeRun(model, run):
                self.result.wakes += 1
                self._at(self.now + self.scenario.costs[model].wake_s, ev.ProbePassed(model, run))
            case do.ReportMove():
                pass


def simulate(scenario: Scenario, scheduler: TurnPolicy) -> SimulationResult:
    """Simulate a scheduler on a scenario."""
    return _Simulation(scenario, scheduler).run()


def all_waits(result: SimulationResult) -> Iterator[float]:
    """The waits of all models, in seconds."""
    for waits in result.waits_s.values():
        yield from waits

"""Runs a scheduler over a scenario, on a virtual clock."""

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
"""So long after the last request, whoever still waits is counted as never answered."""


class TurnPolicy(Protocol):
    """What a scheduler must be able to do to be compared."""

    @property
    def wake_at(self) -> float:
        """When to send ``TimePassed`` at the latest."""

    def handle(self, event: ev.Event, now: float) -> list[do.Effect]:
        """Take note of a fact and say what to do."""


@dataclass(slots=True)
class SimulationResult:
    """What came of it."""

    waits_s: dict[str, list[float]] = field(default_factory=dict)
    """How long each answered request waited for its lease, by model."""
    answered: int = 0
    refused: int = 0
    broken: int = 0
    """Answers that were cut off."""
    unanswered: int = 0
    starts: int = 0
    wakes: int = 0
    serving_s: float = 0.0
    """Time in which somebody was being served."""
    took_s: float = 0.0
    """Until the last answer, but at least the scenario's duration."""


class _Run:
    """One scheduler on one scenario."""

    def __init__(self, scenario: Scenario, decider: TurnPolicy) -> None:
        self.scenario, self.decider = scenario, decider
        self.now = 0.0
        self.outcome = SimulationResult(waits_s={name: [] for name in scenario.scheduler.models})
        self._future: list[tuple[float, int, ev.Event | SimulatedRequest | ClosedLoopClient]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[float, SimulatedRequest | ClosedLoopClient]] = {}
        self._held: dict[int, SimulatedRequest | ClosedLoopClient] = {}
        self._served_since = 0.0

    def go(self) -> SimulationResult:
        """Until everybody has an answer, or gives up."""
        for ask in self.scenario.asks:
            self._at(ask.at_s, ask)
        for agent in self.scenario.agents:
            self._at(agent.begins_s, agent)
        self._tell(ev.TimePassed())
        give_up_at = self.scenario.duration_s + GIVE_UP_S
        while self._future or self._waiting:
            at = min(self._future[0][0] if self._future else float("inf"), self.decider.wake_at)
            if at > give_up_at:
                break
            self.now = max(self.now, at)
            if self._future and self._future[0][0] <= self.now:
                self._happens(heapq.heappop(self._future)[2])
            else:
                self._tell(ev.TimePassed())
        self.outcome.unanswered = len(self._waiting)
        self.outcome.took_s = max(self.now, self.scenario.duration_s)
        return self.outcome

    def _at(self, at: float, what: ev.Event | SimulatedRequest | ClosedLoopClient) -> None:
        heapq.heappush(self._future, (at, next(self._order), what))

    def _happens(self, what: ev.Event | SimulatedRequest | ClosedLoopClient) -> None:
        if isinstance(what, ev.LeaseReturned):
            self._answer_ends(what)
        elif isinstance(what, SimulatedRequest | ClosedLoopClient):
            self._ask(what)
        else:
            self._tell(what)

    def _ask(self, who: SimulatedRequest | ClosedLoopClient) -> None:
        if self.now >= self.scenario.duration_s:
            return
        request = next(self._numbers)
        self._waiting[request] = (self.now, who)
        self._tell(ev.RequestArrived(request, who.model, 0, who.key))

    def _answer_ends(self, returned: ev.LeaseReturned) -> None:
        who = self._held.pop(returned.request, None)
        if who is None:
            return
        self.outcome.answered += 1
        if not self._held:
            self.outcome.serving_s += self.now - self._served_since
        self._tell(returned)
        self._come_again(who)

    def _come_again(self, who: SimulatedRequest | ClosedLoopClient) -> None:
        if isinstance(who, ClosedLoopClient):
            self._at(self.now + who.think_s, who)

    def _tell(self, event: ev.Event) -> None:
        for effect in self.decider.handle(event, self.now):
            self._carry_out(effect)

    def _carry_out(self, effect: do.Effect) -> None:
        match effect:
            case do.GrantLease(request):
                since, who = self._waiting.pop(request)
                self.outcome.waits_s[who.model].append(self.now - since)
                if not self._held:
                    self._served_since = self.now
                self._held[request] = who
                self._at(self.now + who.service_s, ev.LeaseReturned(request))
            case do.RefuseRequest(request, refusal):
                _, who = self._waiting.pop(request)
                self.outcome.refused += 1
                if isinstance(who, ClosedLoopClient):
                    self._at(self.now + (refusal.retry_after_s or 1.0), who)
            case do.BreakLease(request):
                who = self._held.pop(request)
                self.outcome.broken += 1
                if not self._held:
                    self.outcome.serving_s += self.now - self._served_since
                self._come_again(who)
            case do.StartRun(model, run):
                self.outcome.starts += 1
                self._at(self.now + self.scenario.costs[model].start_s, ev.ProbePassed(model, run))
            case do.StopRun(model, run):
                self._at(self.now + self.scenario.costs[model].stop_s, ev.RunExited(model, run, ENDED))
            case do.SleepRun(model, run):
                self._at(self.now + self.scenario.costs[model].sleep_s, ev.RunSlept(model, run))
            case do.WakeRun(model, run):
                self.outcome.wakes += 1
                self._at(self.now + self.scenario.costs[model].wake_s, ev.ProbePassed(model, run))
            case do.ReportMove():
                pass


def simulate(scenario: Scenario, decider: TurnPolicy) -> SimulationResult:
    """What would have happened."""
    return _Run(scenario, decider).go()


def all_waits(outcome: SimulationResult) -> Iterator[float]:
    """The waits of all models."""
    for waits in outcome.waits_s.values():
        yield from waits

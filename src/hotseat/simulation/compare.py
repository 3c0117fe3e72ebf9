"""Comparison of scheduling policies on one scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import SchedulerSpec
from hotseat.simulation.baselines import FirstCome, SwapOnDemand
from hotseat.simulation.offline import offline_wait_s
from hotseat.simulation.run import SimulationResult, TurnPolicy, simulate
from hotseat.simulation.traffic import Scenario

WAYS: Mapping[str, Callable[[SchedulerSpec], TurnPolicy]] = {
    "hotseat": Scheduler,
    "first-come": FirstCome,
    "swap-on-demand": SwapOnDemand,
}
"""The scheduling policies, by name."""


@dataclass(frozen=True, slots=True)
class Line:
    """Waits under one policy, of one model or of all (``model`` empty)."""

    way: str
    model: str
    answered: int
    p50_s: float
    p99_s: float
    max_s: float
    total_wait_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of all policies on one scenario."""

    scenario: Scenario
    outcomes: Mapping[str, SimulationResult]
    offline_wait_s: float | None
    """``None`` where clients ask in a loop: their requests depend on earlier responses."""

    def lines(self, *, by_model: bool) -> list[Line]:
        """One line for each policy; with ``by_model`` also one for each model with requests."""
        lines = []
        for way, outcome in self.outcomes.items():
            everybody = [wait for waits in outcome.waits_s.values() for wait in waits]
            lines.append(_line(way, "", everybody))
            if by_model:
                lines += [_line(way, name, waits) for name, waits in outcome.waits_s.items() if waits]
        return lines


def compare(scenario: Scenario, ways: Sequence[str] = tuple(WAYS), *, offline: bool = True) -> Comparison:
    """Simulate these policies. Raises ``KeyError`` for an unknown one."""
    outcomes = {way: simulate(scenario, WAYS[way](scenario.scheduler)) for way in ways}
    bound = offline_wait_s(scenario) if offline and scenario.asks and not scenario.agents else None
    return Comparison(scenario, outcomes, bound)


def _line(way: str, model: str, waits: list[float]) -> Line:
    waits = sorted(waits)
    p50_s, p99_s, max_s = (_quantile(waits, share) for share in (0.5, 0.99, 1.0))
    return Line(way, model, len(waits), p50_s, p99_s, max_s, sum(waits))


def _quantile(ordered: list[float], share: float) -> float:
    """The quantile by nearest rank; 0 for an empty list."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]

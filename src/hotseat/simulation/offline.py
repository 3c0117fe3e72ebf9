"""A lower bound on waiting: what a launcher that knew all requests beforehand could achieve.

Only models that exclude each other are counted (the heaviest such group): the requests of all others
are taken not to wait, so that the bound is too low rather than too high. A start needs a request that
waits for it, responses are never cut off, and any number of them runs at once. The order of turns is
found by a search that keeps the best partial plans; light traffic is searched exhaustively. Where no
two models exclude each other, the starts of the best choice of evictions are counted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hotseat.core.spec import SchedulerSpec
from hotseat.simulation.traffic import Scenario

KEPT = 24
"""Partial plans kept for each number of requests served."""
LOOKED_AT, TRIED = 12, 2
"""Number of the most requested models that groups are formed of, and number of groups searched."""
HOLD_ON = 6.0
"""Longest wait of others while a plan stays with a model, in multiples of the longest start."""


@dataclass(frozen=True, slots=True)
class _Plan:
    served: tuple[int, ...]
    """Requests of each model served before this turn."""
    turn: int
    """Index of the model whose turn it is."""
    ready_at: float
    waited_s: float


def offline_wait_s(scenario: Scenario) -> float:
    """Total waiting of the best plan found, in seconds."""
    groups = _exclusive_groups(scenario)
    if not groups:
        return _farthest_first(scenario)
    return max(_Search(scenario, group).best() for group in groups)


def _exclusive_groups(scenario: Scenario) -> list[tuple[str, ...]]:
    """Groups of models that exclude each other, heaviest first; each of them alone gives a bound."""
    weights: dict[str, float] = defaultdict(float)
    for ask in scenario.asks:
        weights[ask.model] += scenario.costs[ask.model].start_s
    heaviest = sorted(weights, key=lambda name: (-weights[name], name))[:LOOKED_AT]
    groups: dict[tuple[str, ...], float] = {}
    for first in heaviest:
        group = [first]
        for name in heaviest:
            if all(name != other and _exclude(scenario.scheduler, name, other) for other in group):
                group.append(name)
        if len(group) > 1:
            groups[tuple(sorted(group))] = sum(weights[name] for name in group)
    return sorted(groups, key=lambda group: -groups[group])[:TRIED]


def _farthest_first(scenario: Scenario) -> float:
    """Seconds of waiting for starts alone, where models of one size share the GPU (Belady's algorithm).

    The model needed last is evicted: the fewest starts, if each request is served before the next arrives.
    """
    sizes = {tuple(sorted(scenario.scheduler.models[ask.model].footprint.items())) for ask in scenario.asks}
    if len(sizes) != 1:
        return sum(scenario.costs[name].start_s for name in {ask.model for ask in scenario.asks})
    budget = scenario.scheduler.budget
    places = min(budget.get(device, 0) // share for device, share in sizes.pop() if share)
    coming: dict[str, list[int]] = defaultdict(list)
    for index in range(len(scenario.asks) - 1, -1, -1):
        coming[scenario.asks[index].model].append(index)
    loaded: set[str] = set()
    waited_s = 0.0
    for ask in scenario.asks:
        coming[ask.model].pop()
        if ask.model not in loaded:
            waited_s += scenario.costs[ask.model].start_s
            if len(loaded) >= places:
                loaded.remove(
                    max(loaded, key=lambda name: coming[name][-1] if coming[name] else float("inf"))
                )
            loaded.add(ask.model)
    return waited_s


def _exclude(spec: SchedulerSpec, one: str, other: str) -> bool:
    a, b = spec.models[one].footprint, spec.models[other].footprint
    return any(share + b.get(device, 0) > spec.budget.get(device, 0) for device, share in a.items())


class _Search:
    def __init__(self, scenario: Scenario, group: tuple[str, ...]) -> None:
        self._arrivals = [[a.at_s for a in scenario.asks if a.model == name] for name in group]
        self._services = [[a.service_s for a in scenario.asks if a.model == name] for name in group]
        self._starts = [scenario.costs[name].start_s for name in group]
        self._stops = [scenario.costs[name].stop_s for name in group]
        self._patience_s = HOLD_ON * max(self._starts)
        self._total = sum(len(times) for times in self._arrivals)
        self._stages: list[dict[tuple[tuple[int, ...], int], list[_Plan]]] = [
            {} for _ in range(self._total + 1)
        ]
        self._done = float("inf")

    def best(self) -> float:
        """Total waiting of the best plan; searched in stages by the number of requests served."""
        none = (0,) * len(self._arrivals)
        for turn, times in enumerate(self._arrivals):
            self._keep(_Plan(none, turn, times[0] + self._starts[turn], 0.0))
        for number in range(self._total):
            stage, self._stages[number] = self._stages[number], {}
            plans = [plan for same in stage.values() for plan in same]
            for plan in sorted(plans, key=self._promise)[:KEPT]:
                self._extend(plan)
        return self._done

    def _promise(self, plan: _Plan) -> float:
        """Waiting so far, and of those who wait already."""
        owed = plan.waited_s
        for model, first in enumerate(plan.served):
            times = self._arrivals[model]
            for index in range(first, min(first + 200, len(times))):
                if times[index] >= plan.ready_at:
                    break
                owed += plan.ready_at - times[index]
        return owed

    def _keep(self, plan: _Plan) -> None:
        same = self._stages[sum(plan.served)].setdefault((plan.served, plan.turn), [])
        if any(p.ready_at <= plan.ready_at and p.waited_s <= plan.waited_s for p in same):
            return
        same[:] = [p for p in same if p.ready_at < plan.ready_at or p.waited_s < plan.waited_s]
        same.append(plan)

    def _extend(self, plan: _Plan) -> None:
        """Serve the model whose turn it is, and branch wherever a swap may be worth it."""
        turn, times, services = plan.turn, self._arrivals[plan.turn], self._services[plan.turn]
        index, waited_s, free_at = plan.served[turn], plan.waited_s, plan.ready_at
        while index < len(times) and (times[index] <= plan.ready_at or index == plan.served[turn]):
            granted_at = max(plan.ready_at, times[index])
            waited_s += granted_at - times[index]
            free_at = max(free_at, granted_at + services[index])
            index += 1
        while True:
            served = (*plan.served[:turn], index, *plan.served[turn + 1 :])
            others = [
                (self._arrivals[m][done], m)
                for m, done in enumerate(plan.served)
                if m != turn and done < len(self._arrivals[m])
            ]
            if not others and index == len(times):
                self._done = min(self._done, waited_s)
                return
            first_other = min(others)[0] if others else float("inf")
            following = times[index] if index < len(times) else float("inf")
            if following > first_other or free_at > first_other:
                for arrived, other in others:
                    if arrived <= max(free_at, first_other):
                        ready_at = max(free_at, arrived) + self._stops[turn] + self._starts[other]
                        self._keep(_Plan(served, other, ready_at, waited_s))
                if following - first_other > self._patience_s:
                    return
            free_at = max(free_at, following + services[index])
            index += 1

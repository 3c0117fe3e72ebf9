"""Questions about one resident model: what it holds, what it frees, when it may leave, what that costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hotseat.core import policy
from hotseat.core.deadlines import NEVER
from hotseat.core.model_state import ModelState
from hotseat.core.policy import Candidate
from hotseat.core.spec import PPM, Footprint
from hotseat.core.states import LOADING, Cause, State

HEAD_START = 2.0
"""Head start of one step of priority, in swaps of waiting."""


@dataclass(slots=True)
class Eviction:
    """A model that has to leave, and the model that needs its memory."""

    victim: ModelState
    needed_by: ModelState
    to_sleep: bool


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that waits for GPU memory."""

    model: ModelState
    since: float | None
    """Time since which a client or an operator has wanted it; ``None`` when only the configuration does, or
    clients that may not evict."""
    max_wait_s: float
    """Seconds of waiting after which it goes first and may cut turns short."""

    def order(self, now: float) -> tuple[int, float]:
        """Sort key: those beyond ``max_wait_s``, then by age and priority, then what is only kept warm."""
        if self.since is None:
            return 2, -rank(self.model)
        if now >= self.since + self.max_wait_s:
            return 0, self.since + self.max_wait_s
        head_start_s = HEAD_START * policy.swap_cost_s(self.model.return_cost_s) * rank(self.model)
        return 1, self.since - head_start_s


def rank(model: ModelState) -> int:
    """Priority of the model and of those who wait for it."""
    return model.spec.priority + model.queue.top_priority()


def wanted_since(model: ModelState) -> float | None:
    """Time since which a client or an operator has wanted it; ``None`` when only the configuration does.

    Clients that may not evict do not count: they yield to everybody.
    """
    if (queued := model.queue.oldest_evicting()) is not None:
        return queued.since
    return model.requested_at if model.requested else None


def memory_needed(model: ModelState) -> Footprint:
    """GPU memory to be ready, beyond what the model holds as a sleeper."""
    if model.state is not State.ASLEEP:
        return model.spec.footprint
    return {device: share - model.leftover.get(device, 0) for device, share in model.run_footprint.items()}


def memory_kept(model: ModelState) -> Footprint:
    """GPU memory that the model will still hold once it has done what it was irrevocably told."""
    if model.state is State.STOPPING or (model.state is State.DRAINING and not may_be_called_off(model)):
        return {}
    return model.leftover if model.state is State.SUSPENDING else model.memory_held()


def memory_freed(model: ModelState, to_sleep: bool) -> Footprint:
    """GPU memory that an eviction frees."""
    held = model.memory_held()
    if not to_sleep:
        return held
    return {device: share - model.leftover.get(device, 0) for device, share in held.items()}


def may_be_called_off(model: ModelState) -> bool:
    """Whether the model drains for an eviction, which may be called off."""
    return model.state is State.DRAINING and model.drain_cause is Cause.EVICTED


def may_be_evicted(model: ModelState) -> bool:
    """Whether the model may be a victim at any time."""
    if model.spec.pinned:
        return False
    return model.state in LOADING or model.state in (State.READY, State.ASLEEP) or may_be_called_off(model)


def evictable_at(resident: ModelState, contender: Contender, demand: int, now: float) -> float:
    """Time from which a resident may be evicted for a contender; ``NEVER`` until something happens.

    ``demand``: queued requests of all contenders. The first case that holds decides:

    1. It drains for an eviction already: now.
    2. Both are only kept warm by the configuration: never.
    3. It sleeps: now, unless it is wanted itself and the contender is only kept warm.
    4. It loads: now if nobody waits for it and somebody wants the contender, else never.
    5. The contender is only kept warm: after a turn without use; never while in use.
    6. At the end of its turn, which priority shortens; earlier when it has gone quiet, unless the
       configuration sets its turn (``residency``); and never later than the contender's longest wait.
    """
    since = contender.since
    if resident.state is State.DRAINING:  # 1
        return now
    if since is None and resident.warm:  # 2
        return NEVER
    if resident.state is State.ASLEEP:  # 3: wanted itself, it stands further back in line
        return now if since is not None or not (resident.queue or resident.requested) else NEVER
    if resident.state in LOADING:  # 4
        return NEVER if resident.queue or resident.requested or since is None else now
    swap_s = policy.swap_cost_s(resident.return_cost_s, contender.model.return_cost_s)
    fixed_s = resident.spec.residency_s
    turn_s = fixed_s
    if turn_s is None:
        turn_s = policy.turn_s(swap_s, max(resident.peak_demand, resident.demand), demand)
    if since is None:  # 5: nobody must notice
        return max(resident.idle_since, resident.ready_since) + turn_s if resident.quiet else NEVER
    at = resident.ready_since + turn_s  # 6
    if fixed_s is None:
        at -= HEAD_START * swap_s * (rank(contender.model) - resident.spec.priority)
        if resident.quiet:
            at = min(at, resident.idle_since + policy.linger_s(swap_s, resident.pause_s))
    max_wait_s = contender.max_wait_s
    if contender.model.spec.max_wait_s is None:
        max_wait_s = max(max_wait_s, 1.5 * (fixed_s or 0.0))
    return min(at, since + max_wait_s)


def eviction_cost(model: ModelState, now: float) -> float:
    """Cost of evicting the model; 0 when it leaves already. Of two alike, the smaller one costs less."""
    if model.state is State.DRAINING:
        return 0.0
    restart_s = policy.swap_cost_s(model.return_cost_s)
    cost = policy.eviction_cost(restart_s, now - model.idle_since if model.quiet else 0.0, model.demand)
    return cost * (1 + sum(model.memory_held().values()) / PPM)


def choose_victims(
    gap: Mapping[str, int], evictable: Collection[ModelState], needed_by: ModelState, now: float
) -> list[Eviction]:
    """The cheapest evictions that free ``gap`` (ppm by device): to sleep if that is enough, else to stop."""
    by_name = {model.name: model for model in evictable}
    for asleep in (True, False):
        candidates = [
            Candidate(m.name, memory_freed(m, asleep and _can_be_suspended(m)), eviction_cost(m, now))
            for m in evictable
        ]
        chosen = policy.choose_victims(gap, candidates)
        if chosen is not None:
            return [Eviction(by_name[n], needed_by, asleep and _can_be_suspended(by_name[n])) for n in chosen]
    return []


def _can_be_suspended(model: ModelState) -> bool:
    return model.can_sleep and model.state in (State.READY, State.DRAINING)

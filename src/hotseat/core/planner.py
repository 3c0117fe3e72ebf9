"""Planning from state: what to launch, who must leave for whom, which evictions to call off.

The plan is made anew after every event that may change it; nothing of an earlier plan is remembered
but the states that it led to. Reads seats, changes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hotseat.core import policy
from hotseat.core.policy import Candidate, Free
from hotseat.core.seat import NEVER, Seat
from hotseat.core.spec import Footprint
from hotseat.core.states import LOADING, Cause, State

HEAD_START = 2.0
"""A step of priority counts as so many swaps of waiting."""


@dataclass(slots=True)
class Eviction:
    """This model has to leave."""

    victim: Seat
    needed_by: Seat | None
    to_sleep: bool


@dataclass(slots=True)
class Plan:
    """What to do now, and when to look again if nothing happens before."""

    launch: list[Seat] = field(default_factory=list)
    evict: list[Eviction] = field(default_factory=list)
    call_off: list[Seat] = field(default_factory=list)
    hopeless: list[Seat] = field(default_factory=list)
    """They can never fit beside what is pinned."""
    waiting: int = 0
    """Models in line that could not be launched."""
    again_at: float = NEVER


def make_plan(line: Iterable[Seat], residents: Iterable[Seat], budget: Footprint, now: float) -> Plan:
    """Serve the line in the order of its turn; a place further back never takes room from one before."""
    plan = Plan()
    now_free: Free = dict(budget)
    soon_free: Free = dict(budget)
    pool: list[Seat] = []
    for seat in residents:
        held = seat.holds()
        policy.add(now_free, held, -1)
        policy.add(soon_free, _stays(seat), -1)
        if _may_ever_leave(seat):
            pool.append(seat)
    _relieve(plan, pool, soon_free, now)
    ordered = sorted(line, key=lambda seat: _place(seat, now))
    asked = sum(len(seat.queue) for seat in ordered)
    contenders = sum(1 for seat in ordered if seat.queue)
    for seat in ordered:
        need = _need(seat)
        if policy.fits(need, now_free) and policy.fits(need, soon_free):
            plan.launch.append(seat)
            policy.add(now_free, need, -1)
            policy.add(soon_free, need, -1)
            if seat in pool:
                pool.remove(seat)
            continue
        plan.waiting += 1
        if _hopeless(seat, residents, budget):
            plan.hopeless.append(seat)
            continue
        gap = policy.missing(need, soon_free)
        if gap:
            terms = {r.name: _leaves_at(r, seat, asked, contenders, now) for r in pool if r is not seat}
            willing = [r for r in pool if terms.get(r.name, NEVER) <= now]
            for eviction in _choose(gap, willing, seat, now):
                plan.evict.append(eviction)
                pool.remove(eviction.victim)
                policy.add(soon_free, _frees(eviction.victim, eviction.to_sleep))
            if policy.missing(need, soon_free):
                later = [at for at in terms.values() if at > now]
                plan.again_at = min([plan.again_at, *later])
        policy.add(soon_free, need, -1)
    plan.call_off = [seat for seat in pool if seat.state is State.DRAINING]
    return plan


def asked_since(seat: Seat) -> float | None:
    """Since when somebody has wanted it; ``None`` when only the configuration does."""
    if seat.queue:
        return seat.queue.oldest().since
    return seat.requested_at if seat.requested else None


def _place(seat: Seat, now: float) -> tuple[bool, float, str]:
    since = asked_since(seat)
    head_start = HEAD_START * policy.swap_cost_s(seat.start_cost_s) * seat.queue.top_priority()
    return since is None, (now if since is None else since) - head_start, seat.name


def _need(seat: Seat) -> Footprint:
    held = seat.holds()
    return {device: share - held.get(device, 0) for device, share in seat.spec.footprint.items()}


def _stays(seat: Seat) -> Footprint:
    """What it will still hold once it has done what it was irrevocably told."""
    if seat.state is State.STOPPING or (seat.state is State.DRAINING and seat.leaving is not Cause.EVICTED):
        return {}
    return seat.leftover if seat.state is State.SUSPENDING else seat.holds()


def _may_ever_leave(seat: Seat) -> bool:
    if seat.spec.pinned:
        return False
    if seat.state is State.DRAINING:
        return seat.leaving is Cause.EVICTED
    return seat.state in LOADING or seat.state in (State.READY, State.ASLEEP)


def _frees(seat: Seat, to_sleep: bool) -> Footprint:
    held = seat.holds()
    if not to_sleep:
        return held
    return {device: share - seat.leftover.get(device, 0) for device, share in held.items()}


def _can_sleep(seat: Seat) -> bool:
    return seat.sleeps and seat.state in (State.READY, State.DRAINING)


def _leaves_at(seat: Seat, needed_by: Seat, asked: int, contenders: int, now: float) -> float:
    """From when this resident may be sent away for ``needed_by``; ``NEVER`` until something happens."""
    since = asked_since(needed_by)
    if seat.state is State.DRAINING:
        return now
    if seat.state is State.ASLEEP:
        return NEVER if seat.queue or (seat.warm and since is None) else now
    if seat.state in LOADING:
        wanted = seat.queue or seat.requested or (seat.warm and since is None)
        return NEVER if wanted else now
    swap_s = policy.swap_cost_s(seat.start_cost_s, needed_by.start_cost_s)
    fixed_s = seat.spec.residency_s
    turn_s = policy.turn_s(swap_s, max(seat.peak, seat.demand), asked) if fixed_s is None else fixed_s
    if since is None:  # only to keep it warm: nobody must notice
        return max(seat.idle_since, seat.ready_since) + turn_s if seat.quiet and not seat.warm else NEVER
    favour_s = HEAD_START * swap_s * (needed_by.queue.top_priority() - seat.spec.priority)
    at = seat.ready_since + turn_s - (favour_s if fixed_s is None else 0.0)
    if fixed_s is None and seat.quiet:
        at = min(at, seat.idle_since + policy.linger_s(swap_s, seat.pause_s))
    wait_s = needed_by.spec.max_wait_s
    if wait_s is None:
        wait_s = max(policy.max_wait_s(swap_s, contenders), 1.5 * (fixed_s or 0.0))
    return min(at, since + wait_s)


def _choose(
    gap: Mapping[str, int], willing: list[Seat], needed_by: Seat | None, now: float
) -> list[Eviction]:
    """The cheapest sufficient victims: asleep if that frees enough, stopped if not."""
    by_name = {seat.name: seat for seat in willing}
    for asleep in (True, False):
        candidates = [Candidate(s.name, _frees(s, asleep and _can_sleep(s)), _value(s, now)) for s in willing]
        chosen = policy.make_room(gap, candidates)
        if chosen is not None:
            return [Eviction(by_name[n], needed_by, asleep and _can_sleep(by_name[n])) for n in chosen]
    return []


def _value(seat: Seat, now: float) -> float:
    if seat.state is State.DRAINING:
        return 0.0
    restart_s = policy.swap_cost_s(seat.start_cost_s)
    return policy.worth(restart_s, now - seat.idle_since if seat.quiet else 0.0, seat.demand)


def _hopeless(seat: Seat, residents: Iterable[Seat], budget: Footprint) -> bool:
    free: Free = dict(budget)
    for other in residents:
        if other.spec.pinned and other is not seat:
            policy.add(free, other.holds(), -1)
    return not policy.fits(seat.spec.footprint, free)


def _relieve(plan: Plan, pool: list[Seat], soon_free: Free, now: float) -> None:
    """More is taken than the budget allows (somebody else started a model): quiet ones make room."""
    gap = {device: -free for device, free in soon_free.items() if free < 0}
    if not gap:
        return
    newest = max((seat.ready_since for seat in pool), default=now)
    quiet = [s for s in pool if s.state in (State.READY, State.ASLEEP) and s.quiet and s.ready_since < newest]
    for eviction in _choose(gap, quiet, None, now):
        plan.evict.append(eviction)
        pool.remove(eviction.victim)
        policy.add(soon_free, _frees(eviction.victim, eviction.to_sleep))

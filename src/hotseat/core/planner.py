"""Planning from state: what to launch, who must leave for whom, which evictions to call off.

The plan is made anew after every event that may change it; nothing of an earlier plan is remembered
but the states that it led to. Reads seats, changes none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hotseat.core import policy
from hotseat.core.deadlines import NEVER
from hotseat.core.model_state import ModelState
from hotseat.core.policy import Candidate, Free
from hotseat.core.spec import PPM, Footprint
from hotseat.core.states import LOADING, Cause, State

HEAD_START = 2.0
"""A step of priority counts as so many swaps of waiting."""


@dataclass(slots=True)
class Eviction:
    """This model has to leave."""

    victim: ModelState
    needed_by: ModelState
    to_sleep: bool


@dataclass(slots=True)
class Plan:
    """What to do now, and when to look again if nothing happens before."""

    launch: list[ModelState] = field(default_factory=list)
    evict: list[Eviction] = field(default_factory=list)
    call_off: list[ModelState] = field(default_factory=list)
    infeasible: list[ModelState] = field(default_factory=list)
    """They can never fit beside what is pinned."""
    contended: bool = False
    """Somebody waits for room, or too much is taken: a lease that comes back may change the plan."""
    again_at: float = NEVER
    patience_s: float = 0.0
    """What those in line wait before they go first, where their configuration does not say it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model's place in the line for room."""

    seat: ModelState
    since: float | None
    """Since when somebody has wanted it; ``None`` when only the configuration does."""
    patience_s: float
    """After so much waiting it goes first and may cut turns short."""

    def order(self, now: float) -> tuple[int, float]:
        """Who comes first: those out of patience, then by age and priority, then what is only kept warm."""
        if self.since is None:
            return 2, -rank(self.seat)
        if now >= self.since + self.patience_s:
            return 0, self.since + self.patience_s
        head_start_s = HEAD_START * policy.swap_cost_s(self.seat.return_cost_s) * rank(self.seat)
        return 1, self.since - head_start_s


def make_plan(
    line: Collection[ModelState], residents: Collection[ModelState], budget: Footprint, now: float
) -> Plan:
    """Serve the line in the order of its turn; a place further back never takes room from one before."""
    plan = Plan()
    now_free: Free = dict(budget)
    soon_free: Free = dict(budget)
    pool: list[ModelState] = []
    for seat in residents:
        policy.add(now_free, seat.holds(), -1)
        policy.add(soon_free, _stays(seat), -1)
        if _may_ever_leave(seat):
            pool.append(seat)
    _relieve(plan, residents, pool, soon_free, now)
    waiting = [seat for seat in line if seat.queue]
    asked = sum(len(seat.queue) for seat in waiting)
    swap_s = policy.swap_cost_s(*(seat.return_cost_s for seat in (*waiting, *pool)))
    plan.patience_s = policy.max_wait_s(swap_s, len(waiting))
    places = sorted((_place(seat, plan.patience_s) for seat in line), key=lambda place: place.order(now))
    for place in places:
        seat, need = place.seat, _need(place.seat)
        if any(eviction.victim is seat for eviction in plan.evict):  # asleep, and in the way of one before
            policy.add(soon_free, seat.spec.footprint, -1)
            continue
        if seat in pool:  # asleep: those behind it cannot send it away
            pool.remove(seat)
        if _hopeless(seat, residents, budget):
            plan.infeasible.append(seat)
            continue
        if policy.fits(need, now_free) and policy.fits(need, soon_free):
            plan.launch.append(seat)
            policy.add(now_free, need, -1)
            policy.add(soon_free, need, -1)
            continue
        plan.contended = True
        if gap := policy.missing(need, soon_free):
            terms = [(resident, _leaves_at(resident, place, asked, now)) for resident in pool]
            for eviction in _choose(gap, [resident for resident, at in terms if at <= now], seat, now):
                plan.evict.append(eviction)
                pool.remove(eviction.victim)
                policy.add(soon_free, _frees(eviction.victim, eviction.to_sleep))
            if policy.missing(need, soon_free):
                plan.again_at = min([plan.again_at, *(at for _, at in terms if at > now)])
        policy.add(soon_free, need, -1)
    leaving = {eviction.victim.name for eviction in plan.evict}
    plan.call_off = [s for s in residents if _may_be_called_off(s) and s.name not in leaving]
    return plan


def free_host_memory(
    newcomer: ModelState, residents: Collection[ModelState], limit_mib: int | None
) -> list[ModelState] | None:
    """The sleepers to stop, oldest first, so that one more fits into host memory; ``None``: it never will."""
    if limit_mib is None:
        return []
    beds = [s for s in residents if s.state in (State.ASLEEP, State.SUSPENDING)]
    over = sum(_host_mib(seat) for seat in beds) + _host_mib(newcomer) - limit_mib
    leaving: list[ModelState] = []
    for sleeper in sorted((s for s in beds if s.state is State.ASLEEP), key=lambda s: (s.since, s.name)):
        if over > 0 and _host_mib(sleeper) and not (sleeper.queue or sleeper.requested):
            leaving.append(sleeper)
            over -= _host_mib(sleeper)
    return leaving if over <= 0 else None


def _host_mib(seat: ModelState) -> int:
    sleep = seat.spec.sleep
    return sleep.host_mib if sleep is not None and sleep.level == 1 else 0


def asked_since(seat: ModelState) -> float | None:
    """Since when somebody has wanted it; ``None`` when only the configuration does."""
    if seat.queue:
        return seat.queue.oldest().since
    return seat.requested_at if seat.requested else None


def rank(seat: ModelState) -> int:
    """The priority of those who wait for it."""
    return seat.spec.priority + seat.queue.top_priority()


def _place(seat: ModelState, patience_s: float) -> Contender:
    told_s = seat.spec.max_wait_s
    return Contender(seat, asked_since(seat), patience_s if told_s is None else told_s)


def _need(seat: ModelState) -> Footprint:
    if seat.state is not State.ASLEEP:
        return seat.spec.footprint
    return {device: share - seat.leftover.get(device, 0) for device, share in seat.run_footprint.items()}


def _stays(seat: ModelState) -> Footprint:
    """What it will still hold once it has done what it was irrevocably told."""
    if seat.state is State.STOPPING or (seat.state is State.DRAINING and seat.leaving is not Cause.EVICTED):
        return {}
    return seat.leftover if seat.state is State.SUSPENDING else seat.holds()


def _may_be_called_off(seat: ModelState) -> bool:
    return seat.state is State.DRAINING and seat.leaving is Cause.EVICTED


def _may_ever_leave(seat: ModelState) -> bool:
    if seat.spec.pinned:
        return False
    return seat.state in LOADING or seat.state in (State.READY, State.ASLEEP) or _may_be_called_off(seat)


def _frees(seat: ModelState, to_sleep: bool) -> Footprint:
    held = seat.holds()
    if not to_sleep:
        return held
    return {device: share - seat.leftover.get(device, 0) for device, share in held.items()}


def _can_sleep(seat: ModelState) -> bool:
    return seat.sleeps and seat.state in (State.READY, State.DRAINING)


def _leaves_at(seat: ModelState, place: Contender, asked: int, now: float) -> float:
    """From when this resident may be sent away for that place; ``NEVER`` until something happens."""
    since = place.since
    if seat.state is State.DRAINING:
        return now
    if since is None and seat.warm:  # what is to be warm does not chase out what is warm
        return NEVER
    if seat.state is State.ASLEEP:  # in line itself, it stands further back
        return now if since is not None or not (seat.queue or seat.requested) else NEVER
    if seat.state in LOADING:
        return NEVER if seat.queue or seat.requested or since is None else now
    swap_s = policy.swap_cost_s(seat.return_cost_s, place.seat.return_cost_s)
    fixed_s = seat.spec.residency_s
    turn_s = policy.turn_s(swap_s, max(seat.peak, seat.demand), asked) if fixed_s is None else fixed_s
    if since is None:  # only to keep it warm: nobody must notice
        return max(seat.idle_since, seat.ready_since) + turn_s if seat.quiet else NEVER
    at = seat.ready_since + turn_s
    if fixed_s is None:
        at -= HEAD_START * swap_s * (rank(place.seat) - seat.spec.priority)
        if seat.quiet:
            at = min(at, seat.idle_since + policy.linger_s(swap_s, seat.pause_s))
    patience_s = place.patience_s
    if place.seat.spec.max_wait_s is None:
        patience_s = max(patience_s, 1.5 * (fixed_s or 0.0))
    return min(at, since + patience_s)


def _choose(
    gap: Mapping[str, int], willing: list[ModelState], needed_by: ModelState, now: float
) -> list[Eviction]:
    """The cheapest sufficient victims: asleep if that frees enough, stopped if not."""
    by_name = {seat.name: seat for seat in willing}
    for asleep in (True, False):
        candidates = [Candidate(s.name, _frees(s, asleep and _can_sleep(s)), _value(s, now)) for s in willing]
        chosen = policy.make_room(gap, candidates)
        if chosen is not None:
            return [Eviction(by_name[n], needed_by, asleep and _can_sleep(by_name[n])) for n in chosen]
    return []


def _value(seat: ModelState, now: float) -> float:
    if seat.state is State.DRAINING:
        return 0.0
    restart_s = policy.swap_cost_s(seat.return_cost_s)
    worth = policy.worth(restart_s, now - seat.idle_since if seat.quiet else 0.0, seat.demand)
    return worth * (1 + sum(seat.holds().values()) / PPM)  # of two alike, the smaller one


def _hopeless(seat: ModelState, residents: Collection[ModelState], budget: Footprint) -> bool:
    free: Free = dict(budget)
    for other in residents:
        if other.spec.pinned and other is not seat:
            policy.add(free, _stays(other), -1)
    return not policy.fits(seat.spec.footprint, free)


def _relieve(
    plan: Plan, residents: Collection[ModelState], pool: list[ModelState], soon_free: Free, now: float
) -> None:
    """More is taken than the budget allows (somebody else started a model): quiet ones make room for it."""
    gap = {device: -free for device, free in soon_free.items() if free < 0}
    if not gap:
        return
    newest = max(residents, key=lambda seat: (seat.launched_at, seat.name))
    quiet = [s for s in pool if s.state in (State.READY, State.ASLEEP) and s.quiet and s is not newest]
    for eviction in _choose(gap, quiet, newest, now):
        plan.evict.append(eviction)
        pool.remove(eviction.victim)
        policy.add(soon_free, _frees(eviction.victim, eviction.to_sleep))
    plan.contended = any(free < 0 for free in soon_free.values())

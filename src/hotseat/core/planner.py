"""Planning from state: what to launch, which models to evict for whom, which evictions to call off.

The plan is made anew after every event that may change it; nothing of an earlier plan is remembered
but the states that it led to. Reads the models' states and changes none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from hotseat.core import eviction, policy
from hotseat.core.deadlines import NEVER
from hotseat.core.eviction import Contender, Eviction
from hotseat.core.model_state import ModelState
from hotseat.core.policy import Free
from hotseat.core.spec import Footprint, StandbyMode
from hotseat.core.states import STANDS_BY, State


@dataclass(slots=True)
class Plan:
    """Decisions of one planning round, and when to plan again if nothing happens before."""

    launch: list[ModelState] = field(default_factory=list)
    evict: list[Eviction] = field(default_factory=list)
    call_off: list[ModelState] = field(default_factory=list)
    """Models whose eviction is no longer needed."""
    infeasible: list[ModelState] = field(default_factory=list)
    """Models that can never fit beside what is pinned."""
    waiting: list[ModelState] = field(default_factory=list)
    """Models that clients or operators want and that must wait for memory, in their order."""
    declined: list[ModelState] = field(default_factory=list)
    """Models whose requests may not evict, and would have to."""
    contended: bool = False
    """Somebody waits for memory, or too much is taken: a lease that comes back may change the plan."""
    again_at: float = NEVER
    max_wait_s: float = 0.0
    """Seconds after which a contender goes first, where its configuration does not say."""


@dataclass(slots=True)
class _Memory:
    """Free GPU memory while a plan is made, and the residents that may still be evicted."""

    now: Free
    soon: Free
    """Once all that was irrevocably told to leave has left, and what was planned so far has been done."""
    evictable: list[ModelState]

    @classmethod
    def of(cls, residents: Collection[ModelState], budget: Footprint) -> _Memory:
        memory = cls(dict(budget), dict(budget), [])
        for model in residents:
            policy.add(memory.now, model.memory_held(), -1)
            policy.add(memory.soon, eviction.memory_kept(model), -1)
            if eviction.may_be_evicted(model):
                memory.evictable.append(model)
        return memory

    def evict(self, evictions: list[Eviction]) -> None:
        """Count the victims' memory as free soon."""
        for chosen in evictions:
            self.evictable.remove(chosen.victim)
            policy.add(self.soon, eviction.memory_freed(chosen.victim, chosen.to_sleep))


def make_plan(
    wanted: Collection[ModelState], residents: Collection[ModelState], budget: Footprint, now: float
) -> Plan:
    """Plan for the wanted models, those first that are first in line (``Contender.order``).

    Where more memory is taken than the budget allows, quiet models are evicted first. Then, for each
    contender, the first case that holds decides:

    1. It sleeps and was chosen as a victim for somebody before it: its memory is reserved, no more.
    2. It can never fit beside what is pinned: infeasible.
    3. It fits into what is free now, without taking what others were promised: launch it.
    4. It fits once those have left that leave already: wait.
    5. Only requests wait that may not evict (``QueuedRequest.may_evict``): decline them.
    6. Evict the cheapest of those that may be evicted for it now; where these do not free enough,
       plan again when the next one may be evicted.

    In cases 1, 3, 4 and 6 its memory is reserved: a contender further back never takes memory that one
    before it waits for. At last, evictions under way that this plan does not choose are called off.
    """
    plan = Plan()
    memory = _Memory.of(residents, budget)
    _free_excess(plan, residents, memory, now)
    queued = [model for model in wanted if model.queue.evicting]
    demand = sum(model.queue.evicting for model in queued)
    swap_s = policy.swap_cost_s(*(model.return_cost_s for model in (*queued, *memory.evictable)))
    plan.max_wait_s = policy.max_wait_s(swap_s, len(queued))
    contenders = (_contender(model, plan.max_wait_s) for model in wanted)
    for contender in sorted(contenders, key=lambda contender: contender.order(now)):
        model, need = contender.model, eviction.memory_needed(contender.model)
        if any(chosen.victim is model for chosen in plan.evict):  # 1
            if _may_not_evict(model):
                plan.declined.append(model)
            policy.add(memory.soon, model.spec.footprint, -1)
            continue
        if model in memory.evictable:  # asleep: contenders behind it cannot evict it
            memory.evictable.remove(model)
        if _infeasible(model, residents, budget):  # 2
            plan.infeasible.append(model)
            continue
        if policy.fits(need, memory.now) and policy.fits(need, memory.soon):  # 3
            plan.launch.append(model)
            policy.add(memory.now, need, -1)
            policy.add(memory.soon, need, -1)
            continue
        gap = policy.missing(need, memory.soon)
        if gap and _may_not_evict(model):  # 5
            plan.declined.append(model)
            if not model.warm:
                continue
        plan.contended = True
        if contender.since is not None:
            plan.waiting.append(model)
        if gap:  # 6; without a gap: 4
            _evict_for(contender, gap, plan, memory, demand, now)
        policy.add(memory.soon, need, -1)
    victims = {chosen.victim.name for chosen in plan.evict}
    plan.call_off = [m for m in residents if eviction.may_be_called_off(m) and m.name not in victims]
    return plan


def _evict_for(contender: Contender, gap: Free, plan: Plan, memory: _Memory, demand: int, now: float) -> None:
    """Case 6 of ``make_plan``."""
    times = [(m, eviction.evictable_at(m, contender, demand, now)) for m in memory.evictable]
    evictable_now = [resident for resident, at in times if at <= now]
    chosen = eviction.choose_victims(gap, evictable_now, contender.model, now)
    plan.evict += chosen
    memory.evict(chosen)
    if policy.missing(eviction.memory_needed(contender.model), memory.soon):
        plan.again_at = min([plan.again_at, *(at for _, at in times if at > now)])


def _contender(model: ModelState, max_wait_s: float) -> Contender:
    configured_s = model.spec.max_wait_s
    return Contender(
        model, eviction.wanted_since(model), max_wait_s if configured_s is None else configured_s
    )


def _may_not_evict(model: ModelState) -> bool:
    """Whether clients want the model, and none that may evict others for it."""
    return bool(model.queue) and not model.queue.evicting and not model.requested


def _infeasible(model: ModelState, residents: Collection[ModelState], budget: Footprint) -> bool:
    free: Free = dict(budget)
    for other in residents:
        if other.spec.pinned and other is not model:
            policy.add(free, eviction.memory_kept(other), -1)
    return not policy.fits(model.spec.footprint, free)


def _free_excess(plan: Plan, residents: Collection[ModelState], memory: _Memory, now: float) -> None:
    """Evict quiet models where more is taken than the budget allows (somebody else started a model)."""
    gap = {device: -free for device, free in memory.soon.items() if free < 0}
    if not gap:
        return
    holders = [model for model in residents if model.state not in STANDS_BY]
    newest = max(holders, key=lambda model: (model.launched_at, model.name))
    idle = (State.READY, State.ASLEEP)
    quiet = [m for m in memory.evictable if m.state in idle and m.quiet and m is not newest]
    plan.evict += (chosen := eviction.choose_victims(gap, quiet, newest, now))
    memory.evict(chosen)
    plan.contended = any(free < 0 for free in memory.soon.values())


def free_host_memory(
    need_mib: int, residents: Collection[ModelState], limit_mib: int | None, *, sleepers: bool
) -> list[ModelState] | None:
    """The models to stop so that ``need_mib`` more fits into host memory; ``None``: impossible.

    Those that stand by for nobody go first, then, with ``sleepers``, the oldest sleepers.
    """
    if limit_mib is None:
        return []
    over = sum(resident.host_mib for resident in residents) + need_mib - limit_mib
    states: tuple[State, ...] = (State.PREPARING, State.STANDBY)
    if sleepers:
        states = (*states, State.ASLEEP)
    candidates = [m for m in residents if m.state in states and m.host_mib and not (m.queue or m.requested)]
    victims: list[ModelState] = []
    for candidate in sorted(candidates, key=lambda m: (m.state is State.ASLEEP, m.since, m.name)):
        if over > 0:
            victims.append(candidate)
            over -= candidate.host_mib
    return victims if over <= 0 else None


def to_keep_prepared(
    models: Collection[ModelState], residents: Collection[ModelState], now: float
) -> ModelState | None:
    """The model to prepare although nobody waits for it: one to be kept warm, else the one used last.

    ``None``: there is none, or another is being prepared.
    """
    if any(resident.state is State.PREPARING for resident in residents):
        return None
    candidates = [
        model
        for model in models
        if model.state is State.STOPPED
        and model.spec.standby is StandbyMode.KEEP
        and model.can_prepare(now)
        and not (model.queue or model.requested or model.dismissed)
        and (model.warm or model.last_used is not None)
    ]
    return max(candidates, key=lambda m: (m.warm, m.last_used or 0.0, m.name), default=None)

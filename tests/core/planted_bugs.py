"""Plants a bug against each promise and shows that the property test finds it. By hand:

    PYTHONPATH=tests python tests/core/planted_bugs.py [word in the bug's name]

Each bug is a small, believable mistake, planted by replacing one function; random histories are tried until
one fails. Prints one line a bug, and ends with status 1 when one was not found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from core_machine import Histories

from fakes.planted import Bug, main, wrapping
from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import eviction, planner, policy, replan, scheduler_state
from hotseat.core.deadlines import NEVER
from hotseat.core.errors import Reason
from hotseat.core.handlers import downloads, requests, runs
from hotseat.core.model_state import ModelState
from hotseat.core.queue import FairQueue
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.spec import StandbyMode
from hotseat.core.states import HOLDS_RUN, Cause, State

EXAMPLES, STEPS = 3000, 60


def _memory_is_free_when_told_to_stop(model: ModelState) -> Any:
    return {} if model.state is State.STOPPING or model.state not in HOLDS_RUN else model.run_footprint


def _devices_added_up(real: Callable[..., Any]) -> Callable[..., Any]:
    def fits(need: Any, free: Any) -> bool:
        return sum(need.values()) <= sum(max(0, ppm) for ppm in free.values())

    return fits


def _starts_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    def launch(self: SchedulerState, model: ModelState, now: float) -> None:
        real(self, model, now)
        if len(model.queue) > 2 and model.state is State.STARTING:
            self.effects.append(do.StartRun(model.name, model.run or 0))

    return launch


def _numbers_begin_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def drop_if_retired(self: SchedulerState, model: ModelState) -> None:
        real(self, model)
        if model.retired and model.run is None:
            self.run_numbers.pop(model.name, None)

    return drop_if_retired


def _withdrawn_stays_queued(real: Callable[..., Any]) -> Callable[..., Any]:
    def request_withdrawn(state: SchedulerState, event: ev.RequestWithdrawn, now: float) -> None:
        model = state.requests.get(event.request)
        if model is not None and event.request in model.queue and model.state is State.STARTING:
            return
        real(state, event, now)

    return request_withdrawn


def _refused_and_kept(real: Callable[..., Any]) -> Callable[..., Any]:
    def clear(self: FairQueue) -> Any:
        everything = real(self)
        if len(everything) > 1:
            self.push(everything[-1])
        return everything

    return clear


def _stops_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def unload(
        self: SchedulerState, model: ModelState, cause: Cause, now: float, to_sleep: bool = False
    ) -> None:
        if model.state is State.READY and len(model.leases) == 1:
            self.break_leases(model, Reason(summary="evicted"), now)
        real(self, model, cause, now, to_sleep)

    return unload


def _drained_by_one(real: Callable[..., Any]) -> Callable[..., Any]:
    def lease_returned(state: SchedulerState, event: ev.LeaseReturned, now: float) -> None:
        model = state.requests.get(event.request)
        real(state, event, now)
        if model is not None and model.state is State.DRAINING:
            state.stop(model, Cause.DRAINED, now)

    return lease_returned


def _the_first_name_goes_first(real: Callable[..., Any]) -> Callable[..., Any]:
    def order(self: eviction.Contender, now: float) -> Any:
        return self.model.name

    return order


def _busy_ones_never_leave(real: Callable[..., Any]) -> Callable[..., Any]:
    def evictable_at(resident: ModelState, *rest: Any) -> float:
        return NEVER if resident.leases else real(resident, *rest)

    return evictable_at


def _forgets_to_plan_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def make_plan(*arguments: Any) -> Any:
        plan = real(*arguments)
        plan.again_at = NEVER
        plan.contended = False
        return plan

    return make_plan


def _leaves_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def evictable_at(resident: ModelState, contender: Any, demand: int, now: float) -> float:
        return now if resident.state is State.READY else real(resident, contender, demand, now)

    return evictable_at


def _short_turns(real: Callable[..., Any]) -> Callable[..., Any]:
    def turn_s(swap_s: float, demand: int, others: int) -> float:
        return swap_s * 0.5

    return turn_s


def _evicts_pinned(real: Callable[..., Any]) -> Callable[..., Any]:
    def may_be_evicted(model: ModelState) -> bool:
        return model.state in (State.READY, State.ASLEEP, State.STARTING)

    return may_be_evicted


def _abandons_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def request_withdrawn(state: SchedulerState, event: ev.RequestWithdrawn, now: float) -> None:
        model = state.requests.get(event.request)
        real(state, event, now)
        if model is not None and model.state is State.STARTING and not model.queue and not model.requested:
            state.stop(model, Cause.ABANDONED, now)

    return request_withdrawn


def _loading_gives_way(real: Callable[..., Any]) -> Callable[..., Any]:
    def evictable_at(resident: ModelState, *rest: Any) -> float:
        return rest[-1] if resident.state is State.STARTING else real(resident, *rest)

    return evictable_at


def _hangs_at_failure(real: Callable[..., Any]) -> Callable[..., Any]:
    def fail(self: SchedulerState, model: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        queued = model.queue.clear()
        real(self, model, cause, reason, now)
        for request in queued:
            model.queue.push(request)

    return fail


def _backoff_does_not_grow(earlier: int, jitter: float) -> float:
    return 1.0


def _old_runs_are_believed(self: SchedulerState, name: str, run: int) -> ModelState | None:
    model = self.models.get(name)
    return model if model is not None and model.run is not None else None


def _a_return_counts_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    seen: set[int] = set()

    def lease_returned(state: SchedulerState, event: ev.LeaseReturned, now: float) -> None:
        if event.request in seen and event.request not in state.requests:
            for model in state.models.values():
                if model.leases:
                    real(state, ev.LeaseReturned(next(iter(model.leases))), now)
                    return
        seen.add(event.request)
        real(state, event, now)

    return lease_returned


def _old_downloads_are_believed(self: SchedulerState, name: str, download: int) -> Any:
    model = self.models.get(name)
    return model if model is not None and model.state is State.DOWNLOADING else None


def _files_do_not_matter(model: ModelState) -> bool:
    return False


def _forgets_the_files(real: Callable[..., Any]) -> Callable[..., Any]:
    def downloaded(state: SchedulerState, event: ev.Downloaded, now: float) -> None:
        model = state.models.get(event.model)
        real(state, event, now)
        if model is not None and model.state is State.STOPPED:
            model.files_missing = True

    return downloaded


def _admits_what_does_not_fit(real: Callable[..., Any]) -> Callable[..., Any]:
    def run_prepared(state: SchedulerState, event: ev.RunPrepared, now: float) -> None:
        real(state, event, now)
        model = state.running(event.model, event.run)
        if model is not None and model.state is State.STANDBY and model.queue:
            state.launch(model, now)

    return run_prepared


def _prepares_what_nothing_holds(model: ModelState, now: float) -> bool:
    return model.spec.standby is not StandbyMode.OFF and not model.files_missing and not model.unusable


def _host_memory_without_end(real: Callable[..., Any]) -> Callable[..., Any]:
    def free(need_mib: int, residents: Any, limit_mib: int | None, *, sleepers: bool) -> Any:
        return real(need_mib, residents, limit_mib, sleepers=sleepers) or []

    return free


def _dead_standby_hangs(real: Callable[..., Any]) -> Callable[..., Any]:
    def run_exited(state: SchedulerState, event: ev.RunExited, now: float) -> None:
        model = state.running(event.model, event.run)
        if model is None or model.state is not State.STANDBY:
            real(state, event, now)

    return run_exited


BUGS = (
    wrapping(1, "a standby is admitted when it is prepared", runs, "run_prepared", _admits_what_does_not_fit),
    Bug(1, "what nothing holds is prepared", ModelState, "can_prepare", _prepares_what_nothing_holds),
    wrapping(
        1, "standbys take all host memory", scheduler_state, "free_host_memory", _host_memory_without_end
    ),
    wrapping(9, "the end of a standby is not believed", runs, "run_exited", _dead_standby_hangs),
    Bug(1, "memory is free once told to stop", ModelState, "memory_held", _memory_is_free_when_told_to_stop),
    wrapping(1, "devices are added up", policy, "fits", _devices_added_up),
    wrapping(2, "a crowd starts it twice", SchedulerState, "launch", _starts_twice),
    wrapping(3, "a withdrawn request stays queued", requests, "request_withdrawn", _withdrawn_stays_queued),
    wrapping(3, "one is refused and kept in line", FairQueue, "clear", _refused_and_kept),
    wrapping(4, "a single stream is cut at eviction", SchedulerState, "unload", _stops_at_once),
    wrapping(4, "drained when one lease is back", requests, "lease_returned", _drained_by_one),
    wrapping(5, "the first name goes first", eviction.Contender, "order", _the_first_name_goes_first),
    wrapping(5, "busy models never leave", eviction, "evictable_at", _busy_ones_never_leave),
    wrapping(5, "nothing is planned again", planner, "make_plan", _forgets_to_plan_again),
    wrapping(6, "everybody leaves at once", eviction, "evictable_at", _leaves_at_once),
    wrapping(6, "turns are half a swap", policy, "turn_s", _short_turns),
    wrapping(6, "pinned models are evicted", eviction, "may_be_evicted", _evicts_pinned),
    wrapping(7, "a start ends with its last client", requests, "request_withdrawn", _abandons_at_once),
    wrapping(7, "a start that is awaited gives way", eviction, "evictable_at", _loading_gives_way),
    wrapping(8, "a failed start leaves clients waiting", SchedulerState, "fail", _hangs_at_failure),
    Bug(8, "back-offs do not grow", policy, "backoff_s", _backoff_does_not_grow),
    Bug(9, "reports of old runs are believed", SchedulerState, "running", _old_runs_are_believed),
    wrapping(9, "run numbers begin again", SchedulerState, "drop_if_retired", _numbers_begin_again),
    Bug(
        9, "reports of old downloads are believed", SchedulerState, "downloading", _old_downloads_are_believed
    ),
    Bug(10, "starts without its files", replan, "lacks_files", _files_do_not_matter),
    wrapping(10, "files that were there are taken for gone", downloads, "downloaded", _forgets_the_files),
    wrapping(9, "a return counts twice", requests, "lease_returned", _a_return_counts_twice),
)


if __name__ == "__main__":
    sys.exit(main(BUGS, Histories, EXAMPLES, STEPS))

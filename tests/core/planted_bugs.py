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
from hotseat.core import events as ev
from hotseat.core import planner, policy
from hotseat.core import scheduler as scheduling
from hotseat.core.deadlines import NEVER
from hotseat.core.errors import Reason
from hotseat.core.model_state import ModelState
from hotseat.core.queue import FairQueue
from hotseat.core.scheduler import Scheduler
from hotseat.core.states import HOLDS_RUN, Cause, State

EXAMPLES, STEPS = 3000, 60


def _memory_is_free_when_told_to_stop(seat: ModelState) -> Any:
    return {} if seat.state is State.STOPPING or seat.state not in HOLDS_RUN else seat.run_footprint


def _devices_added_up(real: Callable[..., Any]) -> Callable[..., Any]:
    def fits(need: Any, free: Any) -> bool:
        return sum(need.values()) <= sum(max(0, ppm) for ppm in free.values())

    return fits


def _starts_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    def launch(self: Scheduler, seat: ModelState, now: float) -> None:
        real(self, seat, now)
        if len(seat.queue) > 2 and seat.state is State.STARTING:
            self._out.append(scheduling.do.StartRun(seat.name, seat.run or 0))

    return launch


def _numbers_begin_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def forget(self: Scheduler, seat: ModelState) -> None:
        real(self, seat)
        if seat.retired and seat.run is None:
            self._numbers.pop(seat.name, None)

    return forget


def _withdrawn_stays_in_line(real: Callable[..., Any]) -> Callable[..., Any]:
    def withdrawn(self: Scheduler, event: ev.RequestWithdrawn, now: float) -> None:
        seat = self._requests.get(event.request)
        if seat is not None and event.request in seat.queue and seat.state is State.STARTING:
            return
        real(self, event, now)

    return withdrawn


def _refused_and_kept(real: Callable[..., Any]) -> Callable[..., Any]:
    def clear(self: FairQueue) -> Any:
        everybody = real(self)
        if len(everybody) > 1:
            self.push(everybody[-1])
        return everybody

    return clear


def _stops_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def send_away(
        self: Scheduler, seat: ModelState, cause: Cause, now: float, to_sleep: bool = False
    ) -> None:
        if seat.state is State.READY and len(seat.leases) == 1:
            self._break_leases(seat, Reason(summary="evicted"), now)
        real(self, seat, cause, now, to_sleep)

    return send_away


def _drained_by_one(real: Callable[..., Any]) -> Callable[..., Any]:
    def returned(self: Scheduler, event: ev.LeaseReturned, now: float) -> None:
        seat = self._requests.get(event.request)
        real(self, event, now)
        if seat is not None and seat.state is State.DRAINING:
            self._stop(seat, Cause.DRAINED, now)

    return returned


def _the_first_name_goes_first(real: Callable[..., Any]) -> Callable[..., Any]:
    def order(self: planner.Contender, now: float) -> Any:
        return self.seat.name

    return order


def _busy_ones_never_leave(real: Callable[..., Any]) -> Callable[..., Any]:
    def leaves_at(seat: ModelState, *rest: Any) -> float:
        return NEVER if seat.leases else real(seat, *rest)

    return leaves_at


def _forgets_to_look_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def make_plan(*arguments: Any) -> Any:
        plan = real(*arguments)
        plan.again_at = NEVER
        plan.contended = False
        return plan

    return make_plan


def _leaves_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def leaves_at(seat: ModelState, place: Any, asked: int, now: float) -> float:
        return now if seat.state is State.READY else real(seat, place, asked, now)

    return leaves_at


def _short_turns(real: Callable[..., Any]) -> Callable[..., Any]:
    def turn_s(swap_s: float, demand: int, others: int) -> float:
        return swap_s * 0.5

    return turn_s


def _evicts_pinned(real: Callable[..., Any]) -> Callable[..., Any]:
    def may_ever_leave(seat: ModelState) -> bool:
        return seat.state in (State.READY, State.ASLEEP, State.STARTING)

    return may_ever_leave


def _abandons_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def withdrawn(self: Scheduler, event: ev.RequestWithdrawn, now: float) -> None:
        seat = self._requests.get(event.request)
        real(self, event, now)
        if seat is not None and seat.state is State.STARTING and not seat.queue and not seat.requested:
            self._stop(seat, Cause.ABANDONED, now)

    return withdrawn


def _loading_gives_way(real: Callable[..., Any]) -> Callable[..., Any]:
    def leaves_at(seat: ModelState, *rest: Any) -> float:
        return rest[-1] if seat.state is State.STARTING else real(seat, *rest)

    return leaves_at


def _hangs_at_failure(real: Callable[..., Any]) -> Callable[..., Any]:
    def died(self: Scheduler, seat: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        waiting = seat.queue.clear()
        real(self, seat, cause, reason, now)
        for one in waiting:
            seat.queue.push(one)

    return died


def _backoff_does_not_grow(earlier: int, jitter: float) -> float:
    return 1.0


def _old_runs_are_believed(self: Scheduler, model: str, run: int) -> ModelState | None:
    seat = self._seats.get(model)
    return seat if seat is not None and seat.run is not None else None


def _a_return_counts_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    seen: set[int] = set()

    def returned(self: Scheduler, event: ev.LeaseReturned, now: float) -> None:
        if event.request in seen and event.request not in self._requests:
            for seat in self._seats.values():
                if seat.leases:
                    real(self, ev.LeaseReturned(next(iter(seat.leases))), now)
                    return
        seen.add(event.request)
        real(self, event, now)

    return returned


def _old_downloads_are_believed(self: Scheduler, model: str, download: int) -> Any:
    seat = self._seats.get(model)
    return seat if seat is not None and seat.state is State.DOWNLOADING else None


def _files_do_not_matter(real: Callable[..., Any]) -> Callable[..., Any]:
    def lacks_files(self: Scheduler, seat: ModelState) -> bool:
        return False

    return lacks_files


def _forgets_the_files(real: Callable[..., Any]) -> Callable[..., Any]:
    def downloaded(self: Scheduler, event: ev.Downloaded, now: float) -> None:
        seat = self._seats.get(event.model)
        real(self, event, now)
        if seat is not None and seat.state is State.STOPPED:
            seat.files_missing = True

    return downloaded


BUGS = (
    Bug(1, "memory is free once told to stop", ModelState, "holds", _memory_is_free_when_told_to_stop),
    wrapping(1, "devices are added up", policy, "fits", _devices_added_up),
    wrapping(2, "a crowd starts it twice", Scheduler, "_launch", _starts_twice),
    wrapping(3, "who goes stays in line", Scheduler, "_request_withdrawn", _withdrawn_stays_in_line),
    wrapping(3, "one is refused and kept in line", FairQueue, "clear", _refused_and_kept),
    wrapping(4, "a single stream is cut at eviction", Scheduler, "_send_away", _stops_at_once),
    wrapping(4, "drained when one lease is back", Scheduler, "_lease_returned", _drained_by_one),
    wrapping(5, "the first name goes first", planner.Contender, "order", _the_first_name_goes_first),
    wrapping(5, "busy models never leave", planner, "_leaves_at", _busy_ones_never_leave),
    wrapping(5, "the plan is not looked at again", scheduling, "make_plan", _forgets_to_look_again),
    wrapping(6, "everybody leaves at once", planner, "_leaves_at", _leaves_at_once),
    wrapping(6, "turns are half a swap", policy, "turn_s", _short_turns),
    wrapping(6, "pinned models are evicted", planner, "_may_ever_leave", _evicts_pinned),
    wrapping(7, "a start ends with its last client", Scheduler, "_request_withdrawn", _abandons_at_once),
    wrapping(7, "a start that is awaited gives way", planner, "_leaves_at", _loading_gives_way),
    wrapping(8, "a failed start leaves clients waiting", Scheduler, "_died", _hangs_at_failure),
    Bug(8, "back-offs do not grow", policy, "backoff_s", _backoff_does_not_grow),
    Bug(9, "reports of old runs are believed", Scheduler, "_current", _old_runs_are_believed),
    wrapping(9, "run numbers begin again", Scheduler, "_forget", _numbers_begin_again),
    Bug(9, "reports of old downloads are believed", Scheduler, "_downloading", _old_downloads_are_believed),
    wrapping(10, "starts without its files", Scheduler, "_lacks_files", _files_do_not_matter),
    wrapping(10, "files that were there are taken for gone", Scheduler, "_downloaded", _forgets_the_files),
    wrapping(9, "a return counts twice", Scheduler, "_lease_returned", _a_return_counts_twice),
)


if __name__ == "__main__":
    sys.exit(main(BUGS, Histories, EXAMPLES, STEPS))

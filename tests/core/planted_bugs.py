"""Plants a bug against each promise and shows that the property test finds it. By hand:

    python tests/core/planted_bugs.py [word in the bug's name]

Each bug is a small, believable mistake, planted by replacing one function; random histories are tried until
one fails. Prints one line a bug, and ends with status 1 when one was not found.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from core_machine import Histories
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hotseat.core import events as ev
from hotseat.core import planner, policy
from hotseat.core import scheduler as scheduling
from hotseat.core.alarms import NEVER
from hotseat.core.errors import Reason
from hotseat.core.queue import FairQueue
from hotseat.core.scheduler import Scheduler
from hotseat.core.seat import Seat
from hotseat.core.states import HOLDS_RUN, Cause, State

EXAMPLES, STEPS = 3000, 60


@dataclass(frozen=True)
class Bug:
    """One mistake."""

    promise: int
    name: str
    owner: Any
    attribute: str
    replacement: Any


def _memory_is_free_when_told_to_stop(seat: Seat) -> Any:
    return {} if seat.state is State.STOPPING or seat.state not in HOLDS_RUN else seat.run_footprint


def _devices_added_up(real: Callable[..., Any]) -> Callable[..., Any]:
    def fits(need: Any, free: Any) -> bool:
        return sum(need.values()) <= sum(max(0, ppm) for ppm in free.values())

    return fits


def _starts_twice(real: Callable[..., Any]) -> Callable[..., Any]:
    def launch(self: Scheduler, seat: Seat, now: float) -> None:
        real(self, seat, now)
        if len(seat.queue) > 2 and seat.state is State.STARTING:
            self._out.append(scheduling.do.StartRun(seat.name, seat.run or 0))

    return launch


def _numbers_begin_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def forget(self: Scheduler, seat: Seat) -> None:
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
    def send_away(self: Scheduler, seat: Seat, cause: Cause, now: float, to_sleep: bool = False) -> None:
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
    def order(self: planner.Place, now: float) -> Any:
        return self.seat.name

    return order


def _busy_ones_never_leave(real: Callable[..., Any]) -> Callable[..., Any]:
    def leaves_at(seat: Seat, *rest: Any) -> float:
        return NEVER if seat.leases else real(seat, *rest)

    return leaves_at


def _forgets_to_look_again(real: Callable[..., Any]) -> Callable[..., Any]:
    def make_plan(*arguments: Any) -> Any:
        plan = real(*arguments)
        plan.again_at = NEVER
        plan.tense = False
        return plan

    return make_plan


def _leaves_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def leaves_at(seat: Seat, place: Any, asked: int, now: float) -> float:
        return now if seat.state is State.READY else real(seat, place, asked, now)

    return leaves_at


def _short_turns(real: Callable[..., Any]) -> Callable[..., Any]:
    def turn_s(swap_s: float, demand: int, others: int) -> float:
        return swap_s * 0.5

    return turn_s


def _evicts_pinned(real: Callable[..., Any]) -> Callable[..., Any]:
    def may_ever_leave(seat: Seat) -> bool:
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
    def leaves_at(seat: Seat, *rest: Any) -> float:
        return rest[-1] if seat.state is State.STARTING else real(seat, *rest)

    return leaves_at


def _hangs_at_failure(real: Callable[..., Any]) -> Callable[..., Any]:
    def died(self: Scheduler, seat: Seat, cause: Cause, reason: Reason, now: float) -> None:
        waiting = seat.queue.clear()
        real(self, seat, cause, reason, now)
        for one in waiting:
            seat.queue.push(one)

    return died


def _backoff_does_not_grow(earlier: int, luck: float) -> float:
    return 1.0


def _old_runs_are_believed(self: Scheduler, model: str, run: int) -> Seat | None:
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


def _wrapping(promise: int, name: str, owner: Any, attribute: str, plant: Callable[..., Any]) -> Bug:
    return Bug(promise, name, owner, attribute, plant(getattr(owner, attribute)))


BUGS = (
    Bug(1, "memory is free once told to stop", Seat, "holds", _memory_is_free_when_told_to_stop),
    _wrapping(1, "devices are added up", policy, "fits", _devices_added_up),
    _wrapping(2, "a crowd starts it twice", Scheduler, "_launch", _starts_twice),
    _wrapping(3, "who goes stays in line", Scheduler, "_request_withdrawn", _withdrawn_stays_in_line),
    _wrapping(3, "one is refused and kept in line", FairQueue, "clear", _refused_and_kept),
    _wrapping(4, "a single stream is cut at eviction", Scheduler, "_send_away", _stops_at_once),
    _wrapping(4, "drained when one lease is back", Scheduler, "_lease_returned", _drained_by_one),
    _wrapping(5, "the first name goes first", planner.Place, "order", _the_first_name_goes_first),
    _wrapping(5, "busy models never leave", planner, "_leaves_at", _busy_ones_never_leave),
    _wrapping(5, "the plan is not looked at again", scheduling, "make_plan", _forgets_to_look_again),
    _wrapping(6, "everybody leaves at once", planner, "_leaves_at", _leaves_at_once),
    _wrapping(6, "turns are half a swap", policy, "turn_s", _short_turns),
    _wrapping(6, "pinned models are evicted", planner, "_may_ever_leave", _evicts_pinned),
    _wrapping(7, "a start ends with its last client", Scheduler, "_request_withdrawn", _abandons_at_once),
    _wrapping(7, "a start that is awaited gives way", planner, "_leaves_at", _loading_gives_way),
    _wrapping(8, "a failed start leaves clients waiting", Scheduler, "_died", _hangs_at_failure),
    Bug(8, "back-offs do not grow", policy, "backoff_s", _backoff_does_not_grow),
    Bug(9, "reports of old runs are believed", Scheduler, "_current", _old_runs_are_believed),
    _wrapping(9, "run numbers begin again", Scheduler, "_forget", _numbers_begin_again),
    _wrapping(9, "a return counts twice", Scheduler, "_lease_returned", _a_return_counts_twice),
)


def hunt(bug: Bug) -> tuple[str | None, int]:
    """What gave the bug away (``None``: nothing), and after how many histories."""
    tried = 0

    class Counted(Histories):
        def __init__(self) -> None:
            nonlocal tried
            tried += 1
            super().__init__()

    terms = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    planted = patch.object(bug.owner, bug.attribute, bug.replacement)
    with planted, contextlib.redirect_stdout(io.StringIO()):
        try:
            run_state_machine_as_test(Counted, settings=terms)
        except Exception as error:
            return (str(error) or type(error).__name__).splitlines()[0][:90], tried
    return None, tried


def main() -> int:
    """Hunt all bugs, or those whose name holds the word given."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = 0
    for bug in BUGS:
        if word not in bug.name:
            continue
        began = time.monotonic()
        found, tried = hunt(bug)
        missed += found is None
        verdict = f"found by history {tried}: {found}" if found else f"NOT FOUND in {tried} histories"
        print(f"{bug.promise}  {bug.name:52} {time.monotonic() - began:5.1f} s  {verdict}", flush=True)
    print("all found" if not missed else f"{missed} not found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

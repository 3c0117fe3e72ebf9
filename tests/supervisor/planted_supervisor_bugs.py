"""Plants bugs in the supervisor and shows that its property test finds them. By hand:

PYTHONPATH=tests python tests/supervisor/planted_supervisor_bugs.py [word in the bug's name]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from supervisor_machine import Histories

from fakes.planted import Bug, main, wrapping
from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core.errors import Reason, Refusal
from hotseat.runtimes.base import FoundRun, RunExit
from hotseat.supervisor.held_run import HeldRun
from hotseat.supervisor.run import Run
from hotseat.supervisor.supervisor import Supervisor
from hotseat.supervisor.ticket import Lease, Ticket

EXAMPLES, STEPS = 2500, 50


def _starts_before_it_knows(real: Callable[..., Any]) -> Callable[..., Any]:
    async def opens(self: Supervisor, prepare: Any = None) -> None:
        self._report(ev.RunsRecovered())
        await real(self, prepare)

    return opens


def _believes_a_stop_before_it_is_done(real: Callable[..., Any]) -> Callable[..., Any]:
    async def stop(self: Run) -> None:
        self._report(ev.RunExited(self.model.name, self.number, Reason(summary="stopped")))
        await real(self)

    return stop


def _lets_a_launch_go_on(real: Callable[..., Any]) -> Callable[..., Any]:
    async def stop(self: Run) -> None:
        if self.handle is None:
            self.stopping = True
            self._report(ev.RunExited(self.model.name, self.number, Reason(summary="stopped")))
            return
        await real(self)

    return stop


def _gives_up_a_stop_that_fails(real: Callable[..., Any]) -> Callable[..., Any]:
    async def end_it(self: Run, grace_s: float) -> None:
        if self.handle is not None:
            try:
                await self._runtime.stop(self.handle, grace_s)
            except OSError:
                return

    return end_it


async def _a_stop_waits_for_its_end(self: Run) -> None:
    self.stopping = True
    if self.handle is None and self._task is not None:
        self._task.cancel()
        await self._ended.wait()
    await self._stop_until_gone(self._grace_s())
    await self._ended.wait()
    self._report(ev.RunExited(self.model.name, self.number, Reason(summary="stopped")))


def _forgets_who_leaves(real: Callable[..., Any]) -> Callable[..., Any]:
    def give_back(self: Supervisor, ticket: Ticket) -> None:
        if ticket.lease is None:
            self._tickets.pop(ticket.request, None)
        else:
            real(self, ticket)

    return give_back


def _keeps_leases(real: Callable[..., Any]) -> Callable[..., Any]:
    def give_back(self: Supervisor, ticket: Ticket) -> None:
        if ticket.lease is not None and len(self._tickets) > 2:
            self._tickets.pop(ticket.request, None)
        else:
            real(self, ticket)

    return give_back


def _breaks_in_silence(self: Lease, reason: Reason) -> None:
    self.broken = reason


def _refuses_in_silence(self: Ticket, refusal: Refusal) -> None:
    self.refusal = refusal


def _never_rings(self: Supervisor, at: float) -> None:
    self._timer_at = at


def _rings_late(real: Callable[..., Any]) -> Callable[..., Any]:
    def set_alarm(self: Supervisor, at: float) -> None:
        if self._timer is None:
            real(self, at)

    return set_alarm


def _an_exit_goes_unheard(self: Run, end: RunExit) -> None:
    if end.reason.signal is None or self.stopping:
        self._report(ev.RunExited(self.model.name, self.number, end.reason, outside=end.outside))


def _opens_the_door_while_it_sleeps(real: Callable[..., Any]) -> Callable[..., Any]:
    async def found_asleep(self: Run) -> bool:
        return False

    return found_asleep


def _wakes_what_it_finds(real: Callable[..., Any]) -> Callable[..., Any]:
    async def found_asleep(self: Run) -> bool:
        if await real(self):
            assert self.handle is not None
            await self._drivers.sleeper.wake(self.model, self.handle)
        return False

    return found_asleep


def _finds_at_the_end(self: Supervisor, found: FoundRun) -> None:
    self._closing, closing = False, self._closing
    try:
        _found(self, found)
    finally:
        self._closing = closing


_found = Supervisor._found


def _takes_late_ones_at_once(self: Supervisor, found: FoundRun) -> None:
    model = found.handle.model
    if model not in self._models or self._closing:
        return
    number = self._numbers[model] = max(found.handle.run, self._numbers.get(model, 0) + 1)
    self._begin_run(model, number, found)
    self._report(ev.RunFound(model, number, ready=False, fingerprint=found.fingerprint))


def _numbers_begin_again(self: Supervisor, order: do.StartRun) -> None:
    self._begin_run(order.model, order.run, None)


def _a_failed_launch_is_kept_quiet(real: Callable[..., Any]) -> Callable[..., Any]:
    async def launch(self: Run) -> bool:
        report, self._report = self._report, lambda event: None
        try:
            return bool(await real(self))
        finally:
            self._report = report

    return launch


def _opens_the_gate_at_once(real: Callable[..., Any]) -> Callable[..., Any]:
    async def wait(self: HeldRun, handle: Any, on_standby: Any, answers: Any) -> bool:
        waiting = asyncio.ensure_future(real(self, handle, on_standby, answers))  # noqa: TID251
        try:
            await self.open(handle)
            return bool(await waiting)
        finally:
            waiting.cancel()

    return wait


BUGS = (
    wrapping(1, "a gate is opened at once", HeldRun, "wait", _opens_the_gate_at_once),
    wrapping(1, "a stop is believed before it is done", Run, "stop", _believes_a_stop_before_it_is_done),
    wrapping(1, "a stop that fails is not tried again", Run, "_stop_until_gone", _gives_up_a_stop_that_fails),
    wrapping(1, "a launch that is called off goes on", Run, "stop", _lets_a_launch_go_on),
    wrapping(1, "a found sleeper is woken at once", Run, "_found_asleep", _wakes_what_it_finds),
    wrapping(2, "starts before it knows what runs", Supervisor, "open", _starts_before_it_knows),
    wrapping(3, "a found sleeper gets requests", Run, "_found_asleep", _opens_the_door_while_it_sleeps),
    wrapping(3, "who leaves the queue is not told of", Supervisor, "give_back", _forgets_who_leaves),
    Bug(3, "a refusal wakes nobody", Ticket, "refuse", _refuses_in_silence),
    wrapping(4, "leases are kept", Supervisor, "give_back", _keeps_leases),
    Bug(5, "the alarm never rings", Supervisor, "_set_timer", _never_rings),
    wrapping(5, "an earlier alarm is not set", Supervisor, "_set_timer", _rings_late),
    Bug(5, "a stop waits for its end for ever", Run, "stop", _a_stop_waits_for_its_end),
    Bug(8, "a lease is broken in silence", Lease, "break_", _breaks_in_silence),
    Bug(8, "a crash goes unheard", Run, "_report_exit", _an_exit_goes_unheard),
    wrapping(8, "a failed launch is kept quiet", Run, "_launch", _a_failed_launch_is_kept_quiet),
    Bug(9, "what is found at the end is taken in", Supervisor, "_found", _finds_at_the_end),
    Bug(9, "what is found late is taken at once", Supervisor, "_found", _takes_late_ones_at_once),
)


if __name__ == "__main__":
    sys.exit(main(BUGS, Histories, EXAMPLES, STEPS))

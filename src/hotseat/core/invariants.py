"""What must hold after every event; asked by tests and by the simulator."""

from __future__ import annotations

from collections.abc import Mapping

from hotseat.core import policy
from hotseat.core.deadlines import NEVER, Deadlines
from hotseat.core.model_state import ModelState
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import HOLDS_LEASES, HOLDS_RUN, Cause, State


def check(
    seats: Mapping[str, ModelState],
    requests: Mapping[int, ModelState],
    residents: Mapping[str, ModelState],
    box: SchedulerSpec,
    alarms: Deadlines,
) -> None:
    """Raise ``AssertionError`` naming what is broken."""
    held: policy.Free = {}
    known: dict[int, ModelState] = {}
    for seat in seats.values():
        story = (seat.name, seat.state, list(seat.story))
        assert (seat.run is not None) == (seat.state in HOLDS_RUN), ("a run without its state", story)
        assert (seat.name in residents) == (seat.run is not None), ("not among the residents", story)
        downloads = (seat.download is not None, seat.state is State.DOWNLOADING)
        assert downloads[0] == downloads[1], ("a download without its state", story)
        assert not seat.leases or seat.state in HOLDS_LEASES, ("leases outside of READY", story)
        assert sum(seat.held_by.values()) == len(seat.leases), ("leases by key do not add up", story)
        if seat.state is State.READY:
            assert not (seat.queue and seat.slots()), ("a ready model lets somebody wait", story)
        if seat.state is State.DRAINING:
            assert seat.leases, ("nothing to drain", story)
        if seat.spec.pinned and seat.state is State.DRAINING:
            assert seat.leaving is not Cause.EVICTED, ("a pinned model is evicted", story)
        assert alarms.at(seat.name) <= seat.deadline(), ("a deadline that nobody looks at", story)
        assert alarms.next_at <= alarms.at(seat.name), ("an alarm that does not ring", story)
        assert not seat.queue or alarms.at(seat.name) < NEVER, ("somebody waits without end", story)
        policy.add(held, seat.holds())
        for request in [*seat.leases, *seat.queue.requests()]:
            assert request not in known, ("a request in two places", request, story)
            known[request] = seat
    assert {r: s.name for r, s in known.items()} == {r: s.name for r, s in requests.items()}, "requests lost"
    over = {d: ppm for d, ppm in held.items() if ppm > box.budget.get(d, 0)}
    assert not over or any(s.unplanned for s in residents.values()), ("over the budget", over)

"""The short ways for a ready model (``admit``, ``take_back``) come to the same as their events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotseat.core import events as ev
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import SchedulerSpec, SchedulingSpec

BOX = SchedulerSpec(
    budget={"0": 1_000_000},
    models={
        "a": SchedulingSpec(name="a", footprint={"0": 900_000}, idle_s=30.0, max_in_flight=2),
        "b": SchedulingSpec(name="b", footprint={"0": 900_000}, idle_s=None),
        "c": SchedulingSpec(name="c", footprint={"0": 100_000}, idle_s=5.0, warm=True),
    },
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "return", "return", "leave", "ready", "gone", "time"]),
        st.sampled_from("abc"),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.1, 1.0, 40.0]),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_short_ways_come_to_the_same(steps: list[tuple[str, str, int, float]]) -> None:
    short, plain = Scheduler(BOX), Scheduler(BOX)
    now, asked = 0.0, []
    begun = [("ask", "a", 0, 0.0), ("ask", "c", 0, 0.0), ("ready", "a", 0, 1.0), ("ready", "c", 0, 0.0)]
    for what, model, number, passes_s in begun + steps:
        now += passes_s
        event: ev.Event = ev.TimePassed()
        run = plain.view(model).run
        if what == "ask":
            asked.append(len(asked))
            event = ev.RequestArrived(asked[-1], model, 0, f"key-{number}")
        elif what in ("return", "leave") and asked:
            request = asked[-1 - number % len(asked)]
            event = ev.LeaseReturned(request) if what == "return" else ev.RequestWithdrawn(request)
        elif what == "ready" and run is not None:
            event = ev.ProbePassed(model, run)
        elif what == "gone" and run is not None:
            event = ev.RunExited(model, run, _reason())
        told = plain.handle(event, now)
        quick = False
        if isinstance(event, ev.RequestArrived):
            granted = short.admit(event.request, event.model, event.key, now)
            quick = granted is not None
            assert not quick or [getattr(one, "run", None) for one in told] == [granted]
        elif isinstance(event, ev.LeaseReturned):
            quick = short.take_back(event.request, now)
            assert not quick or told == []
        if not quick:
            assert short.handle(event, now) == told
        assert short.views() == plain.views()
        assert short.wake_at == plain.wake_at
        short.check()


def _reason() -> ev.Reason:
    return ev.Reason(summary="it ended")

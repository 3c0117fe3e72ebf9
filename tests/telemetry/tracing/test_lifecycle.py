"""Starts and swaps as spans."""

from __future__ import annotations

from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.states import Cause, State
from hotseat.telemetry.tracing.lifecycle import SAME_SWAP_NS, LifecycleSpans
from hotseat.telemetry.tracing.span import Span


def move(
    model: str,
    old: State,
    new: State,
    cause: Cause,
    *,
    needed_by: str | None = None,
    reason: Reason | None = None,
) -> do.ReportMove:
    return do.ReportMove(
        model=model, run=7, old=old, new=new, cause=cause, needed_by=needed_by, reason=reason
    )


def start(lifecycle: LifecycleSpans, model: str, at: int) -> None:
    assert lifecycle.moved(move(model, State.STOPPED, State.STARTING, Cause.DEMAND), at) == []


def ready(lifecycle: LifecycleSpans, model: str, at: int) -> list[Span]:
    return lifecycle.moved(move(model, State.STARTING, State.READY, Cause.PROBE_PASSED), at)


def leave(lifecycle: LifecycleSpans, model: str, incoming: str, at: int) -> list[Span]:
    return lifecycle.moved(
        move(model, State.READY, State.DRAINING, Cause.EVICTED, needed_by=incoming), at
    ) + lifecycle.moved(
        move(model, State.DRAINING, State.STOPPING, Cause.DRAINED, needed_by=incoming), at + 1
    )


def gone(lifecycle: LifecycleSpans, model: str, at: int) -> list[Span]:
    return lifecycle.moved(move(model, State.STOPPING, State.STOPPED, Cause.EXITED), at)


def test_a_start() -> None:
    lifecycle = LifecycleSpans()
    start(lifecycle, "chat", 10)
    lifecycle.phase_entered("chat", "loading weights", 12)
    [span] = ready(lifecycle, "chat", 20)
    assert (span.name, span.start_ns, span.end_ns, span.parent_id) == ("start chat", 10, 20, None)
    assert span.events == (("loading weights", 12, {}),)
    assert span.attributes["hotseat.run"] == 7
    assert span.error is None
    assert lifecycle.starts_between("chat", 15, 16) == [(span.trace_id, span.span_id)]
    assert lifecycle.starts_between("chat", 21, 22) == []
    assert lifecycle.starts_between("coder", 0, 99) == []


def test_a_failed_start() -> None:
    lifecycle = LifecycleSpans()
    start(lifecycle, "chat", 10)
    why = Reason(summary="no memory")
    failed = move("chat", State.STARTING, State.BACKOFF, Cause.START_FAILED, reason=why)
    [span] = lifecycle.moved(failed, 11)
    assert (span.error, span.attributes["error.type"]) == ("no memory", "start_failed")


def test_a_wake() -> None:
    lifecycle = LifecycleSpans()
    lifecycle.moved(move("chat", State.ASLEEP, State.WAKING, Cause.DEMAND), 1)
    [span] = lifecycle.moved(move("chat", State.WAKING, State.READY, Cause.PROBE_PASSED), 2)
    assert span.name == "wake chat"


def test_a_swap_stands_above_who_left_and_who_came() -> None:
    lifecycle = LifecycleSpans()
    assert leave(lifecycle, "chat", "coder", 10) == []
    [left] = gone(lifecycle, "chat", 15)
    start(lifecycle, "coder", 15)
    came, swap = ready(lifecycle, "coder", 30)
    assert (left.name, came.name, swap.name) == ("leave chat", "start coder", "swap to coder")
    assert (swap.start_ns, swap.end_ns, swap.parent_id) == (10, 30, None)
    assert {left.parent_id, came.parent_id} == {swap.span_id}
    assert {left.trace_id, came.trace_id} == {swap.trace_id}
    assert [name for name, _, _ in left.events] == ["draining", "stopping"]
    assert swap.attributes["hotseat.left"] == "chat"
    start(lifecycle, "coder", 40)  # the next one is on its own again
    assert [span.name for span in ready(lifecycle, "coder", 50)] == ["start coder"]


def test_two_leave_for_one() -> None:
    lifecycle = LifecycleSpans()
    leave(lifecycle, "a", "coder", 10)
    [first] = gone(lifecycle, "a", 12)
    leave(lifecycle, "b", "coder", 12)
    [second] = gone(lifecycle, "b", 14)
    start(lifecycle, "coder", 14)
    _, swap = ready(lifecycle, "coder", 20)
    assert first.parent_id == second.parent_id == swap.span_id
    assert swap.attributes["hotseat.left"] == "a, b"


def test_a_called_off_leave_is_nothing() -> None:
    lifecycle = LifecycleSpans()
    lifecycle.moved(move("chat", State.READY, State.DRAINING, Cause.EVICTED, needed_by="coder"), 1)
    assert lifecycle.moved(move("chat", State.DRAINING, State.READY, Cause.CALLED_OFF), 2) == []
    start(lifecycle, "coder", 3)
    assert [span.name for span in ready(lifecycle, "coder", 4)] == ["start coder"]


def test_a_incoming_that_never_came() -> None:
    lifecycle = LifecycleSpans()
    leave(lifecycle, "chat", "coder", 1)
    gone(lifecycle, "chat", 5)
    [lost] = lifecycle.moved(
        move("chat", State.READY, State.DRAINING, Cause.EVICTED, needed_by="coder"), 6 + SAME_SWAP_NS
    )
    assert (lost.name, lost.end_ns) == ("swap to coder", 5)
    assert lost.error == "the incoming model was not started"


def test_idle_stops_and_starts_before_our_time_are_no_spans() -> None:
    lifecycle = LifecycleSpans()
    assert lifecycle.moved(move("chat", State.READY, State.STOPPING, Cause.IDLE), 1) == []
    assert gone(lifecycle, "chat", 2) == []
    assert ready(lifecycle, "chat", 3) == []


def test_what_is_kept_is_bounded() -> None:
    lifecycle = LifecycleSpans()
    for at in range(0, 1000, 10):
        start(lifecycle, "chat", at)
        ready(lifecycle, "chat", at + 5)
    assert len(lifecycle.starts_between("chat", 0, 10_000)) == 8

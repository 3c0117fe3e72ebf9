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


def start(lives: LifecycleSpans, model: str, at: int) -> None:
    assert lives.moved(move(model, State.STOPPED, State.STARTING, Cause.DEMAND), at) == []


def ready(lives: LifecycleSpans, model: str, at: int) -> list[Span]:
    return lives.moved(move(model, State.STARTING, State.READY, Cause.PROBE_PASSED), at)


def leave(lives: LifecycleSpans, model: str, newcomer: str, at: int) -> list[Span]:
    return lives.moved(
        move(model, State.READY, State.DRAINING, Cause.EVICTED, needed_by=newcomer), at
    ) + lives.moved(move(model, State.DRAINING, State.STOPPING, Cause.DRAINED, needed_by=newcomer), at + 1)


def gone(lives: LifecycleSpans, model: str, at: int) -> list[Span]:
    return lives.moved(move(model, State.STOPPING, State.STOPPED, Cause.EXITED), at)


def test_a_start() -> None:
    lives = LifecycleSpans()
    start(lives, "chat", 10)
    lives.phase_entered("chat", "loading weights", 12)
    [span] = ready(lives, "chat", 20)
    assert (span.name, span.start_ns, span.end_ns, span.parent_id) == ("start chat", 10, 20, None)
    assert span.events == (("loading weights", 12, {}),)
    assert span.attributes["hotseat.run"] == 7
    assert span.error is None
    assert lives.starts_between("chat", 15, 16) == [(span.trace_id, span.span_id)]
    assert lives.starts_between("chat", 21, 22) == []
    assert lives.starts_between("coder", 0, 99) == []


def test_a_failed_start() -> None:
    lives = LifecycleSpans()
    start(lives, "chat", 10)
    why = Reason(summary="no memory")
    failed = move("chat", State.STARTING, State.BACKOFF, Cause.START_FAILED, reason=why)
    [span] = lives.moved(failed, 11)
    assert (span.error, span.attributes["error.type"]) == ("no memory", "start_failed")


def test_a_wake() -> None:
    lives = LifecycleSpans()
    lives.moved(move("chat", State.ASLEEP, State.WAKING, Cause.DEMAND), 1)
    [span] = lives.moved(move("chat", State.WAKING, State.READY, Cause.PROBE_PASSED), 2)
    assert span.name == "wake chat"


def test_a_swap_stands_above_who_left_and_who_came() -> None:
    lives = LifecycleSpans()
    assert leave(lives, "chat", "coder", 10) == []
    [left] = gone(lives, "chat", 15)
    start(lives, "coder", 15)
    came, swap = ready(lives, "coder", 30)
    assert (left.name, came.name, swap.name) == ("leave chat", "start coder", "swap to coder")
    assert (swap.start_ns, swap.end_ns, swap.parent_id) == (10, 30, None)
    assert {left.parent_id, came.parent_id} == {swap.span_id}
    assert {left.trace_id, came.trace_id} == {swap.trace_id}
    assert [name for name, _, _ in left.events] == ["draining", "stopping"]
    assert swap.attributes["hotseat.left"] == "chat"
    start(lives, "coder", 40)  # the next one is on its own again
    assert [span.name for span in ready(lives, "coder", 50)] == ["start coder"]


def test_two_leave_for_one() -> None:
    lives = LifecycleSpans()
    leave(lives, "a", "coder", 10)
    [first] = gone(lives, "a", 12)
    leave(lives, "b", "coder", 12)
    [second] = gone(lives, "b", 14)
    start(lives, "coder", 14)
    _, swap = ready(lives, "coder", 20)
    assert first.parent_id == second.parent_id == swap.span_id
    assert swap.attributes["hotseat.left"] == "a, b"


def test_a_called_off_leave_is_nothing() -> None:
    lives = LifecycleSpans()
    lives.moved(move("chat", State.READY, State.DRAINING, Cause.EVICTED, needed_by="coder"), 1)
    assert lives.moved(move("chat", State.DRAINING, State.READY, Cause.CALLED_OFF), 2) == []
    start(lives, "coder", 3)
    assert [span.name for span in ready(lives, "coder", 4)] == ["start coder"]


def test_a_newcomer_that_never_came() -> None:
    lives = LifecycleSpans()
    leave(lives, "chat", "coder", 1)
    gone(lives, "chat", 5)
    [lost] = lives.moved(
        move("chat", State.READY, State.DRAINING, Cause.EVICTED, needed_by="coder"), 6 + SAME_SWAP_NS
    )
    assert (lost.name, lost.end_ns) == ("swap to coder", 5)
    assert lost.error == "the incoming model was not started"


def test_idle_stops_and_starts_before_our_time_are_no_spans() -> None:
    lives = LifecycleSpans()
    assert lives.moved(move("chat", State.READY, State.STOPPING, Cause.IDLE), 1) == []
    assert gone(lives, "chat", 2) == []
    assert ready(lives, "chat", 3) == []


def test_what_is_kept_is_bounded() -> None:
    lives = LifecycleSpans()
    for at in range(0, 1000, 10):
        start(lives, "chat", at)
        ready(lives, "chat", at + 5)
    assert len(lives.starts_between("chat", 0, 10_000)) == 8

"""What the chronicle makes of a story: told to metrics, history and readers alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fakes.clock import run_virtual
from hotseat.core.effects import ReportMove
from hotseat.core.errors import Reason
from hotseat.core.states import Cause, State
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.history import History, RecordedStart, StartKind
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.recorder import Recorder

BOOTED_AT = 1000.0


def silent(why: str) -> None:
    raise AssertionError(why)


class Story:
    """A chronicle with a clock and one reader."""

    def __init__(self) -> None:
        self.now = 60_000.0
        self.chronicle = Recorder(
            History(None, silent),
            Metrics(["chat", "coder"]),
            EventStream(),
            wall_clock=lambda: self.now,
            booted_at=BOOTED_AT,
        )
        self.reader = self.chronicle.feed.reader()

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, json.loads(event.data)) for event in self.reader.take()[1]]

    def request(self, status: int = 200, model: str = "chat") -> None:
        self.chronicle.metrics.finished(
            RequestRecord(model=model, status=status, tokens_in=2, tokens_out=3, duration_s=1.0)
        )


def start(fingerprint: str, at: float, kind: StartKind = StartKind.COLD) -> RecordedStart:
    return RecordedStart(model="chat", fingerprint=fingerprint, kind=kind, seconds=9.0, at=at)


def test_a_swap_is_told_to_all() -> None:
    story = Story()
    story.chronicle.moved(ReportMove("chat", 4, State.STARTING, State.READY, Cause.PROBE_PASSED, took_s=9e9))
    [(_, first)] = story.told()
    assert first["took_s"] is None  # how long it was as we found it, nobody knows
    move = ReportMove(
        "chat", 4, State.READY, State.STOPPING, Cause.EVICTED, took_s=12.34567, needed_by="coder"
    )
    story.chronicle.moved(move)
    (kind, told), (second, swap) = story.told()
    assert (kind, second) == ("move", "swap")
    assert told["cause"] == "evicted"
    assert told["needed_by"] == "coder"
    assert told["took_s"] == 12.346
    assert swap == {"from": "chat", "to": "coder", "at": 60_000.0}
    assert [(one.old, one.new) for one in story.chronicle.history.swaps(9)] == [("chat", "coder")]
    last = story.chronicle.last_move("chat")
    assert last is not None
    assert (last.was, last.cause, last.needed_by) == ("ready", "evicted", "coder")


def test_a_failure_is_told_with_its_reason_and_without_the_servers_lines() -> None:
    story = Story()
    reason = Reason(summary="out of memory", hint="lower its footprint", lines=("prompt: my secret",))
    story.chronicle.moved(
        ReportMove("chat", 4, State.STARTING, State.BACKOFF, Cause.START_FAILED, reason=reason)
    )
    told = story.told()
    assert [kind for kind, _ in told] == ["move", "failure"]
    assert told[1][1]["summary"] == "out of memory"
    assert "secret" not in json.dumps(told)
    assert story.chronicle.history.failures(1)[0].hint == "lower its footprint"


def test_warm_means_started_before_since_the_machine_booted() -> None:
    story = Story()
    for one in (
        start("a", BOOTED_AT - 10),  # cold: nothing before
        start("a", BOOTED_AT + 10),  # cold: what came before was before the boot
        start("a", BOOTED_AT + 20),  # warm
        start("b", BOOTED_AT + 30),  # cold: another configuration
        start("b", BOOTED_AT + 40, StartKind.WAKE),
    ):
        story.chronicle.record_start(one)
    counts = story.chronicle.metrics.models["chat"].starts
    assert {kind: spread.count for kind, spread in counts.items()} == {"cold": 3, "warm": 1, "wake": 1}
    assert story.chronicle.eta_s("chat") == 9.0


def test_requests_by_minute_are_written_when_the_minute_is_over() -> None:
    story = Story()
    story.now += 20

    async def day() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        wall = story.now
        story.chronicle._wall_clock = lambda: wall + loop.time() - began
        async with asyncio.timeout(200), asyncio.TaskGroup() as group:
            keeping = group.create_task(story.chronicle.keep())
            story.request()
            story.request(status=503)
            await asyncio.sleep(30)
            assert story.chronicle.history.minutes("chat", 0) == []
            await asyncio.sleep(30)
            story.request()
            await asyncio.sleep(60)
            keeping.cancel()

    run_virtual(day())
    story.request()
    story.request(model="coder")
    story.chronicle.write_minute(1005)
    minutes = story.chronicle.history.minutes("chat", 0)
    assert [(m.minute, m.requests, m.errors, m.tokens_out) for m in minutes] == [
        (1000, 2, 1, 6),
        (1001, 1, 0, 3),
        (1005, 1, 0, 3),
    ]
    assert [m.minute for m in story.chronicle.history.minutes("coder", 0)] == [1005]


def test_phases_are_told() -> None:
    story = Story()
    story.chronicle.entered("chat", 4, "loading weights")
    phase = {"model": "chat", "run": 4, "phase": "loading weights", "at": 60_000.0}
    assert story.told() == [("phase", phase)]

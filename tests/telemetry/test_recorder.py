"""The recorder passes everything on to metrics, history, event stream and traces."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fakes.clock import run_virtual
from fakes.gateway import model
from hotseat.core.effects import ReportMove
from hotseat.core.errors import Reason
from hotseat.core.states import Cause, State
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.history import History, RecordedStart, StartKind
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.recorder import Recorder
from hotseat.telemetry.tracing.requests import ServerAddress
from hotseat.telemetry.tracing.span import Span
from hotseat.telemetry.tracing.tracer import Tracer
from hotseat.telemetry.tracing.w3c import TraceContext

BOOTED_AT = 1000.0


def silent(why: str) -> None:
    raise AssertionError(why)


class Story:
    """A recorder with a clock, a tracer if wanted, and one reader of its events."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.now = 60_000.0
        """Unix time at which virtual time is 0, or now outside an event loop."""
        self.recorder = Recorder(
            History(None, silent),
            Metrics(["chat", "coder"]),
            EventStream(),
            tracer,
            wall_clock=self.wall_clock,
            booted_at=BOOTED_AT,
        )
        self.reader = self.recorder.events.reader()

    def wall_clock(self) -> float:
        try:
            return self.now + asyncio.get_running_loop().time()
        except RuntimeError:
            return self.now

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, json.loads(event.data)) for event in self.reader.take()[1]]

    def request(self, status: int = 200, model: str = "chat") -> None:
        self.recorder.request_finished(
            RequestRecord(model=model, status=status, tokens_in=2, tokens_out=3, duration_s=1.0)
        )


def start(fingerprint: str, at: float, kind: StartKind = StartKind.COLD) -> RecordedStart:
    return RecordedStart(model="chat", fingerprint=fingerprint, kind=kind, seconds=9.0, at=at)


def test_a_swap_is_told_to_all() -> None:
    story = Story()
    story.recorder.moved(ReportMove("chat", 4, State.STARTING, State.READY, Cause.PROBE_PASSED, took_s=9e9))
    [(_, first)] = story.told()
    assert first["took_s"] is None  # how long it was as we found it, nobody knows
    move = ReportMove(
        "chat", 4, State.READY, State.STOPPING, Cause.EVICTED, took_s=12.34567, needed_by="coder"
    )
    story.recorder.moved(move)
    (kind, told), (second, swap) = story.told()
    assert (kind, second) == ("move", "swap")
    assert told["cause"] == "evicted"
    assert told["needed_by"] == "coder"
    assert told["took_s"] == 12.346
    assert swap == {"from": "chat", "to": "coder", "at": 60_000.0}
    assert [(one.old, one.new) for one in story.recorder.history.swaps(9)] == [("chat", "coder")]
    last = story.recorder.last_move("chat")
    assert last is not None
    assert (last.was, last.cause, last.needed_by) == ("ready", "evicted", "coder")


def test_a_failure_is_told_with_its_reason_and_without_the_servers_lines() -> None:
    story = Story()
    reason = Reason(summary="out of memory", hint="lower its footprint", lines=("prompt: my secret",))
    story.recorder.moved(
        ReportMove("chat", 4, State.STARTING, State.BACKOFF, Cause.START_FAILED, reason=reason)
    )
    told = story.told()
    assert [kind for kind, _ in told] == ["move", "failure"]
    assert told[1][1]["summary"] == "out of memory"
    assert "secret" not in json.dumps(told)
    assert story.recorder.history.failures(1)[0].hint == "lower its footprint"


def test_warm_means_started_before_since_the_machine_booted() -> None:
    story = Story()
    for one in (
        start("a", BOOTED_AT - 10),  # cold: nothing before
        start("a", BOOTED_AT + 10),  # cold: what came before was before the boot
        start("a", BOOTED_AT + 20),  # warm
        start("b", BOOTED_AT + 30),  # cold: another configuration
        start("b", BOOTED_AT + 40, StartKind.WAKE),
    ):
        story.recorder.record_start(one)
    counts = story.recorder.metrics.models["chat"].starts
    assert {kind: spread.count for kind, spread in counts.items()} == {
        "cold": 3,
        "warm": 1,
        "wake": 1,
        "standby": 0,
    }
    assert story.recorder.eta_s("chat") == 9.0


def test_requests_by_minute_are_written_when_the_minute_is_over() -> None:
    story = Story()
    story.now += 20

    async def day() -> None:
        async with asyncio.timeout(200), asyncio.TaskGroup() as group:
            keeping = group.create_task(story.recorder.minutes.run())
            story.request()
            story.request(status=503)
            await asyncio.sleep(30)
            assert story.recorder.history.minutes("chat", 0) == []
            await asyncio.sleep(30)
            story.request()
            await asyncio.sleep(60)
            keeping.cancel()

    run_virtual(day())
    story.request()
    story.request(model="coder")
    story.recorder.minutes.write(1005)
    minutes = story.recorder.history.minutes("chat", 0)
    assert [(m.minute, m.requests, m.errors, m.tokens_out) for m in minutes] == [
        (1000, 2, 1, 6),
        (1001, 1, 0, 3),
        (1005, 1, 0, 3),
    ]
    assert [m.minute for m in story.recorder.history.minutes("coder", 0)] == [1005]


def test_phases_are_told() -> None:
    story = Story()
    story.recorder.phase_entered("chat", 4, "loading weights")
    phase = {"model": "chat", "run": 4, "phase": "loading weights", "at": 60_000.0}
    assert story.told() == [("phase", phase)]


class MemoryExporter:
    """Keeps the spans that are sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.closed = False

    def sampled(self, trace_id: int, parent: TraceContext | None) -> bool:
        return True

    def send(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None:
        self.closed = True

    def named(self, name: str) -> Span:
        [span] = [span for span in self.spans if span.name == name]
        return span


def traced() -> tuple[Story, MemoryExporter]:
    exporter = MemoryExporter()
    tracer = Tracer(
        exporter,
        {"chat": model("chat", engine="vllm")},
        server=ServerAddress("http", "127.0.0.1", 8000),
        upstream=lambda name: None,
        redact=str,
        wall_clock=lambda: 60_000.0,
    )
    return Story(tracer), exporter


def finish_traced(recorder: Recorder, name: str) -> None:
    assert recorder.join_trace is not None
    _, trace, parent = recorder.join_trace(b"")
    path = "/v1/chat/completions"
    recorder.request_finished(
        RequestRecord(model=name, path=path, method="POST", status=200, trace=trace, parent=parent)
    )


def test_a_finished_request_is_counted_and_traced() -> None:
    story, exporter = traced()
    finish_traced(story.recorder, "chat")
    assert story.recorder.metrics.models["chat"].requests == 1
    assert exporter.named("chat chat").attributes["gen_ai.provider.name"] == "vllm"


def test_after_another_configuration_spans_have_the_engines_of_new_models() -> None:
    story, exporter = traced()
    story.recorder.configure({name: model(name, engine="openai") for name in ("chat", "fresh")})
    finish_traced(story.recorder, "fresh")
    finish_traced(story.recorder, "chat")
    assert story.recorder.metrics.models["fresh"].requests == 1
    for name in ("fresh", "chat"):
        assert exporter.named(f"chat {name}").attributes["gen_ai.provider.name"] == "openai"


def test_a_start_is_traced_with_its_phases() -> None:
    story, exporter = traced()
    story.recorder.moved(ReportMove("chat", 4, State.STOPPED, State.STARTING, Cause.DEMAND))
    story.recorder.phase_entered("chat", 4, "loading weights")
    story.recorder.moved(ReportMove("chat", 4, State.STARTING, State.READY, Cause.PROBE_PASSED))
    assert [event[0] for event in exporter.named("start chat").events] == ["loading weights"]


def test_closing_sends_the_last_spans_and_writes_the_current_minute() -> None:
    story, exporter = traced()
    finish_traced(story.recorder, "chat")
    asyncio.run(story.recorder.close())
    assert exporter.closed
    assert [m.requests for m in story.recorder.history.minutes("chat", 0)] == [1]


def test_without_tracing_requests_join_no_trace() -> None:
    assert Story().recorder.join_trace is None

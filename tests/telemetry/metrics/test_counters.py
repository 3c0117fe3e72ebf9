"""What is counted, from what happened."""

from __future__ import annotations

import pytest
from prometheus_client import Histogram

from hotseat.core.effects import ReportMove
from hotseat.core.states import FAILURES, Cause, State
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.telemetry.metrics import CATALOGUE, Metrics
from hotseat.telemetry.metrics.counters import Distribution


def record(**terms: object) -> RequestRecord:
    whole = {"model": "chat", "status": 200, "bytes_in": 10, "bytes_out": 20, "duration_s": 3.0}
    return RequestRecord(**{**whole, **terms})  # type: ignore[arg-type]


def move(old: State, new: State, cause: Cause, needed_by: str | None = None) -> ReportMove:
    return ReportMove("chat", 1, old, new, cause, needed_by=needed_by)


def test_a_streamed_answer_is_counted_whole() -> None:
    metrics = Metrics(["chat"])
    metrics.finished(
        record(stream=True, tokens_in=7, tokens_out=11, waited_s=2.0, first_byte_s=1.0, duration_s=3.0)
    )
    chat = metrics.models["chat"]
    assert (chat.requests, chat.codes[200]) == (1, 1)
    assert (chat.tokens_in, chat.tokens_out, chat.bytes_in, chat.bytes_out) == (7, 11, 10, 20)
    assert (chat.waits.total, chat.durations.total, chat.first_tokens.total) == (2.0, 3.0, 1.0)
    assert chat.inter_tokens.total == pytest.approx(2.0 / 10)  # eleven tokens have ten pauses


def test_what_is_no_stream_has_no_first_token() -> None:
    metrics = Metrics(["chat"])
    metrics.finished(record(first_byte_s=1.0, tokens_out=5))
    metrics.finished(record(stream=True, status=503, first_byte_s=1.0, tokens_out=5))
    metrics.finished(record(stream=True, first_byte_s=1.0, tokens_out=1))
    chat = metrics.models["chat"]
    assert (chat.first_tokens.count, chat.inter_tokens.count) == (1, 0)


def test_refused_is_not_cut_short() -> None:
    metrics = Metrics(["chat"])
    metrics.finished(record(status=503, code="model_backoff"))
    metrics.finished(record(status=502, code="upstream_error", failed="upstream"))
    metrics.finished(record(status=499, failed="gone"))
    metrics.finished(record(status=401, model="", code="invalid_api_key"))
    metrics.finished(record(status=200, model=""))  # our own pages are no traffic
    metrics.finished(record(model="configured away"))
    chat = metrics.models["chat"]
    assert {why: n for why, n in chat.refusals.items() if n} == {"model_backoff": 1}
    assert {why: n for why, n in chat.cuts.items() if n} == {"upstream": 1, "gone": 1}
    assert metrics.unrouted == {"invalid_api_key": 1}
    assert chat.requests == 3


def test_a_status_that_nobody_expected_is_counted_too() -> None:
    metrics = Metrics(["chat"])
    metrics.finished(record(status=418))
    metrics.finished(record(status=418))
    assert metrics.models["chat"].codes[418] == 2


def test_a_swap_counts_once_and_when_it_cannot_be_called_off() -> None:
    metrics = Metrics(["chat", "coder"])
    told = [
        metrics.moved(move(State.READY, State.DRAINING, Cause.EVICTED, "coder")),
        metrics.moved(move(State.DRAINING, State.SUSPENDING, Cause.EVICTED, "coder")),
        metrics.moved(move(State.SUSPENDING, State.STOPPING, Cause.SLEEP_FAILED, "coder")),
        metrics.moved(move(State.STOPPING, State.STOPPED, Cause.EXITED, "coder")),
        metrics.moved(move(State.READY, State.STOPPING, Cause.IDLE)),
    ]
    assert told == [False, True, False, False, False]
    assert metrics.swaps == {("chat", "coder"): 1, ("coder", "chat"): 0}


@pytest.mark.parametrize("cause", sorted(FAILURES))
def test_each_failure_is_counted_by_its_cause(cause: Cause) -> None:
    metrics = Metrics(["chat"])
    metrics.moved(move(State.STARTING, State.BACKOFF, cause))
    metrics.moved(move(State.BACKOFF, State.STOPPED, Cause.COOLED_DOWN))
    assert {one: n for one, n in metrics.models["chat"].failures.items() if n} == {cause: 1}


def test_starts_and_their_phases() -> None:
    metrics = Metrics(["chat"])
    metrics.started("chat", "cold", 60.0, {"starting": 20.0, "loading weights": 40.0})
    metrics.started("chat", "warm", 10.0, {"starting": 4.0, "loading weights": 6.0})
    metrics.started("gone", "cold", 1.0, {})
    chat = metrics.models["chat"]
    assert [chat.starts[kind].count for kind in ("cold", "warm", "wake")] == [1, 1, 0]
    seen = {phase: told for phase, told in chat.phases.items() if told[0]}
    assert seen == {"starting": (2, 24.0), "loading weights": (2, 46.0)}


def test_another_configuration_keeps_the_numbers_of_those_that_stay() -> None:
    metrics = Metrics(["chat", "coder"])
    metrics.finished(record())
    metrics.moved(move(State.READY, State.STOPPING, Cause.EVICTED, "coder"))
    metrics.configure(["chat", "tiny"])
    assert list(metrics.models) == ["chat", "tiny"]
    assert metrics.models["chat"].requests == 1
    assert ("chat", "coder") not in metrics.swaps
    metrics.moved(move(State.READY, State.STOPPING, Cause.EVICTED, "coder"))  # a late one of the old
    metrics.configure(["chat", "coder"])
    assert metrics.swaps[("chat", "coder")] == 0


@pytest.mark.parametrize("value", [0.0, 0.01, 0.0100001, 0.3, 600.0, 601.0, 1e9])
def test_buckets_are_those_of_the_library(value: float) -> None:
    bounds = CATALOGUE["hotseat_request_duration_seconds"].bounds
    ours, theirs = Distribution(bounds), Histogram("x", "x", buckets=bounds, registry=None)
    ours.add(value)
    theirs.observe(value)
    buckets = [s.value for s in next(iter(theirs.collect())).samples if s.name == "x_bucket"]
    cumulative = [sum(ours.counts[: n + 1]) for n in range(len(ours.counts))]
    assert cumulative == buckets

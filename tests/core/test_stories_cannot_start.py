"""Models that cannot start: after a few equal failures nobody is told to wait, and the cause can be found."""

from __future__ import annotations

import pytest
from core_story import Story, model

from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import STATUS, Code, Reason
from hotseat.core.policy import EQUAL_FAILURES

EXITED = Reason(summary="exited with code 1", exit_code=1)
OTHER = Reason(summary="exited with code 2", exit_code=2)
RETRIED_BY_CLIENTS = {408, 409, 422, 424, 425, 429, *range(500, 600)}
"""Statuses that OpenAI's or Anthropic's SDKs, Claude Code, Codex or aider retry (each was measured)."""


def fail(s: Story, reason: Reason, times: int = 1) -> int:
    """Have it asked for, and let the start fail, so often; returns the last request."""
    request = 0
    for _ in range(times):
        s.pass_time(100)
        request = s.ask("chat")
        s.tell(ev.StartFailed("chat", s.run("chat"), reason))
    return request


def test_an_agent_is_told_to_stop_after_a_few_equal_failures() -> None:
    s = Story(model("chat"))
    early = fail(s, EXITED, EQUAL_FAILURES - 1)
    assert (s.code(early), s.refused[early].status) == (Code.MODEL_BACKOFF, 503)
    for request in (fail(s, EXITED), s.ask("chat")):
        refusal = s.refused[request]
        assert refusal.code is Code.MODEL_FAILED
        assert refusal.status not in RETRIED_BY_CLIENTS
        assert not refusal.should_retry
        assert refusal.message == (
            "model chat cannot start: exited with code 1: `hotseat logs chat` shows why (3 times in a row)"
        )


def test_failures_that_differ_may_be_mended_by_waiting() -> None:
    s = Story(model("chat"))
    for _ in range(EQUAL_FAILURES):
        fail(s, EXITED)
        last = fail(s, OTHER)
    assert s.code(last) is Code.MODEL_BACKOFF


def test_a_model_that_cannot_start_is_tried_again_by_a_later_request() -> None:
    s = Story(model("chat"))
    fail(s, EXITED, EQUAL_FAILURES)
    s.pass_time(100)
    ana = s.ask("chat")  # the operator has mended it meanwhile
    s.ready("chat", after=2)
    assert s.holds(ana)
    s.dies("chat", EXITED)  # what was counted before is forgotten
    assert s.code(fail(s, EXITED)) is Code.MODEL_BACKOFF


def test_a_model_that_serves_and_crashes_is_not_one_that_cannot_start() -> None:
    s = Story(model("chat"))
    for _ in range(2 * EQUAL_FAILURES):
        s.pass_time(100)
        s.up("chat")
        s.dies("chat", EXITED)
    assert s.code(s.ask("chat")) is Code.MODEL_BACKOFF


def test_a_start_that_times_out_again_and_again_is_one_that_fails_for_the_same_reason() -> None:
    s = Story(model("chat", start_timeout_s=30))
    codes = []
    for _ in range(EQUAL_FAILURES):
        ana = s.ask("chat")
        s.pass_time(30)
        codes.append(s.code(ana))
        s.gone("chat")
        s.pass_time(100)
    assert codes == [Code.START_TIMEOUT, Code.START_TIMEOUT, Code.MODEL_FAILED]
    assert "`hotseat logs chat` shows why" in s.refused[ana].message


@pytest.mark.parametrize(
    "reason",
    [
        Reason(summary="out of memory", hint="lower --gpu-memory-utilization"),
        Reason(summary="its port is taken", explained=True),
        Reason(summary="command not found: vllm", permanent=True),
    ],
    ids=lambda reason: reason.summary,
)
def test_a_cause_that_is_named_needs_no_look_at_the_log(reason: Reason) -> None:
    assert refusals.explain("chat", reason) == reason.for_clients()


def test_what_waiting_cannot_mend_has_a_status_that_no_client_retries() -> None:
    for code in (Code.MODEL_FAILED, Code.NO_ROOM, Code.MODEL_NOT_FOUND):
        assert STATUS[code] not in RETRIED_BY_CLIENTS


def test_next_try_in_agrees_with_retry_after() -> None:
    s = Story(model("chat"), jitter=1.0)
    for number in range(12):  # reasons that differ: the back-off grows to its bound
        request = fail(s, Reason(summary=f"exited with code {number % 2}"))
        refusal = s.refused[request]
        assert refusal.message.endswith(f"; next try in {refusal.retry_after_s:.0f} s")
        s.pass_time(refusal.retry_after_s or 0)
        again = s.ask("chat")
        assert s.waits(again), "told to come then, and sent away again"
        s.tell(ev.StartFailed("chat", s.run("chat"), OTHER))
        s.pass_time(100)

"""Reasons and refusals: why a run ended, and why a request got no lease."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Machine-readable code of a refusal, with its HTTP status in ``STATUS``."""

    MODEL_LOADING = "model_loading"
    MODEL_FAILED = "model_failed"  # cannot start as configured; waiting does not help
    MODEL_BACKOFF = "model_backoff"  # failed; not tried again before a deadline
    MODEL_NOT_LOADED = "model_not_loaded"  # would evict another model, which the request may not
    START_TIMEOUT = "start_timeout"
    QUEUE_FULL = "queue_full"
    NO_ROOM = "no_room"
    UNSCHEDULABLE = "unschedulable"  # its runtime found no room for it now
    WAIT_LIMIT = "wait_limit"  # waited as long as a request may
    STOPPED_BY_OPERATOR = "model_stopped"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    SHUTTING_DOWN = "shutting_down"
    MODEL_NOT_FOUND = "model_not_found"


STATUS: dict[Code, int] = {
    Code.MODEL_LOADING: 503,
    # Measured: 400 is the one status that the SDKs of OpenAI and Anthropic, Claude Code, Codex, opencode,
    # Continue and aider all show at once. Codex retries 424 too, aider 422, and all of them 5xx.
    Code.MODEL_FAILED: 400,
    Code.MODEL_BACKOFF: 503,
    Code.MODEL_NOT_LOADED: 503,
    Code.START_TIMEOUT: 503,
    Code.QUEUE_FULL: 429,
    Code.NO_ROOM: 400,
    Code.UNSCHEDULABLE: 503,
    Code.WAIT_LIMIT: 503,
    Code.STOPPED_BY_OPERATOR: 503,
    Code.RUNTIME_UNAVAILABLE: 503,
    Code.SHUTTING_DOWN: 503,
    Code.MODEL_NOT_FOUND: 404,
}


LINES_JUDGED = 300
"""Last lines of a run that are searched for the cause of its end. vLLM first writes what its engine died of,
then the traceback of the server around it: the cause can stand more than 60 lines before the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Cause of a run's end: ``summary`` and ``hint`` are fit for clients, ``lines`` for admins only."""

    summary: str
    """``exited with code 3``, ``out of memory``, ``command not found: vllm``."""
    hint: str | None = None
    """One line on what to do, from a known failure line."""
    permanent: bool = False
    """Waiting does not help (command not found, unknown flag)."""
    explained: bool = False
    """The summary names the cause: it was found in the log."""
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    alive: bool = False
    """The run has not ended but is going to be stopped: what it sends from now on is no response."""
    lines: tuple[str, ...] = ()
    """The last lines of its log (see ``engines.base.explained``)."""

    def for_clients(self) -> str:
        """The summary, with the hint where there is one."""
        return f"{self.summary}: {self.hint}" if self.hint else self.summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Answer to a request that gets no lease."""

    code: Code
    message: str
    model: str
    retry_after_s: float | None = None
    """Seconds until a retry may succeed; ``None``: unknown."""
    should_retry: bool = True
    """``False``: retrying does not help (sent as ``x-should-retry``)."""

    @property
    def status(self) -> int:
        """The HTTP status of this refusal."""
        return STATUS[self.code]

"""Log lines for transitions, and why a start that an operator ordered did not succeed."""

from __future__ import annotations

import structlog

from hotseat.core import effects as do
from hotseat.core import refusals
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.states import FAILURES, LOADING, Cause, State
from hotseat.core.views import ModelView
from hotseat.telemetry.history import StartKind

log = structlog.get_logger("hotseat")

_DEBUG_CAUSES = (Cause.CALLED_OFF, Cause.COOLED_DOWN)


def kind_of_start(state: State) -> StartKind:
    """The kind of start that leads from this state to READY."""
    if state is State.STANDBY:
        return StartKind.STANDBY
    return StartKind.WAKE if state in (State.ASLEEP, State.WAKING) else StartKind.COLD


def why_not_ready(view: ModelView, unusable: str | None, now: float) -> Refusal:
    """Explain why a start that an operator ordered failed; ``unusable``: why its runtime cannot work."""
    if unusable is not None:
        return refusals.unusable(view.model, unusable)
    reason = view.reason or Reason(summary="it was stopped")
    why = refusals.explain(view.model, reason)
    words = f"is {view.state}: {reason.for_clients()}"
    if view.backoff_until is not None and reason.permanent:
        words = f"cannot start: {why}"
    elif view.backoff_until is not None:
        wait_s = refusals.retry_s(view.backoff_until - now)
        words = f"failed to start: {why}; next try in {wait_s:.0f} s"
    return Refusal(
        code=Code.MODEL_FAILED if reason.permanent else Code.MODEL_BACKOFF,
        message=f"model {view.model} {words}",
        model=view.model,
        should_retry=not reason.permanent,
    )


def log_move(move: do.ReportMove) -> None:
    """Log a transition; failures as warnings."""
    words: dict[str, object] = {
        "model": move.model,
        "run": move.run,
        "was": str(move.old),
        "cause": str(move.cause),
    }
    if move.needed_by is not None:
        words["needed_by"] = move.needed_by
    if move.new is State.READY and move.old in LOADING and move.took_s is not None:
        words["spin_up_s"] = round(move.took_s, 3)
    if move.reason is not None:
        words["reason"] = move.reason.for_clients()
        words["lines"] = list(move.reason.lines[-5:])
    failed = move.new is State.BACKOFF or move.cause in FAILURES
    write = log.warning if failed else log.debug if move.cause in _DEBUG_CAUSES else log.info
    write(str(move.new), **words)

"""The one place that lifecycle events and finished requests are reported to.

The recorder passes them on to metrics (counters), history (SQLite), the event stream (``/events``) and, if
tracing is on, to the tracer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotseat.core import effects as do
from hotseat.core.spec import ModelSpec
from hotseat.core.states import FAILURES
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.history import (
    History,
    RecordedFailure,
    RecordedMove,
    RecordedStart,
    RecordedSwap,
    StartKind,
)
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.minutes import MinuteWriter

if TYPE_CHECKING:
    from hotseat.telemetry.tracing.tracer import Tracer


@dataclass(frozen=True, slots=True)
class LastMove:
    """A model's latest state transition."""

    was: str
    """The state before it."""
    cause: str
    needed_by: str | None
    """The model that it made room for."""
    at: float
    """Unix time in seconds."""


class Recorder:
    """Fans out what the supervisor and the gateway report. Nothing here blocks."""

    def __init__(
        self,
        history: History,
        metrics: Metrics,
        events: EventStream,
        tracer: Tracer | None = None,
        *,
        wall_clock: Callable[[], float],
        booted_at: float,
    ) -> None:
        """``wall_clock()`` is Unix time in seconds; ``booted_at`` is when this machine booted, likewise."""
        self.history, self.metrics, self.events = history, metrics, events
        self.minutes = MinuteWriter(metrics, history, wall_clock)
        self._tracer = tracer
        self._wall_clock, self._booted_at = wall_clock, booted_at
        self._last_moves: dict[str, LastMove] = {}
        history.record_move(RecordedMove(at=wall_clock(), model="", state="started", cause=""))
        self.request_finished: Callable[[FinishedRequest], None] = (
            metrics.finished if tracer is None else self._count_and_trace
        )
        """Takes each finished request's record. Without tracing this is the metrics' own method, which saves
        a call for every request."""
        self.join_trace: Callable[[bytes], tuple[bytes, str, str]] | None = (
            None if tracer is None else tracer.begin
        )
        """Gives a request its place in a trace (``Tracer.begin``); ``None`` without tracing."""

    def configure(self, models: Mapping[str, ModelSpec]) -> None:
        """Record these models from now on; those that were there before keep their counters."""
        self.metrics.configure(models)
        if self._tracer is not None:
            self._tracer.configure(models)

    def last_move(self, model: str) -> LastMove | None:
        """The model's latest state transition; ``None`` if there was none since hotseat started."""
        return self._last_moves.get(model)

    async def close(self) -> None:
        """Send the last spans, write the current minute and close the history file."""
        if self._tracer is not None:
            await self._tracer.close()
        self.minutes.write()
        self.history.close()

    # requests

    def _count_and_trace(self, record: FinishedRequest) -> None:
        assert self._tracer is not None
        self.metrics.finished(record)
        self._tracer.ended(record)

    # the lifecycle of models

    def moved(self, move: do.ReportMove) -> None:
        """Record a state transition, and the swap or the failure that it stands for."""
        at = self._wall_clock()
        self._publish_move(move, at)
        self.history.record_move(
            RecordedMove(at=at, model=move.model, state=str(move.new), cause=str(move.cause))
        )
        self._last_moves[move.model] = LastMove(str(move.old), str(move.cause), move.needed_by, at)
        if self.metrics.moved(move):
            self._record_swap(move, at)
        if move.cause in FAILURES:
            self._record_failure(move, at)
        if self._tracer is not None:
            self._tracer.moved(move)

    def _publish_move(self, move: do.ReportMove, at: float) -> None:
        # How long a model had been in the state that we found it in is unknown.
        took_s = move.took_s if move.model in self._last_moves else None
        data: dict[str, Any] = {
            "model": move.model,
            "run": move.run,
            "was": str(move.old),
            "state": str(move.new),
            "cause": str(move.cause),
            "needed_by": move.needed_by,
            "took_s": None if took_s is None else round(took_s, 3),
            "at": round(at, 3),
        }
        self.events.publish("move", data)

    def _record_swap(self, move: do.ReportMove, at: float) -> None:
        assert move.needed_by is not None
        self.history.record_swap(RecordedSwap(at=at, old=move.model, new=move.needed_by))
        self.events.publish("swap", {"from": move.model, "to": move.needed_by, "at": round(at, 3)})

    def _record_failure(self, move: do.ReportMove, at: float) -> None:
        reason = move.reason
        failure = RecordedFailure(
            at=at,
            model=move.model,
            run=move.run,
            cause=str(move.cause),
            summary=reason.summary if reason else str(move.cause),
            hint=reason.hint if reason else None,
        )
        self.history.record_failure(failure)
        data: dict[str, Any] = {"model": failure.model, "run": failure.run, "cause": failure.cause}
        data |= {"summary": failure.summary, "hint": failure.hint, "at": round(at, 3)}
        self.events.publish("failure", data)

    def phase_entered(self, model: str, run: int, phase: str) -> None:
        """Record that a loading run entered another phase."""
        at = round(self._wall_clock(), 3)
        self.events.publish("phase", {"model": model, "run": run, "phase": phase, "at": at})
        if self._tracer is not None:
            self._tracer.phase_entered(model, phase)

    def record_start(self, start: RecordedStart) -> None:
        """Record a start that ended in a ready model."""
        self.metrics.started(start.model, self._kind(start), start.seconds, start.phases)
        self.history.record_start(start)

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """Return how many seconds such a start is expected to take; ``None`` until one was recorded."""
        return self.history.eta_s(model, kind)

    def _kind(self, start: RecordedStart) -> str:
        if start.kind is not StartKind.COLD:
            return str(start.kind)
        earlier = self.history.recent(start.model)
        warm = any(one.fingerprint == start.fingerprint and one.at > self._booted_at for one in earlier)
        return "warm" if warm else "cold"

"""Makes the spans of starts and swaps from state transitions.

A start is a span with an event for each phase. If other models made room for it, a swap span is its parent:
that one lasts from the first departure until the incoming model is ready, with a child for each departure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hotseat.core import effects as do
from hotseat.core.states import FAILURES, LEAVING, LOADING, State
from hotseat.telemetry.tracing.span import Attributes, Span, Value, new_id

SAME_SWAP_NS = 1_000_000_000
"""Several models may leave for one, one after another; a departure later than this is another swap."""
KEPT = 8
"""How many of a model's latest starts are remembered, for links from requests."""


@dataclass(slots=True)
class _Start:
    trace_id: int
    span_id: int
    parent_id: int | None
    run: int | None
    wakes: bool
    began: int
    events: list[tuple[str, int, Attributes]] = field(default_factory=list)
    ended: int | None = None


@dataclass(slots=True)
class _Departure:
    incoming: str
    cause: str
    began: int
    events: list[tuple[str, int, Attributes]] = field(default_factory=list)


@dataclass(slots=True)
class _Swap:
    trace_id: int
    span_id: int
    began: int
    left: list[str] = field(default_factory=list)
    last_left_at: int | None = None
    """When the last of them had left; ``None`` while one is still leaving."""


class LifecycleSpans:
    """Tracks each model's starts and departures until they become spans. Times are Unix nanoseconds."""

    def __init__(self) -> None:
        self._starts: dict[str, list[_Start]] = {}
        self._departures: dict[str, _Departure] = {}
        self._swaps: dict[str, _Swap] = {}

    def starts_between(self, model: str, began: int, ended: int) -> list[tuple[int, int]]:
        """Trace id and span id of each of the model's starts that overlaps this time."""
        return [
            (one.trace_id, one.span_id)
            for one in self._starts.get(model, ())
            if one.began <= ended and (one.ended is None or one.ended >= began)
        ]

    def phase_entered(self, model: str, phase: str, at: int) -> None:
        """Add an event to the span of the model's current start."""
        start = self._open_start(model)
        if start is not None:
            start.events.append((phase, at, {}))

    def moved(self, move: do.ReportMove, at: int) -> list[Span]:
        """Take a state transition; return the spans that end with it."""
        made: list[Span] = []
        if move.new in LOADING:
            self._begin_start(move, at)
        elif move.old in LOADING:
            made += self._end_start(move, at)
        if move.new in LEAVING and (move.needed_by or move.model in self._departures):
            made += self._leaving(move, at)
        elif move.model in self._departures:
            made += self._left(move, at)
        return made

    def _open_start(self, model: str) -> _Start | None:
        starts = self._starts.get(model)
        return starts[-1] if starts and starts[-1].ended is None else None

    def _begin_start(self, move: do.ReportMove, at: int) -> None:
        swap = self._swaps.get(move.model)
        start = _Start(
            trace_id=swap.trace_id if swap else new_id(128),
            span_id=new_id(64),
            parent_id=swap.span_id if swap else None,
            run=move.run,
            wakes=move.new is State.WAKING,
            began=at,
        )
        self._starts[move.model] = [*self._starts.get(move.model, [])[1 - KEPT :], start]

    def _end_start(self, move: do.ReportMove, at: int) -> list[Span]:
        start = self._open_start(move.model)
        if start is None:  # it began before tracing did
            return []
        start.ended = at
        ready = move.new is State.READY
        attributes: dict[str, Value] = {
            "hotseat.model": move.model,
            "hotseat.kind": "wake" if start.wakes else "start",
            "hotseat.cause": str(move.cause),
        }
        if start.run is not None:
            attributes["hotseat.run"] = start.run
        error = None
        if not ready and move.cause in FAILURES:
            attributes["error.type"] = str(move.cause)
            error = move.reason.summary if move.reason else str(move.cause)
        span = Span(
            name=f"{'wake' if start.wakes else 'start'} {move.model}",
            trace_id=start.trace_id,
            span_id=start.span_id,
            parent_id=start.parent_id,
            start_ns=start.began,
            end_ns=at,
            attributes=attributes,
            events=tuple(start.events),
            error=error,
        )
        start.events = []
        swap = self._swaps.pop(move.model, None) if start.parent_id else None
        return [span, _swap_span(move.model, swap, at, error)] if swap else [span]

    def _leaving(self, move: do.ReportMove, at: int) -> list[Span]:
        made: list[Span] = []
        departure = self._departures.get(move.model)
        if departure is None:
            assert move.needed_by is not None
            made = self._close_abandoned_swap(move.needed_by, at)
            if move.needed_by not in self._swaps:
                self._swaps[move.needed_by] = _Swap(new_id(128), new_id(64), at)
            departure = self._departures[move.model] = _Departure(move.needed_by, str(move.cause), at)
            self._swaps[move.needed_by].last_left_at = None
        departure.events.append((str(move.new), at, {}))
        return made

    def _left(self, move: do.ReportMove, at: int) -> list[Span]:
        departure = self._departures.pop(move.model)
        swap = self._swaps.get(departure.incoming)
        if swap is None:
            return []
        others = [one for one in self._departures.values() if one.incoming == departure.incoming]
        if not others:
            swap.last_left_at = at
        if move.new is State.READY:  # the eviction was called off
            if not others and not swap.left:
                del self._swaps[departure.incoming]
            return []
        swap.left.append(move.model)
        attributes: dict[str, Value] = {
            "hotseat.model": move.model,
            "hotseat.needed_by": departure.incoming,
            "hotseat.cause": departure.cause,
        }
        return [
            Span(
                name=f"leave {move.model}",
                trace_id=swap.trace_id,
                span_id=new_id(64),
                parent_id=swap.span_id,
                start_ns=departure.began,
                end_ns=at,
                attributes=attributes,
                events=tuple(departure.events),
            )
        ]

    def _close_abandoned_swap(self, incoming: str, at: int) -> list[Span]:
        """End an earlier swap whose incoming model never started, because no request wanted it any more."""
        swap = self._swaps.get(incoming)
        if swap is None or swap.last_left_at is None or self._open_start(incoming) is not None:
            return []
        if at - swap.last_left_at <= SAME_SWAP_NS:
            return []
        del self._swaps[incoming]
        return [_swap_span(incoming, swap, swap.last_left_at, "the incoming model was not started")]


def _swap_span(incoming: str, swap: _Swap, at: int, error: str | None) -> Span:
    return Span(
        name=f"swap to {incoming}",
        trace_id=swap.trace_id,
        span_id=swap.span_id,
        start_ns=swap.began,
        end_ns=at,
        attributes={"hotseat.model": incoming, "hotseat.left": ", ".join(swap.left)},
        error=error,
    )

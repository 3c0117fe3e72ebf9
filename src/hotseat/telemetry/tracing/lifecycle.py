"""The spans of starts and swaps, made of the moves that the supervisor tells.

A start is a span with an event for each phase. Where others made room for it, a swap stands above: from
the first one's leave to the newcomer's being ready, with a span for each that left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hotseat.core import effects as do
from hotseat.core.states import FAILURES, LEAVING, LOADING, State
from hotseat.telemetry.tracing.span import Attributes, Span, Value, new_id

SAME_SWAP_NS = 1_000_000_000
"""Several may leave for one newcomer, one after the other; later than this it is another swap."""
KEPT = 8
"""Latest starts of each model that requests may still refer to."""


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
class _Leave:
    newcomer: str
    cause: str
    began: int
    events: list[tuple[str, int, Attributes]] = field(default_factory=list)


@dataclass(slots=True)
class _Swap:
    trace_id: int
    span_id: int
    began: int
    left: list[str] = field(default_factory=list)
    quiet_since: int | None = None
    """When the last of them had gone; ``None`` while somebody leaves."""


class LifecycleSpans:
    """What goes on with each model, as far as it becomes a span."""

    def __init__(self) -> None:
        self._starts: dict[str, list[_Start]] = {}
        self._leaves: dict[str, _Leave] = {}
        self._swaps: dict[str, _Swap] = {}

    def starts_between(self, model: str, began: int, ended: int) -> list[tuple[int, int]]:
        """Trace and span of the model's starts in that time."""
        return [
            (one.trace_id, one.span_id)
            for one in self._starts.get(model, ())
            if one.began <= ended and (one.ended is None or one.ended >= began)
        ]

    def entered(self, model: str, phase: str, at: int) -> None:
        """A start came into another phase."""
        start = self._open(model)
        if start is not None:
            start.events.append((phase, at, {}))

    def moved(self, move: do.ReportMove, at: int) -> list[Span]:
        """A model moved; the spans that have ended with it."""
        made: list[Span] = []
        if move.new in LOADING:
            self._begin(move, at)
        elif move.old in LOADING:
            made += self._end(move, at)
        if move.new in LEAVING and (move.needed_by or move.model in self._leaves):
            made += self._leaving(move, at)
        elif move.model in self._leaves:
            made += self._left(move, at)
        return made

    def _open(self, model: str) -> _Start | None:
        starts = self._starts.get(model)
        return starts[-1] if starts and starts[-1].ended is None else None

    def _begin(self, move: do.ReportMove, at: int) -> None:
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

    def _end(self, move: do.ReportMove, at: int) -> list[Span]:
        start = self._open(move.model)
        if start is None:  # begun before there were traces
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
        leave = self._leaves.get(move.model)
        if leave is None:
            assert move.needed_by is not None
            made = self._drop_old(move.needed_by, at)
            if move.needed_by not in self._swaps:
                self._swaps[move.needed_by] = _Swap(new_id(128), new_id(64), at)
            leave = self._leaves[move.model] = _Leave(move.needed_by, str(move.cause), at)
            self._swaps[move.needed_by].quiet_since = None
        leave.events.append((str(move.new), at, {}))
        return made

    def _left(self, move: do.ReportMove, at: int) -> list[Span]:
        leave = self._leaves.pop(move.model)
        swap = self._swaps.get(leave.newcomer)
        if swap is None:
            return []
        others = [one for one in self._leaves.values() if one.newcomer == leave.newcomer]
        if not others:
            swap.quiet_since = at
        if move.new is State.READY:  # called off
            if not others and not swap.left:
                del self._swaps[leave.newcomer]
            return []
        swap.left.append(move.model)
        attributes: dict[str, Value] = {
            "hotseat.model": move.model,
            "hotseat.needed_by": leave.newcomer,
            "hotseat.cause": leave.cause,
        }
        return [
            Span(
                name=f"leave {move.model}",
                trace_id=swap.trace_id,
                span_id=new_id(64),
                parent_id=swap.span_id,
                start_ns=leave.began,
                end_ns=at,
                attributes=attributes,
                events=tuple(leave.events),
            )
        ]

    def _drop_old(self, newcomer: str, at: int) -> list[Span]:
        """A swap whose newcomer never came, since nobody wanted it any more, has ended."""
        swap = self._swaps.get(newcomer)
        if swap is None or swap.quiet_since is None or self._open(newcomer) is not None:
            return []
        if at - swap.quiet_since <= SAME_SWAP_NS:
            return []
        del self._swaps[newcomer]
        return [_swap_span(newcomer, swap, swap.quiet_since, "the newcomer did not come")]


def _swap_span(newcomer: str, swap: _Swap, at: int, error: str | None) -> Span:
    return Span(
        name=f"swap to {newcomer}",
        trace_id=swap.trace_id,
        span_id=swap.span_id,
        start_ns=swap.began,
        end_ns=at,
        attributes={"hotseat.model": newcomer, "hotseat.left": ", ".join(swap.left)},
        error=error,
    )

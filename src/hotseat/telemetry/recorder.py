"""Everything that happens, told to who counts it (metrics), keeps it (history) and listens (feed)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hotseat.core import effects as do
from hotseat.core.states import FAILURES
from hotseat.telemetry.event_stream import EventStream
from hotseat.telemetry.history import History, Minute, RecordedFailure, RecordedStart, RecordedSwap, StartKind
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.metrics.counters import ModelCounts

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class LastMove:
    """How a model came into its present state."""

    was: str
    cause: str
    needed_by: str | None
    at: float
    """Unix time."""


class Recorder:
    """Listens to the supervisor and the gateway; nothing here waits, but ``keep``."""

    def __init__(
        self,
        history: History,
        metrics: Metrics,
        feed: EventStream,
        *,
        wall_clock: Callable[[], float],
        booted_at: float,
    ) -> None:
        """``wall_clock()`` is the time of day and ``booted_at`` when the machine was booted, in Unix time."""
        self.history, self.metrics, self.feed = history, metrics, feed
        self._wall_clock, self._booted_at = wall_clock, booted_at
        self._moves: dict[str, LastMove] = {}
        self._before: dict[str, tuple[int, int, int, int]] = {}

    def last_move(self, model: str) -> LastMove | None:
        """How it came into its state; ``None`` if it has not moved in our time."""
        return self._moves.get(model)

    # what the supervisor tells

    def moved(self, move: do.ReportMove) -> None:
        """A model moved."""
        at = self._wall_clock()
        # How long it was as we found it, nobody knows.
        took_s = move.took_s if move.model in self._moves else None
        self._moves[move.model] = LastMove(str(move.old), str(move.cause), move.needed_by, at)
        swap = self.metrics.moved(move)
        told: dict[str, Any] = {
            "model": move.model,
            "run": move.run,
            "was": str(move.old),
            "state": str(move.new),
            "cause": str(move.cause),
            "needed_by": move.needed_by,
            "took_s": None if took_s is None else round(took_s, 3),
            "at": round(at, 3),
        }
        self.feed.publish("move", told)
        if swap:
            assert move.needed_by is not None
            self.history.record_swap(RecordedSwap(at=at, old=move.model, new=move.needed_by))
            self.feed.publish("swap", {"from": move.model, "to": move.needed_by, "at": round(at, 3)})
        if move.cause in FAILURES:
            self._failed(move, at)

    def _failed(self, move: do.ReportMove, at: float) -> None:
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
        told: dict[str, Any] = {"model": failure.model, "run": failure.run, "cause": failure.cause}
        told |= {"summary": failure.summary, "hint": failure.hint, "at": round(at, 3)}
        self.feed.publish("failure", told)

    def entered(self, model: str, run: int, phase: str) -> None:
        """A loading run came into another phase."""
        self.feed.publish(
            "phase", {"model": model, "run": run, "phase": phase, "at": round(self._wall_clock(), 3)}
        )

    def record_start(self, start: RecordedStart) -> None:
        """A start ended well."""
        self.metrics.started(start.model, self._kind(start), start.seconds, start.phases)
        self.history.record_start(start)

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """How long such a start takes; ``None`` until there is data."""
        return self.history.eta_s(model, kind)

    def _kind(self, start: RecordedStart) -> str:
        if start.kind is StartKind.WAKE:
            return "wake"
        earlier = self.history.recent(start.model)
        warm = any(one.fingerprint == start.fingerprint and one.at > self._booted_at for one in earlier)
        return "warm" if warm else "cold"

    # requests by minute

    async def keep(self) -> None:
        """Write down each minute when it is over; ``write_minute`` writes the last, unfinished one."""
        while True:
            await asyncio.sleep(MINUTE_S - self._wall_clock() % MINUTE_S)
            self.write_minute(int(self._wall_clock() // MINUTE_S) - 1)

    def write_minute(self, minute: int | None = None) -> None:
        """Write down what was done since the last time, as this minute (the present one)."""
        if minute is None:
            minute = int(self._wall_clock() // MINUTE_S)
        done = []
        for model, counts in self.metrics.models.items():
            now = _totals(counts)
            before = self._before.get(model, (0, 0, 0, 0))
            self._before[model] = now
            requests, errors, tokens_in, tokens_out = (
                new - old for new, old in zip(now, before, strict=True)
            )
            if requests:
                done.append(
                    Minute(
                        minute=minute,
                        model=model,
                        requests=requests,
                        errors=errors,
                        tokens_in=tokens_in,
                        tokens_out=tokens_out,
                    )
                )
        self.history.record_minutes(done)


def _totals(counts: ModelCounts) -> tuple[int, int, int, int]:
    errors = sum(times for code, times in counts.codes.items() if code >= 500)
    return counts.requests, errors, counts.tokens_in, counts.tokens_out


def as_told(move: LastMove) -> Mapping[str, Any]:
    """For JSON."""
    return {"was": move.was, "cause": move.cause, "needed_by": move.needed_by, "at": round(move.at, 3)}

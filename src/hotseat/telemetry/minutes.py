"""Writes each model's requests and tokens into the history, minute by minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hotseat.telemetry.history import History, Minute
from hotseat.telemetry.metrics import Metrics
from hotseat.telemetry.metrics.counters import ModelCounts

MINUTE_S = 60.0


class _Totals(NamedTuple):
    """A model's counters, since the start of hotseat."""

    requests: int = 0
    errors: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class MinuteWriter:
    """Turns the ever-growing counters of ``metrics`` into rows of one minute each."""

    def __init__(self, metrics: Metrics, history: History, wall_clock: Callable[[], float]) -> None:
        """``wall_clock()`` is Unix time in seconds."""
        self._metrics, self._history, self._wall_clock = metrics, history, wall_clock
        self._written: dict[str, _Totals] = {}
        """Each model's totals at the time of the last write."""

    async def run(self) -> None:
        """Write each minute once it is over. Never returns."""
        while True:
            await asyncio.sleep(MINUTE_S - self._wall_clock() % MINUTE_S)
            self.write(int(self._wall_clock() // MINUTE_S) - 1)

    def write(self, minute: int | None = None) -> None:
        """Write what has happened since the last write, as this minute since 1970 (default: the current one).

        Models without requests get no row.
        """
        if minute is None:
            minute = int(self._wall_clock() // MINUTE_S)
        self._history.record_minutes(self._rows(minute))

    def _rows(self, minute: int) -> Iterator[Minute]:
        for model, counts in self._metrics.models.items():
            now, before = _totals(counts), self._written.get(model, _Totals())
            self._written[model] = now
            if now.requests != before.requests:
                yield Minute(
                    minute=minute,
                    model=model,
                    requests=now.requests - before.requests,
                    errors=now.errors - before.errors,
                    tokens_in=now.tokens_in - before.tokens_in,
                    tokens_out=now.tokens_out - before.tokens_out,
                )


def _totals(counts: ModelCounts) -> _Totals:
    errors = sum(times for code, times in counts.codes.items() if code >= 500)
    return _Totals(counts.requests, errors, counts.tokens_in, counts.tokens_out)

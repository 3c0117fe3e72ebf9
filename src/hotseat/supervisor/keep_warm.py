"""Keep-warm schedules: report when a model is to be kept warm, and when no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import tzinfo

from hotseat import schedule
from hotseat.core.spec import KeepWarmSpan, ModelSpec

MAX_PAUSE_S = 30.0
"""Longest pause between two looks at the clock, in seconds: it may be set, and the machine may sleep."""


class KeepWarm:
    """The models that a schedule keeps warm now."""

    def __init__(self, wall_clock: Callable[[], float], report: Callable[[str, bool], None]) -> None:
        """``wall_clock()``: seconds since 1970; ``report(model, warm)`` is called at every change."""
        self._wall_clock, self._report = wall_clock, report
        self._schedules: dict[str, tuple[Sequence[KeepWarmSpan], tzinfo]] = {}
        self._warm: set[str] = set()
        self._held_until: dict[str, float] = {}
        """Models that an operator keeps warm for a while, in seconds since 1970."""
        self._configured = asyncio.Event()

    def configure(self, models: Mapping[str, ModelSpec]) -> None:
        """Replace the schedules by those of these models."""
        self._schedules = {
            name: (keep_warm.spans, schedule.zone_of(keep_warm.zone))
            for name, model in models.items()
            if (keep_warm := model.keep_warm) is not None
        }
        self._held_until = {name: at for name, at in self._held_until.items() if name in models}
        self._warm &= set(models)  # nothing is reported of models that have gone
        self._configured.set()

    def hold(self, model: str, until: float) -> None:
        """Keep a model warm until then (seconds since 1970), whatever its schedule; a time past ends it."""
        self._held_until[model] = until
        self._configured.set()

    def held_until(self, model: str) -> float | None:
        """Return until when an operator keeps the model warm; ``None``: not at all."""
        until = self._held_until.get(model)
        return until if until is not None and until > self._wall_clock() else None

    async def run(self) -> None:
        """Report every change when it is due; never returns."""
        while True:
            self._configured.clear()
            now = self._wall_clock()
            self._update(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s(now)):
                    await self._configured.wait()

    def _update(self, now: float) -> None:
        warm = {name for name, (spans, zone) in self._schedules.items() if schedule.is_warm(spans, zone, now)}
        self._held_until = {name: at for name, at in self._held_until.items() if at > now}
        warm |= set(self._held_until)
        for name in sorted(self._warm ^ warm):
            self._report(name, name in warm)
        self._warm = warm

    def _pause_s(self, now: float) -> float | None:
        if not self._schedules and not self._held_until:
            return None
        changes = [schedule.next_change(spans, zone, now) for spans, zone in self._schedules.values()]
        known = [at for at in changes if at is not None] + list(self._held_until.values())
        soonest = min(known, default=now + MAX_PAUSE_S)
        return max(0.0, min(soonest - now, MAX_PAUSE_S))

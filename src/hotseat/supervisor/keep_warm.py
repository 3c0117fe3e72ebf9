"""Keep-warm schedules: tells the core when a model is to be warm, and when no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import tzinfo

from hotseat import schedule
from hotseat.core.spec import KeepWarmSpan, ModelSpec

LOOK_AT_LEAST_EVERY_S = 30.0
"""The time of day may be set, and a machine may sleep: no nap is longer than this."""


class KeepWarm:
    """The models that a schedule keeps warm now."""

    def __init__(self, wall_clock: Callable[[], float], tell: Callable[[str, bool], None]) -> None:
        """``wall_clock()``: seconds since 1970; ``tell(model, warm)`` is called at every change."""
        self._wall_clock, self._tell = wall_clock, tell
        self._plans: dict[str, tuple[Sequence[KeepWarmSpan], tzinfo]] = {}
        self._warm: set[str] = set()
        self._held_until: dict[str, float] = {}
        """Models that an operator keeps warm for a while, in seconds since 1970."""
        self._anew = asyncio.Event()

    def configure(self, models: Mapping[str, ModelSpec]) -> None:
        """Follow the schedules of these models from now on."""
        self._plans = {
            name: (plan.spans, schedule.zone_of(plan.zone))
            for name, model in models.items()
            if (plan := model.keep_warm) is not None
        }
        self._held_until = {name: at for name, at in self._held_until.items() if name in models}
        self._warm &= set(models)  # a model that has gone is told nothing
        self._anew.set()

    def hold(self, model: str, until: float) -> None:
        """Keep a model warm until then (seconds since 1970), whatever its schedule; a time past ends it."""
        self._held_until[model] = until
        self._anew.set()

    def held_until(self, model: str) -> float | None:
        """Until when an operator keeps the model warm; ``None``: not at all."""
        until = self._held_until.get(model)
        return until if until is not None and until > self._wall_clock() else None

    async def keep(self) -> None:
        """Tell every change when it comes; never ends."""
        while True:
            self._anew.clear()
            now = self._wall_clock()
            self._look(now)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._nap_s(now)):
                    await self._anew.wait()

    def _look(self, now: float) -> None:
        warm = {name for name, (spans, zone) in self._plans.items() if schedule.is_warm(spans, zone, now)}
        self._held_until = {name: at for name, at in self._held_until.items() if at > now}
        warm |= set(self._held_until)
        for name in sorted(self._warm ^ warm):
            self._tell(name, name in warm)
        self._warm = warm

    def _nap_s(self, now: float) -> float | None:
        if not self._plans and not self._held_until:
            return None
        changes = [schedule.next_change(spans, zone, now) for spans, zone in self._plans.values()]
        known = [at for at in changes if at is not None] + list(self._held_until.values())
        soonest = min(known, default=now + LOOK_AT_LEAST_EVERY_S)
        return max(0.0, min(soonest - now, LOOK_AT_LEAST_EVERY_S))

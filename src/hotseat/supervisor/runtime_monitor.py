"""The runtimes: opened, watched, and checked every second for being usable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import (
    FoundRun,
    HealthReport,
    PlacementReport,
    ReportsHealth,
    ReportsPlacement,
    Runtime,
)
from hotseat.tasks import Tasks

log = structlog.get_logger("hotseat")

USABLE_EVERY_S = 1.0
"""Seconds between two checks whether the runtimes are usable."""


class RuntimeMonitor:
    """Watches the runtimes and calls back the supervisor."""

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        tasks: Tasks,
        *,
        on_found: Callable[[FoundRun], None],
        on_health: Callable[[HealthReport], None],
        on_placement: Callable[[PlacementReport], None],
        on_usable: Callable[[str, str | None], None],
    ) -> None:
        """``on_found(run)``: a run that we did not start; ``on_health(report)``: a runtime's health report;
        ``on_placement(report)``: whether there is room for a run that is being launched;
        ``on_usable(runtime, why)``: a runtime became unusable, or usable again (``None``).
        """
        self._runtimes, self._tasks = dict(runtimes), tasks
        self._on_found, self._on_health, self._on_usable = on_found, on_health, on_usable
        self._on_placement = on_placement
        self.unusable: dict[str, str] = {}
        """By runtime that cannot work now: why."""

    def __getitem__(self, name: str) -> Runtime:
        return self._runtimes[name]

    async def open(self) -> None:
        """Open all runtimes and begin to watch them."""
        await self._open(self._runtimes)
        self.check_usable()
        self._tasks.start("runtimes usable", self._keep_checking())

    async def add(self, more: Mapping[str, Runtime]) -> None:
        """Open and watch further runtimes."""
        self._runtimes |= more
        await self._open(more)

    async def _open(self, runtimes: Mapping[str, Runtime]) -> None:
        for name, runtime in runtimes.items():
            await runtime.open()
            self._tasks.start(f"watch {name}", self._watch(runtime))
            if isinstance(runtime, ReportsHealth):
                self._tasks.start(f"health reports of {name}", self._watch_health(runtime))
            if isinstance(runtime, ReportsPlacement):
                self._tasks.start(f"placement reports of {name}", self._watch_placement(runtime))

    async def recover(self, models: Mapping[str, ModelSpec]) -> None:
        """Report all runs that exist already; runs that belong to no model are removed."""
        for name, runtime in self._runtimes.items():
            own = {model: spec for model, spec in models.items() if spec.runtime == name}
            for found in await runtime.recover(own):
                self._on_found(found)

    async def close(self) -> None:
        """Close all runtimes."""
        for runtime in self._runtimes.values():
            await runtime.close()

    async def _watch_placement(self, runtime: ReportsPlacement) -> None:
        async for report in runtime.placement_reports():
            self._on_placement(report)

    async def _watch(self, runtime: Runtime) -> None:
        async for found in runtime.watch():
            self._on_found(found)

    async def _watch_health(self, runtime: ReportsHealth) -> None:
        async for report in runtime.health_reports():
            self._on_health(report)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(USABLE_EVERY_S)
            self.check_usable()

    def check_usable(self, *, report_all: bool = False) -> None:
        """Report the runtimes that became usable or unusable; ``report_all``: report every one."""
        for name, runtime in self._runtimes.items():
            why = runtime.unusable()
            changed = why != self.unusable.get(name)
            if changed and why is None:
                log.info("runtime usable", runtime=name)
                del self.unusable[name]
            elif changed and why is not None:
                log.error("runtime unusable", runtime=name, why=why)
                self.unusable[name] = why
            if changed or report_all:
                self._on_usable(name, why)

"""The runtimes: opened, listened to, and asked every second whether they can work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import FoundRun, HealthReport, ReportsHealth, Runtime
from hotseat.tasks import Tasks

log = structlog.get_logger("hotseat")

USABLE_EVERY_S = 1.0
"""How often the runtimes are asked whether they can work."""


class RuntimeMonitor:
    """Hears what the runtimes say of their own accord, and tells the supervisor."""

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        tasks: Tasks,
        *,
        found: Callable[[FoundRun], None],
        sign: Callable[[HealthReport], None],
        changed: Callable[[str, str | None], None],
    ) -> None:
        """``changed(runtime, why)``: it became unusable, or usable again (``None``)."""
        self._runtimes, self._tasks = dict(runtimes), tasks
        self._tell_found, self._tell_sign, self._tell_changed = found, sign, changed
        self.unusable: dict[str, str] = {}
        """Runtimes that cannot work now, and why."""

    def __getitem__(self, name: str) -> Runtime:
        return self._runtimes[name]

    async def open(self) -> None:
        """Open all of them and begin to look."""
        await self._open(self._runtimes)
        self.look()
        self._tasks.start("runtimes usable", self._keep_looking())

    async def add(self, more: Mapping[str, Runtime]) -> None:
        """Open these too."""
        self._runtimes |= more
        await self._open(more)

    async def _open(self, runtimes: Mapping[str, Runtime]) -> None:
        for name, runtime in runtimes.items():
            await runtime.open()
            self._tasks.start(f"watch {name}", self._watch(runtime))
            if isinstance(runtime, ReportsHealth):
                self._tasks.start(f"signs of {name}", self._heed(runtime))

    async def recover(self, models: Mapping[str, ModelSpec]) -> None:
        """Tell of all that runs already; what no model can use is removed."""
        for name, runtime in self._runtimes.items():
            ours = {model: spec for model, spec in models.items() if spec.runtime == name}
            for found in await runtime.recover(ours):
                self._tell_found(found)

    async def close(self) -> None:
        """Let go of all of them."""
        for runtime in self._runtimes.values():
            await runtime.close()

    async def _watch(self, runtime: Runtime) -> None:
        async for found in runtime.watch():
            self._tell_found(found)

    async def _heed(self, runtime: ReportsHealth) -> None:
        async for sign in runtime.health_reports():
            self._tell_sign(sign)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(USABLE_EVERY_S)
            self.look()

    def look(self, *, anew: bool = False) -> None:
        """Tell which can work, where that has changed; ``anew``: tell it of all of them."""
        for name, runtime in self._runtimes.items():
            why = runtime.unusable()
            changed = why != self.unusable.get(name)
            if changed and why is None:
                log.info("runtime usable", runtime=name)
                del self.unusable[name]
            elif changed and why is not None:
                log.error("runtime unusable", runtime=name, why=why)
                self.unusable[name] = why
            if changed or anew:
                self._tell_changed(name, why)

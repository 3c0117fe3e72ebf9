"""A run behind its gate: when it stands by there, and when it is let through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import Handle, PreparesRuns

ANSWER_CHECK_S = 2.0
"""Seconds between two looks whether a run that is prepared answers already: its gate did not hold it then."""


class HeldRun:
    """The gate of one run, closed at first."""

    def __init__(self, runtime: PreparesRuns, *, kept: bool = False) -> None:
        """``kept``: nobody waits for the run, so it is prepared at a low priority."""
        self._runtime, self.kept = runtime, kept
        self._released = asyncio.Event()
        self.standing = asyncio.Event()
        """Set when the run stands by."""
        self.stood_by: bool | None = None
        """Whether the run stood by when it was admitted; ``None``: it was not admitted yet."""

    @property
    def closed(self) -> bool:
        """Whether the run may not use the GPU yet."""
        return self.stood_by is None

    def admit(self) -> None:
        """Let the run through, as soon as it has been launched."""
        self.stood_by = self.standing.is_set()
        self._released.set()

    async def launch(self, model: ModelSpec, number: int) -> Handle:
        """Launch the run behind its gate. Raises ``LaunchError``."""
        return await self._runtime.prepare(model, number, low_priority=self.kept)

    async def wait(
        self,
        handle: Handle,
        on_standby: Callable[[int | None], None],
        answers: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Wait until the run is admitted; false: it answers already, so its gate did not hold it.

        ``on_standby(host_mib)`` is called when the run stands by. Nothing is asked of it after that.
        """
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(self._watch(handle, on_standby)),
                group.create_task(self._look(answers)),
            ]
            await self._released.wait()
            for task in watching:
                task.cancel()
        return not self.closed

    async def _watch(self, handle: Handle, on_standby: Callable[[int | None], None]) -> None:
        """Report when the run stands by."""
        host_mib = await self._runtime.prepared(handle)
        self.standing.set()
        on_standby(host_mib)

    async def _look(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Release the run if it answers before it stands by."""
        while not self.standing.is_set():
            await asyncio.sleep(ANSWER_CHECK_S)
            if not self.standing.is_set() and await answers():
                self._released.set()
                return

    async def open(self, handle: Handle) -> None:
        """Open the gate. Raises ``LaunchError``."""
        await self._runtime.admit(handle)

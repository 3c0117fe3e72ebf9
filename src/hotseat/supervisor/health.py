"""Health checks of a ready run: every few seconds, and at once when the run is suspected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

FAILURES = 3
"""Failed checks in a row that make a run unhealthy: a single one may be chance."""
RETRY_S = 1.0
"""Seconds between a failed check and the next."""


class HealthChecks:
    """Health checks of one ready run."""

    def __init__(self, check: Callable[[], Awaitable[str | None]], every_s: float | None) -> None:
        """``check()`` checks the run once, with a time-out of its own; returns what is wrong, or ``None``.

        ``every_s``: seconds between checks; ``None``: only when the run is suspected.
        """
        self._check, self._every_s = check, every_s
        self._suspected = asyncio.Event()

    def check_now(self) -> bool:
        """Check at once; false when a check was due already."""
        if self._suspected.is_set():
            return False
        self._suspected.set()
        return True

    async def until_unhealthy(self) -> str:
        """Return what is wrong once ``FAILURES`` checks in a row have failed."""
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(RETRY_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s):
                        await self._suspected.wait()
            self._suspected.clear()
            trouble = await self._check()
            failures = 0 if trouble is None else failures + 1
            if trouble is not None and failures >= FAILURES:
                return trouble

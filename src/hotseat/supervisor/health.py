"""Whether a ready run still answers: asked every few seconds, and at once when somebody doubts it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

FAILURES = 3
"""So many checks in a row must fail before a run is given up: one alone may be bad luck."""
AGAIN_S = 1.0
"""Between a check that failed and the next."""


class HealthChecks:
    """The watch over one ready run."""

    def __init__(self, check: Callable[[], Awaitable[str | None]], every_s: float | None) -> None:
        """``check()`` asks the run once, within a time of its own; returns what is wrong, or ``None``.

        ``every_s`` ``None``: only when it is doubted.
        """
        self._check, self._every_s = check, every_s
        self._doubted = asyncio.Event()

    def doubt(self) -> bool:
        """Look at once; false when it was about to look already."""
        if self._doubted.is_set():
            return False
        self._doubted.set()
        return True

    async def failing(self) -> str:
        """Return what is wrong once the run has failed several checks in a row."""
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(AGAIN_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._every_s):
                        await self._doubted.wait()
            self._doubted.clear()
            trouble = await self._check()
            failures = 0 if trouble is None else failures + 1
            if trouble is not None and failures >= FAILURES:
                return trouble
